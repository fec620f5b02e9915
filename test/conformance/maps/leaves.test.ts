/** The list of mappings against the walker: laws on random tables, and the corners drawn by hand. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { FaultKind } from '../../../src/arch/fault.ts';
import { INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import { X86Mmu } from '../../../src/arch/x86_64/mmu.ts';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import type { MissingTable } from '../../../src/conformance/maps/leaves.ts';
import { RangeMerger } from '../../../src/conformance/maps/ranges.ts';
import {
  Combined,
  pagesOfLevel,
  visitLeaves,
  type X86Leaf,
} from '../../../src/conformance/maps/x86_64-leaves.ts';
import { X86_RANGE_RULES } from '../../../src/conformance/maps/x86_64-ranges.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';

const [P, RW, US, PS, G, XD] = [1n, 2n, 4n, 0x80n, 0x100n, 1n << 63n];
const NXE = 0xd01n;
const CR4_LA57 = 1 << 12;

/** Table pages by frame: entry values by index. */
type Tables = ReadonlyMap<number, ReadonlyMap<number, bigint>>;

function wordsOf(entries: ReadonlyMap<number, bigint>): Int32Array {
  const words = new Int32Array(1024);
  for (const [index, value] of entries) {
    words[index * 2] = lowHalf(value);
    words[index * 2 + 1] = highHalf(value);
  }
  return words;
}

interface Listed {
  readonly leaves: X86Leaf[];
  readonly missing: MissingTable[];
}

function list(tables: Tables, levels = 4, maxPhysAddr = 40, efer = NXE): Listed {
  const words = new Map([...tables].map(([frame, entries]) => [frame, wordsOf(entries)]));
  const leaves: X86Leaf[] = [];
  const missing: MissingTable[] = [];
  const reader = { table: (frame: number) => words.get(frame) };
  visitLeaves(
    reader,
    1,
    levels,
    { efer, maxPhysAddr },
    {
      leaf: (leaf) => leaves.push({ ...leaf }),
      missing: (table) => missing.push(table),
    },
  );
  return { leaves, missing };
}

/** The walker over the same tables; no table page, no memory. */
function mmuOf(tables: Tables, levels: number): X86Mmu {
  const memory = new PhysicalMemory();
  for (const [frame, entries] of tables) {
    memory.addRegion(BigInt(frame) << 12n, 4096n);
    const words = wordsOf(entries);
    memory.writeBytes(frame, 0, new Uint8Array(words.buffer));
  }
  const mmu = new X86Mmu(memory, { retention: 'none', features: { ...INTEL_COMPLETE, maxPhysAddr: 40 } });
  mmu.state.cr3Lo = 0x1000;
  mmu.state.cr4 |= levels === 5 ? CR4_LA57 : 0;
  mmu.updateControls();
  return mmu;
}

const translate = (mmu: X86Mmu, page: number, access: number): number =>
  mmu.translate(Math.floor(page / 2 ** 20) | 0, (page % 2 ** 20) << 12, access);

/** Few table frames, so that tables are shared and missing; few indices, so that neighbours meet. */
const INDICES = [0, 1, 2, 255, 256, 257, 510, 511];
const FRAMES = 7;
const entry = fc
  .record({
    present: fc.integer({ min: 0, max: 9 }).map((n) => n < 9),
    flags: fc.bigInt({ min: 0n, max: 0xfffn }),
    large: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    frame: fc.integer({ min: 1, max: FRAMES + 1 }),
    key: fc.bigInt({ min: 0n, max: 0xffn }),
    odd: fc.integer({ min: 0, max: 11 }),
  })
  .map(({ present, flags, large, frame, key, odd }) => {
    let value = (flags & ~PS & ~P) | (BigInt(frame) << 12n) | (key << 56n);
    if (present) value |= P;
    // Now and then a page where a table would be, with or without its address bits clear.
    if (large) value = (value & ~(0xffn << 12n)) | PS | (BigInt(frame) << 30n);
    if (odd === 0) value |= 1n << 45n;
    if (odd === 1) value |= 1n << 14n;
    return value;
  });
const tablesArbitrary = fc
  .array(fc.dictionary(fc.constantFrom(...INDICES.map(String)), entry, { maxKeys: 5 }), {
    minLength: FRAMES,
    maxLength: FRAMES,
  })
  .map(
    (pages): Tables =>
      new Map(
        pages.map((entries, at) => [
          at + 1,
          new Map(Object.entries(entries).map(([index, value]) => [Number(index), value])),
        ]),
      ),
  );

