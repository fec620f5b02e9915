/** The list of an arm64 half drawn by hand: blocks at every level, contiguous runs, and tables that are not there. */
import { describe, expect, it } from 'vitest';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import { type Arm64Leaf, contiguousShift, visitLeaves } from '../../../src/conformance/maps/arm64-leaves.ts';
import type { Arm64Region } from '../../../src/conformance/maps/arm64-regions.ts';
import type { MissingTable } from '../../../src/conformance/maps/leaves.ts';

/** Entry values by byte address. */
type Words = Readonly<Record<number, bigint>>;

const REGION: Arm64Region = {
  walks: true,
  register: 'TTBR0_EL1',
  granule: 12,
  addressBits: 48,
  startLevel: 0,
  startEntries: 512,
  tableAddress: 0x1000,
  firstPage: 0,
  firstBlockLevel: 1,
  addressHigh: 0xffff,
  wideMask: 0,
  wideShift: 4,
  indirect: false,
  // Bits 63:55.
  ignoredHigh: 0xff800000 | 0,
};
const K16: Partial<Arm64Region> = { granule: 14, startEntries: 2, tableAddress: 0x4000, firstBlockLevel: 2 };
const K64: Partial<Arm64Region> = {
  granule: 16,
  startLevel: 1,
  startEntries: 64,
  tableAddress: 0x10000,
  firstBlockLevel: 2,
};

interface Listed {
  readonly leaves: readonly Arm64Leaf[];
  readonly missing: readonly MissingTable[];
}

/** Lists a half; every 4 KiB from 0 to 0x10_0000 is in the dump but for `gaps`. */
function list(words: Words, region: Partial<Arm64Region> = {}, gaps: readonly number[] = []): Listed {
  const pages = new Map<number, Int32Array>();
  for (let frame = 0; frame < 0x100; frame++)
    if (!gaps.includes(frame)) pages.set(frame, new Int32Array(1024));
  for (const [address, value] of Object.entries(words)) {
    const page = pages.get(Math.floor(Number(address) / 4096));
    page?.set([lowHalf(value), highHalf(value)], (Number(address) % 4096) / 4);
  }
  const leaves: Arm64Leaf[] = [];
  const missing: MissingTable[] = [];
  const reader = { table: (frame: number) => pages.get(frame) };
  visitLeaves(
    reader,
    { ...REGION, ...region },
    {
      leaf: (leaf) => leaves.push({ ...leaf }),
      missing: (table) => missing.push(table),
    },
  );
  return { leaves, missing };
}

const [TABLE, PAGE, BLOCK] = [3n, 3n, 1n];
const CONTIGUOUS = 1n << 52n;

describe('a block', () => {
  /** Tables one below the other, entry 0 each, with a block at one level. */
  const blockAt = (level: number, region: Partial<Arm64Region>): Listed => {
    const { granule, startLevel, tableAddress } = { ...REGION, ...region };
    const words: Record<number, bigint> = {};
    let table = tableAddress;
    for (let at = startLevel; at < level; at++) {
      words[table] = BigInt(table + 2 ** granule) | TABLE;
      table += 2 ** granule;
    }
    words[table + 8] = (1n << 46n) | BLOCK;
    return list(words, region);
  };

  it.each([
    { name: '4 KiB', region: {}, level: 1, pages: 2 ** 18 },
    { name: '4 KiB', region: {}, level: 2, pages: 512 },
    { name: '4 KiB with 52-bit addresses', region: { firstBlockLevel: 0 }, level: 0, pages: 2 ** 27 },
    { name: '16 KiB', region: K16, level: 2, pages: 2 ** 13 },
    {
      name: '16 KiB with 52-bit addresses',
      region: { ...K16, firstBlockLevel: 1 },
      level: 1,
      pages: 2 ** 24,
    },
    { name: '64 KiB', region: K64, level: 2, pages: 2 ** 17 },
    {
      name: '64 KiB with 52-bit addresses',
      region: { ...K64, firstBlockLevel: 1 },
      level: 1,
      pages: 2 ** 30,
    },
  ])('of level $level with $name covers $pages pages', ({ region, level, pages }) => {
    expect(blockAt(level, region).leaves).toMatchObject([{ page: pages, frame: 2 ** 34, pages, level }]);
  });

  it.each([
    { name: '4 KiB', region: {}, level: 0 },
    { name: '16 KiB', region: K16, level: 1 },
    { name: '64 KiB', region: K64, level: 1 },
    { name: '4 KiB', region: {}, level: 3 },
  ])('of level $level with $name is reserved', ({ region, level }) => {
    expect(blockAt(level, region)).toEqual({ leaves: [], missing: [] });
  });
});

