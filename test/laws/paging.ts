/**
 * Laws that hold for every page-table format, whatever its bits. Each architecture's test calls `pagingLaws` for each of
 * its formats, with an oracle of its own for what the hardware would see.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  EntryFlag,
  type Level,
  type PagingFormat,
  pagesPerEntry,
  tableIndex,
} from '../../src/arch/paging-format.ts';
import type { Halves } from '../../src/base/u64.ts';

export interface FormatUnderTest {
  readonly format: PagingFormat;
  /** Would the hardware use this entry for a translation? */
  readonly hardwareSees: (hi: number, lo: number) => boolean;
  /** Flags that it has no bit for: packing drops them. */
  readonly lacks?: number;
}

const out: Halves = { hi: 0, lo: 0 };

/** Questions that every format answers independently of each other on a present, writable-or-not user page. */
const FREE_FLAGS = [
  EntryFlag.Write,
  EntryFlag.Exec,
  EntryFlag.Young,
  EntryFlag.Dirty,
  EntryFlag.Special,
  EntryFlag.UffdWp,
  EntryFlag.SoftDirty,
] as const;
const readable = EntryFlag.Present | EntryFlag.Read | EntryFlag.User;

const anyOf = (flags: readonly number[]): fc.Arbitrary<number> =>
  fc.subarray([...flags]).map((some) => some.reduce((all, flag) => all | flag, 0));

/** What one format's laws are made of: the format, its limits and what is drawn at random from it. */
interface Setting extends FormatUnderTest {
  readonly last: number;
  readonly leafLevels: readonly number[];
  /** Every flag that a leaf is asked about. */
  readonly seen: number;
  /** Some of the flags that are independent of each other, as far as the format has them. */
  readonly someFlags: fc.Arbitrary<number>;
  readonly leaf: fc.Arbitrary<{ readonly level: number; readonly frame: number; readonly flags: number }>;
  readonly swap: fc.Arbitrary<{ readonly type: number; readonly offset: number; readonly flags: number }>;
}

function settingOf({ format, hardwareSees, lacks = 0 }: FormatUnderTest): Setting {
  const free = FREE_FLAGS.filter((flag) => (flag & lacks) === 0);
  const seen = [...free, readable, EntryFlag.Protnone, EntryFlag.Huge].reduce((all, flag) => all | flag, 0);
  const someFlags = anyOf(free);
  const protections = fc.oneof(
    someFlags.map((flags) => flags | readable),
    someFlags.map((flags) => {
      const closed = flags & ~(EntryFlag.Write | EntryFlag.Exec);
      return closed | EntryFlag.Present | EntryFlag.Read | EntryFlag.Protnone;
    }),
  );
  const leafLevels = format.levels.flatMap((level, index) => (level.leafAllowed ? [index] : []));
  const last = format.levels.length - 1;
  const leafFrame = (level: number) =>
    fc
      .nat({ max: format.frameLimit / pagesPerEntry(format, level) - 1 })
      .map((n) => n * pagesPerEntry(format, level));
  const leaf = fc
    .constantFrom(...leafLevels)
    .chain((level) => fc.record({ level: fc.constant(level), frame: leafFrame(level), flags: protections }));
  const swap = fc.record({
    type: fc.nat({ max: format.swapTypeLimit - 1 }),
    // Never 0: the first slot of a swap file is its header. With type 0 that would be no entry at all on arm64.
    offset: fc.maxSafeNat().map((n) => (n % (format.swapOffsetLimit - 1)) + 1),
    flags: anyOf(
      [EntryFlag.UffdWp, EntryFlag.SoftDirty, EntryFlag.SwapExclusive].filter((flag) => (flag & lacks) === 0),
    ),
  });

  return { format, hardwareSees, last, leafLevels, seen, someFlags, leaf, swap };
}

export function pagingLaws(name: string, underTest: FormatUnderTest): void {
  const setting = settingOf(underTest);
  describe(`the laws of paging, ${name}`, () => {
    levelLaws(setting);
    emptyAndTableLaws(setting);
    leafLaws(setting);
    swapLaws(setting);
    changeLaws(setting);
    flushLaws(setting);
  });
}

function levelLaws({ format, last }: Setting): void {
  it('levels follow each other without a gap and end in ptes of one page', () => {
    format.levels.forEach((level, index) => {
      const next = format.levels[index + 1] as Level | undefined;
      expect(level.shift).toBe(next === undefined ? format.pageShift : next.shift + next.indexBits);
    });
    expect(format.levels[last]).toMatchObject({ name: 'pte', leafAllowed: true });
  });

  it('the indexes of all levels together are the page number', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (n) => {
        const top = format.levels[0] as Level;
        const page = n % 2 ** (top.shift + top.indexBits - format.pageShift);
        const sum = format.levels.reduce(
          (all, _, level) => all + tableIndex(format, page, level) * pagesPerEntry(format, level),
          0,
        );
        expect(sum).toBe(page);
      }),
    );
  });
}