/** Does this page's translation say what the list says? */
function agrees(mmu: X86Mmu, leaf: X86Leaf, page: number): void {
  const kind = translate(mmu, page, Access.Read);
  if ((leaf.combined & Combined.Reserved) !== 0) {
    expect(kind).toBe(FaultKind.Reserved);
    return;
  }
  expect(kind).toBe(FaultKind.None);
  expect(mmu.paHi * 2 ** 20 + (mmu.paLo >>> 12)).toBe(leaf.frame + (page - leaf.page));
  const allowed = (access: number): boolean => translate(mmu, page, access) === FaultKind.None;
  const has = (bit: number): boolean => (leaf.combined & bit) !== 0;
  expect(allowed(Access.User)).toBe(has(Combined.User));
  expect(allowed(Access.Write)).toBe(has(Combined.Writable));
  expect(allowed(Access.Fetch)).toBe(!has(Combined.NoExecute));
}

/** Behind a missing table there is no memory, unless the walk stops at a reserved bit before. */
function gapAgrees(mmu: X86Mmu, { page, pages }: MissingTable): void {
  for (const at of [page, page + pages - 1]) {
    expect([FaultKind.Bus, FaultKind.Reserved]).toContain(translate(mmu, at, Access.Read));
  }
}

function pageAgrees(mmu: X86Mmu, { leaves, missing }: Listed, page: number): void {
  const inside = (at: number, size: number): boolean => page >= at && page < at + size;
  const leaf = leaves.find((one) => inside(one.page, pagesOfLevel(one.level)));
  if (leaf !== undefined) agrees(mmu, leaf, page);
  else if (!missing.some((gap) => inside(gap.page, gap.pages))) {
    expect([FaultKind.NotPresent, FaultKind.Reserved]).toContain(translate(mmu, page, Access.Read));
  }
}

describe.each([4, 5])('a random %i-level table', (levels) => {
  it('lists exactly what the walker translates, with the rights it grants', () => {
    fc.assert(
      fc.property(tablesArbitrary, fc.array(fc.nat(2 ** 31 - 1), { maxLength: 20 }), (tables, picks) => {
        const { leaves, missing } = list(tables, levels);
        const mmu = mmuOf(tables, levels);
        for (const leaf of leaves) {
          agrees(mmu, leaf, leaf.page);
          agrees(mmu, leaf, leaf.page + pagesOfLevel(leaf.level) - 1);
        }
        for (const gap of missing) gapAgrees(mmu, gap);
        // Pages at the indices in use, listed or not: the list has them if and only if they translate.
        for (const pick of picks) pageAgrees(mmu, { leaves, missing }, pageOfPick(pick, levels));
      }),
      { numRuns: 150 },
    );
  });

  it('is listed in ascending order, each page once', () => {
    fc.assert(
      fc.property(tablesArbitrary, (tables) => {
        let next = 0;
        for (const leaf of list(tables, levels).leaves) {
          expect(leaf.page).toBeGreaterThanOrEqual(next);
          next = leaf.page + pagesOfLevel(leaf.level);
        }
      }),
      { numRuns: 100 },
    );
  });
});

/** A canonical page number from indices in use: three bits of the pick choose each level's index. */
function pageOfPick(pick: number, levels: number): number {
  let page = 0;
  for (let level = levels; level >= 1; level--) {
    page = page * 512 + (INDICES[(pick >>> (3 * (level - 1))) & 7] as number);
  }
  const half = 512 ** levels / 2;
  return page < half ? page : page + 2 ** 52 - 2 * half;
}

describe('rights are combined over the levels', () => {
  const chain = (top: bigint, leaf: bigint): Tables =>
    new Map([
      [1, new Map([[0, 0x2000n | top]])],
      [2, new Map([[0, 0x3000n | P | RW | US]])],
      [3, new Map([[0, 0x4000n | P | RW | US]])],
      [4, new Map([[0, 0x5000n | leaf]])],
    ]);
  const { Writable, User, NoExecute, Reserved } = Combined;

  it.each([
    { what: 'all set at every level', top: P | RW | US, leaf: P | RW | US, combined: Writable | User },
    { what: 'R/W clear above', top: P | US, leaf: P | RW | US, combined: User },
    { what: 'U/S clear above', top: P | RW, leaf: P | RW | US, combined: Writable },
    { what: 'XD above', top: P | RW | US | XD, leaf: P | RW | US, combined: Writable | User | NoExecute },
    { what: 'XD below', top: P | RW | US, leaf: P | XD, combined: NoExecute },
    { what: 'PS in a PML4E', top: P | RW | US | PS, leaf: P | US, combined: User | Reserved },
    {
      what: 'an address bit above MAXPHYADDR',
      top: P | RW | US,
      leaf: P | US | (1n << 40n),
      combined: User | Reserved,
    },
  ])('$what', ({ top, leaf, combined }) => {
    expect(list(chain(top, leaf)).leaves.map((one) => one.combined)).toEqual([combined]);
  });

  it('XD with EFER.NXE = 0 is a reserved bit', () => {
    const { leaves } = list(chain(P | RW | US, P | US | XD), 4, 40, 0x501n);
    expect(leaves.map((one) => one.combined)).toEqual([User | NoExecute | Reserved]);
  });

  it('with MAXPHYADDR 52 no address bit is reserved', () => {
    const { leaves } = list(chain(P | RW | US, P | US | (1n << 51n)), 4, 52);
    expect(leaves).toMatchObject([{ combined: User, frame: 2 ** 39 + 5 }]);
  });
});