describe('a contiguous run', () => {
  it.each([
    [12, [0, 4, 4, 4]],
    [14, [0, 0, 5, 7]],
    [16, [0, 0, 5, 5]],
  ])('of granule 2^%i has 2^%j entries at levels 0 to 3', (granule, shifts) => {
    expect([0, 1, 2, 3].map((level) => contiguousShift(granule, level))).toEqual(shifts);
  });

  /** A level 3 table at 0x4000 with sixteen pages from index 16 on, and one of them changed. */
  const run = (
    index: number,
    change: bigint,
    attributes = 0x400n,
    region: Partial<Arm64Region> = {},
  ): boolean[] => {
    const words: Record<number, bigint> = { 4096: 0x2003n, 8192: 0x3003n, 12288: 0x4003n };
    for (let at = 16; at < 32; at++) {
      words[0x4000 + at * 8] = 0x10_0000n | (BigInt(at) << 12n) | PAGE | CONTIGUOUS | attributes;
    }
    words[0x4000 + index * 8] = (words[0x4000 + index * 8] ?? 0n) ^ change;
    return list(words, region).leaves.map(({ contiguous }) => contiguous);
  };
  const DBM = 1n << 51n;
  it.each([
    { what: 'all alike', change: 0n, holds: true },
    { what: 'one whose Access flag differs', change: 0x400n, holds: true },
    { what: 'one that is writable-clean, with DBM', change: 0x80n, attributes: 0x400n | DBM, holds: true },
    { what: 'one that is read-only, without DBM', change: 0x80n, holds: false },
    { what: 'one whose bits for software differ', change: 0xfn << 55n, holds: true },
    { what: 'one with other PBHA, which hardware does not use', change: 0xfn << 59n, holds: true },
    { what: 'one whose bit 63 differs', change: 1n << 63n, holds: true },
    { what: 'one without the bit', change: CONTIGUOUS, holds: false },
    { what: 'one that lies elsewhere', change: 1n << 40n, holds: false },
    { what: 'one with another memory type', change: 4n, holds: false },
    { what: 'one that EL1 may execute', change: 1n << 53n, holds: false },
    { what: 'one that is invalid', change: 1n, holds: false },
  ])('with $what', ({ change, attributes, holds }) => {
    const found = run(20, change, attributes);
    expect(found).toHaveLength(change === 1n ? 15 : 16);
    expect(new Set(found)).toEqual(new Set([holds]));
  });

  it('with other PBHA does not hold where hardware uses that', () => {
    expect(new Set(run(20, 1n << 60n, 0x400n, { ignoredHigh: REGION.ignoredHigh & ~(1 << 28) }))).toEqual(
      new Set([false]),
    );
  });

  it('of blocks holds whatever their bits below the address say: nT', () => {
    const words: Record<number, bigint> = { 4096: 0x2003n, 8192: 0x3003n };
    const nT = 1n << 16n;
    for (let at = 0; at < 16; at++)
      words[0x3000 + at * 8] = (BigInt(at) << 21n) | BLOCK | CONTIGUOUS | (at === 3 ? 0n : nT);
    const { leaves } = list(words);
    expect(leaves).toHaveLength(16);
    expect(leaves.every(({ contiguous }) => contiguous)).toBe(true);
  });

  it('that is not aligned in physical memory does not hold', () => {
    const words: Record<number, bigint> = { 4096: 0x2003n, 8192: 0x3003n, 12288: 0x4003n };
    for (let at = 0; at < 16; at++) words[0x4000 + at * 8] = (BigInt(at + 1) << 12n) | PAGE | CONTIGUOUS;
    expect(list(words).leaves.some(({ contiguous }) => contiguous)).toBe(false);
  });
});

describe('a table that the dump does not hold', () => {
  it('is named with what it would map', () => {
    expect(list({ 4104: 0x9_9000_0003n }).missing).toEqual([
      {
        page: 2 ** 27,
        pages: 2 ** 27,
        frame: 0x99_0000,
        namedBy: 'the level 0 descriptor',
        level: 0,
        entryAddress: 0x1008n,
      },
    ]);
  });

  it('may be the first one', () => {
    expect(list({}, { register: 'TTBR1_EL1', firstPage: 2 ** 52 - 2 ** 36 }, [1]).missing).toEqual([
      {
        page: 2 ** 52 - 2 ** 36,
        pages: 2 ** 36,
        frame: 1,
        namedBy: 'TTBR1_EL1',
        level: -1,
        entryAddress: null,
      },
    ]);
  });

  it('may be a part of one: a table of 16 KiB is four pages, and the others are read', () => {
    const words = {
      16384: 0x8003n,
      32768: 0xc003n,
      49152: 0x1_0003n,
      65536: 0x4_0003n,
      81912: 0x8_0003n,
    };
    const { leaves, missing } = list(words, K16, [0x11, 0x12]);
    expect(leaves).toMatchObject([
      { page: 0, frame: 0x40, pages: 4 },
      { page: 2047 * 4, frame: 0x80, pages: 4 },
    ]);
    expect(missing).toMatchObject([
      {
        page: 512 * 4,
        pages: 512 * 4,
        frame: 0x11,
        namedBy: 'the level 2 descriptor',
        entryAddress: 0xc000n,
      },
      { page: 1024 * 4, pages: 512 * 4, frame: 0x12 },
    ]);
  });
});

it('the upper half ends at 2^64', () => {
  const words = { 8184: 0x2003n, 12280: 0x3003n, 16376: 0x4003n, 20472: 0x5003n };
  const { leaves } = list(words, { firstPage: 2 ** 52 - 2 ** 36 });
  expect(leaves).toMatchObject([{ page: 2 ** 52 - 1, frame: 5, level: 3 }]);
});

it('a small first table begins in the middle of a page, and what lies beside it is not read', () => {
  const words = { 5632: 0x4000_0001n, 5640: 0x8000_0001n, 5624: 0xc000_0001n };
  const { leaves } = list(words, { startLevel: 1, startEntries: 1, tableAddress: 0x1600, addressBits: 30 });
  expect(leaves).toMatchObject([{ page: 0, frame: 0x4_0000, level: 1 }]);
});
