/**
 * Laws between a page-table format and the hardware that walks its tables: what the flags of a leaf say is what the
 * processor allows, and what the processor notes in a leaf is what the flags say afterwards. Each architecture gives a
 * walker of its own as the oracle.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../src/arch/access.ts';
import { EntryFlag, type PagingFormat, pagesPerEntry } from '../../src/arch/paging-format.ts';
import type { Halves } from '../../src/base/u64.ts';

/** A processor with nothing cached that translates one address through one leaf. */
export interface HardwareOracle {
  /**
   * Makes an access through the leaf. @param level of the leaf, index into the format's levels
   * @param entry becomes what the hardware leaves in memory @returns the frame it reached, -1 when it was refused
   */
  access(entry: Halves, level: number, access: number): number;
}

export interface HardwareUnderTest {
  readonly format: PagingFormat;
  readonly oracle: HardwareOracle;
  /** The hardware sets Young, and Dirty; without, a leaf that lacks them refuses the access. */
  readonly setsYoung: boolean;
  readonly setsDirty: boolean;
  /** A leaf can be executable for user mode and not readable: Exec without User. */
  readonly executeOnly: boolean;
  /** What a fetch by the kernel needs: a flag of its own, and that user mode cannot write; or Exec alone. */
  readonly privilegedExec: boolean;
  readonly lacks?: number;
}

const { Present, Read, Write, User, Exec, Young, Dirty, Special, UffdWp, Protnone, Cont, Guarded } =
  EntryFlag;

const KINDS = {
  read: Access.Read,
  write: Access.Write,
  fetch: Access.Fetch,
} as const;

/** Is the access one that the flags allow, all else being well? */
function granted(flags: number, kind: keyof typeof KINDS, user: boolean, under: HardwareUnderTest): boolean {
  if ((flags & Protnone) !== 0) return false;
  const has = (wanted: number): boolean => (flags & wanted) === wanted;
  if (kind === 'read') return has(user ? User : 0);
  if (kind === 'write') return has(user ? User | Write : Write);
  if (user) return has(under.executeOnly ? Exec : Exec | User);
  if (!under.privilegedExec) return has(Exec);
  // What user mode can write the kernel does not execute; a clean page nobody can write by hardware alone.
  return has(EntryFlag.PrivilegedExec) && !has(User | Write | (under.setsDirty ? 0 : Dirty));
}

/** And has it what the hardware does not do by itself? */
function ready(
  flags: number,
  kind: keyof typeof KINDS,
  { setsYoung, setsDirty }: HardwareUnderTest,
): boolean {
  if (!setsYoung && (flags & Young) === 0) return false;
  return kind !== 'write' || setsDirty || (flags & Dirty) !== 0;
}

const allOf = (flags: readonly number[], begin = 0): number => flags.reduce((sum, flag) => sum | flag, begin);

/** Leaves of users, of the kernel, and without access, with every flag that the format has; and who does what. */
function accesses({ format, lacks = 0 }: HardwareUnderTest, leafLevels: readonly number[]) {
  const free = [Write, Exec, Young, Dirty, Special, UffdWp, Cont, Guarded, EntryFlag.PrivilegedExec];
  const has = fc.subarray(free.filter((flag) => (flag & lacks) === 0));
  const flags = fc.tuple(has, fc.constantFrom('user', 'kernel', 'none')).map(([some, whose]) => {
    const all = allOf(some, Present);
    if (whose === 'none') return (all & ~(Write | Exec)) | Read | Protnone;
    return whose === 'user' ? all | Read | User : all;
  });
  return fc.record({
    level: fc.constantFrom(...leafLevels),
    number: fc.nat({ max: format.frameLimit - 1 }),
    flags,
    kind: fc.constantFrom('read', 'write', 'fetch'),
    user: fc.boolean(),
  });
}

export function hardwareLaws(name: string, under: HardwareUnderTest): void {
  const { levels } = under.format;
  const leafLevels = levels.flatMap((level, index) => (level.leafAllowed ? [index] : []));
  describe(`the hardware and ${name}`, () => {
    permissionLaw(under, leafLevels);
    dirtyLaw(under, leafLevels);
    emptyLaw(under, leafLevels);
  });
}

function permissionLaw(under: HardwareUnderTest, leafLevels: readonly number[]): void {
  const { format, oracle } = under;
  it('allows what the flags say, and leads to the frame', () => {
    fc.assert(
      fc.property(accesses(under, leafLevels), ({ level, number, flags, kind, user }) => {
        const frame = number - (number % pagesPerEntry(format, level));
        const entry: Halves = { hi: 0, lo: 0 };
        format.pack(frame, flags, level, entry);
        const said = format.flagsOf(entry.hi, entry.lo, level);
        const before = { ...entry };
        const reached = oracle.access(entry, level, KINDS[kind] | (user ? Access.User : 0));
        const allowed = granted(said, kind, user, under) && ready(said, kind, under);
        expect(reached).toBe(allowed ? frame : -1);
        if (!allowed) return;
        const noted = kind === 'write' ? Young | Dirty : Young;
        expect(format.flagsOf(entry.hi, entry.lo, level)).toBe(said | noted);
        expect(format.needsFlush(before.hi, before.lo, entry.hi, entry.lo, level)).toBe(false);
      }),
      { numRuns: 400 },
    );
  });
}

function dirtyLaw({ format, oracle, setsDirty }: HardwareUnderTest, leafLevels: readonly number[]): void {
  const rights = fc.subarray([Write, Exec, User, Young, UffdWp]);
  const start = fc.subarray([Exec, Dirty]);
  it('keeps a page that was written dirty, whatever right is taken away next', () => {
    fc.assert(
      fc.property(fc.constantFrom(...leafLevels), start, rights, (level, some, taken) => {
        const flags = allOf(some, Present | Read | User | Write | Young | (setsDirty ? 0 : Dirty));
        const entry: Halves = { hi: 0, lo: 0 };
        format.pack(0, flags, level, entry);
        expect(oracle.access(entry, level, Access.User | Access.Write)).toBe(0);
        format.change(entry.hi, entry.lo, level, 0, allOf(taken), entry);
        expect(format.flagsOf(entry.hi, entry.lo, level) & Dirty).toBe(Dirty);
        format.change(entry.hi, entry.lo, level, Protnone, Write | User | Exec, entry);
        expect(format.flagsOf(entry.hi, entry.lo, level) & Dirty).toBe(Dirty);
        expect(oracle.access(entry, level, Access.Read)).toBe(-1);
      }),
    );
  });
}

function emptyLaw({ format, oracle }: HardwareUnderTest, leafLevels: readonly number[]): void {
  it.each(leafLevels)('walks no entry of level %i that is none or swapped out', (level) => {
    const entry: Halves = { hi: 0, lo: 0 };
    expect(oracle.access(entry, level, Access.Read)).toBe(-1);
    format.packSwap(format.swapTypeLimit - 1, format.swapOffsetLimit - 1, EntryFlag.UffdWp, entry);
    expect(oracle.access(entry, level, Access.Read)).toBe(-1);
  });
}