describe('corners', () => {
  it('the last page of the address space ends at 2^64, in 4 and in 5 levels', () => {
    const self = new Map([[1, new Map([[511, 0x1000n | P | RW]])]]);
    for (const levels of [4, 5]) {
      const { leaves } = list(self, levels);
      expect(leaves).toMatchObject([{ page: 2 ** 52 - 1, frame: 1, level: 1 }]);
    }
  });

  it('the halves meet nowhere: bit 47 fills the bits above it, bit 56 with five levels', () => {
    const both = new Map([
      [1, new Map([255, 256].map((index) => [index, 0x2000n | P]))],
      [2, new Map([[0, P | PS | (1n << 30n)]])],
      // With five levels the frame is one level higher.
    ]);
    expect(list(both).leaves.map((leaf) => leaf.page)).toEqual([0x7f8000000, 0xffff800000000]);
    const five: Tables = new Map([...both, [2, new Map([[0, 0x3000n | P]])], [3, new Map([[0, P | PS]])]]);
    expect(list(five, 5).leaves.map((leaf) => leaf.page)).toEqual([0xff000000000, 0xff00000000000]);
  });

  it('a table that the dump does not hold is named with what it would map', () => {
    const { leaves, missing } = list(new Map([[1, new Map([[256, 0x9000n | P]])]]));
    expect(leaves).toEqual([]);
    expect(missing).toEqual([
      {
        page: 0xffff800000000,
        pages: 512 ** 3,
        frame: 9,
        namedBy: 'the PML4E',
        level: 4,
        entryAddress: 0x1800n,
      },
    ]);
  });

  it('so is the top table', () => {
    expect(list(new Map()).missing).toEqual([
      { page: 0, pages: 512 ** 4, frame: 1, namedBy: 'CR3', level: 5, entryAddress: null },
    ]);
  });
});

describe('ranges', () => {
  const leafAt = (page: number, extra: Partial<X86Leaf> = {}): X86Leaf => ({
    page,
    frame: page,
    pages: pagesOfLevel(extra.level ?? 1),
    level: 1,
    entryHi: 0,
    entryLo: 1,
    combined: 0,
    ...extra,
  });
  const merge = (...leaves: readonly X86Leaf[]): string[] => {
    const merger = new RangeMerger(X86_RANGE_RULES);
    for (const leaf of leaves) merger.add(leaf);
    return merger.ranges.map(
      (range) => `${range.startPage}-${range.endPage} ${range.pageCounts.join('/')} runs ${range.frameRuns}`,
    );
  };

  it.each<[string, readonly X86Leaf[], string[]]>([
    ['neighbours of equal rights are one', [leafAt(1), leafAt(2)], ['1-3 2/0/0 runs 1']],
    ['pages apart are two', [leafAt(1), leafAt(3)], ['1-2 1/0/0 runs 1', '3-4 1/0/0 runs 1']],
    ['page sizes may differ', [leafAt(512, { level: 2 }), leafAt(1024)], ['512-1025 1/1/0 runs 1']],
    [
      'frames may be scattered',
      [leafAt(1), leafAt(2, { frame: 9 }), leafAt(3, { frame: 3 })],
      ['1-4 3/0/0 runs 3'],
    ],
    ['accessed and dirty may differ', [leafAt(1, { entryLo: 0x61 }), leafAt(2)], ['1-3 2/0/0 runs 1']],
    [
      'combined rights split',
      [leafAt(1, { combined: Combined.User }), leafAt(2)],
      ['1-2 1/0/0 runs 1', '2-3 1/0/0 runs 1'],
    ],
    [
      'global splits',
      [leafAt(1, { entryLo: 1 | Number(G) }), leafAt(2)],
      ['1-2 1/0/0 runs 1', '2-3 1/0/0 runs 1'],
    ],
    [
      'the key splits',
      [leafAt(1, { entryHi: 3 << 27 }), leafAt(2)],
      ['1-2 1/0/0 runs 1', '2-3 1/0/0 runs 1'],
    ],
    [
      'the memory type splits',
      [leafAt(1, { entryLo: 0x11 }), leafAt(2)],
      ['1-2 1/0/0 runs 1', '2-3 1/0/0 runs 1'],
    ],
    [
      'bit 7 is PAT in a PTE, bit 12 in a large leaf',
      [leafAt(512, { level: 2, entryLo: 0x1081 }), leafAt(1024, { entryLo: 0x81 })],
      ['512-1025 1/1/0 runs 1'],
    ],
  ])('%s', (_, leaves, want) => {
    expect(merge(...leaves)).toEqual(want);
  });
});