function emptyAndTableLaws({ format, hardwareSees, last }: Setting): void {
  it('an empty entry is none, leads nowhere and says nothing', () => {
    for (let level = 0; level <= last; level++) {
      expect(format.isNone(0, 0)).toBe(true);
      expect(format.isTable(0, 0, level)).toBe(false);
      expect(format.flagsOf(0, 0, level)).toBe(0);
      expect(hardwareSees(0, 0)).toBe(false);
    }
  });

  it('a table entry leads to its frame, on every level but the last', () => {
    fc.assert(
      fc.property(fc.nat({ max: last - 1 }), fc.nat({ max: format.frameLimit - 1 }), (level, frame) => {
        format.packTable(frame, level, out);
        expect(format.isTable(out.hi, out.lo, level)).toBe(true);
        expect(format.frameOf(out.hi, out.lo, level)).toBe(frame);
        expect(format.flagsOf(out.hi, out.lo, level)).toBe(EntryFlag.Present);
        expect(format.isNone(out.hi, out.lo)).toBe(false);
      }),
    );
  });
}

function leafLaws({ format, hardwareSees, last, leaf, seen }: Setting): void {
  it('a leaf says what was packed, and keeps its frame', () => {
    fc.assert(
      fc.property(leaf, ({ level, frame, flags }) => {
        format.pack(frame, flags, level, out);
        const { hi, lo } = out;
        const huge = level === last ? 0 : EntryFlag.Huge;
        expect(format.flagsOf(hi, lo, level) & seen).toBe(flags | huge);
        expect(format.frameOf(hi, lo, level)).toBe(frame);
        expect([format.isNone(hi, lo), format.isTable(hi, lo, level)]).toEqual([false, false]);
        expect(hardwareSees(hi, lo)).toBe((flags & EntryFlag.Protnone) === 0);
      }),
    );
  });

  it('packing what was unpacked gives the same entry', () => {
    fc.assert(
      fc.property(leaf, ({ level, frame, flags }) => {
        format.pack(frame, flags, level, out);
        const first = { ...out };
        format.pack(format.frameOf(out.hi, out.lo, level), format.flagsOf(out.hi, out.lo, level), level, out);
        expect(out).toEqual(first);
      }),
    );
  });
}

function swapLaws({ format, hardwareSees, leafLevels, swap }: Setting): void {
  it('a swap entry keeps type, offset and flags, and is nothing else on any level', () => {
    fc.assert(
      fc.property(swap, fc.constantFrom(...leafLevels), ({ type, offset, flags }, level) => {
        format.packSwap(type, offset, flags, out);
        const { hi, lo } = out;
        expect([format.swapTypeOf(hi, lo), format.swapOffsetOf(hi, lo)]).toEqual([type, offset]);
        expect([format.isNone(hi, lo), format.isTable(hi, lo, level), hardwareSees(hi, lo)]).toEqual([
          false,
          false,
          false,
        ]);
        expect(format.flagsOf(hi, lo, level)).toBe(flags | EntryFlag.Swap);
      }),
    );
  });
}

function changeLaws({ format, hardwareSees, last, leaf, seen, someFlags }: Setting): void {
  it('a change sets and clears what it is told to, and nothing else', () => {
    fc.assert(
      fc.property(leaf, someFlags, someFlags, ({ level, frame, flags }, some, clear) => {
        // What a page without access would be executable for is no question.
        const set = (flags & EntryFlag.Protnone) === 0 ? some : some & ~EntryFlag.Exec;
        format.pack(frame, flags, level, out);
        const { hi, lo } = out;
        format.change(hi, lo, level, set, clear, out);
        const huge = level === last ? 0 : EntryFlag.Huge;
        expect(format.flagsOf(out.hi, out.lo, level) & seen).toBe((flags & ~clear) | set | huge);
        expect(format.frameOf(out.hi, out.lo, level)).toBe(frame);
      }),
    );
  });

  it('no access and back: the page comes out as it was', () => {
    fc.assert(
      fc.property(leaf, ({ level, frame, flags }) => {
        const open = (flags & ~EntryFlag.Protnone) | readable;
        format.pack(frame, open, level, out);
        const before = { ...out };
        const protection = EntryFlag.User | EntryFlag.Write | EntryFlag.Exec;
        format.change(out.hi, out.lo, level, EntryFlag.Protnone, protection, out);
        expect(hardwareSees(out.hi, out.lo)).toBe(false);
        format.change(out.hi, out.lo, level, open & protection, EntryFlag.Protnone, out);
        expect(out).toEqual(before);
      }),
    );
  });
}

function flushLaws({ format, leaf }: Setting): void {
  it('a flush is needed when rights or the frame go, and not when the hardware sets Young or Dirty', () => {
    fc.assert(
      fc.property(leaf, ({ level, frame, flags }) => {
        const writable = (flags & ~EntryFlag.Protnone) | readable | EntryFlag.Write;
        format.pack(frame, writable & ~(EntryFlag.Young | EntryFlag.Dirty), level, out);
        const { hi, lo } = out;
        const flushes = (set: number, clear: number): boolean => {
          format.change(hi, lo, level, set, clear, out);
          return format.needsFlush(hi, lo, out.hi, out.lo, level);
        };
        expect(flushes(EntryFlag.Young | EntryFlag.Dirty, 0)).toBe(false);
        expect(flushes(0, EntryFlag.Write)).toBe(true);
        expect(flushes(EntryFlag.Protnone, EntryFlag.User)).toBe(true);
        expect(format.needsFlush(hi, lo, 0, 0, level)).toBe(true);
        expect(format.needsFlush(0, 0, hi, lo, level)).toBe(false);
      }),
    );
  });
}
