/**
 * Random arm64 page tables of a given shape, as cores, and the answer to every question about them, computed plainly from
 * the Arm ARM with bigint: nothing here is shared with what is tested.
 */
import type fc from 'fast-check';
import type { CorePage } from '../core/make-core.ts';

interface HalfShape {
  /** log2 of the granule. */
  readonly granule: 12 | 14 | 16;
  readonly addressBits: number;
}

export interface Shape {
  readonly name: string;
  readonly lower: HalfShape;
  readonly upper: HalfShape;
  /** TCR_EL1.DS. */
  readonly ds?: boolean;
  /** TCR_EL1.IPS; default 5, 48 bits. 6: 52 bits. */
  readonly ips?: number;
  readonly pie?: boolean;
  readonly ha?: boolean;
  readonly hd?: boolean;
  /** Further bits of TCR_EL1 and SCTLR_EL1. */
  readonly tcr?: bigint;
  readonly sctlr?: bigint;
}

export const TcrBit = {
  A1: 1n << 22n,
  AS: 1n << 36n,
  TBI0: 1n << 37n,
  TBI1: 1n << 38n,
  HA: 1n << 39n,
  HD: 1n << 40n,
  HPD0: 1n << 41n,
  HPD1: 1n << 42n,
  E0PD1: 1n << 56n,
  DS: 1n << 59n,
} as const;
export const SctlrBit = { M: 1n, C: 4n, WXN: 1n << 19n, EPAN: 1n << 57n } as const;

const IPS_BITS = [32n, 36n, 40n, 42n, 44n, 48n, 52n];

interface Registers {
  readonly tcr: bigint;
  readonly tcr2: bigint;
  readonly sctlr: bigint;
  readonly ttbr0: bigint;
  readonly ttbr1: bigint;
  readonly pir: bigint;
  readonly pire0: bigint;
}

/** One page or block that the tables were made to map. */
interface MadeLeaf {
  readonly va: bigint;
  readonly pa: bigint;
  readonly bytes: bigint;
  readonly level: number;
  /** In a contiguous run that is well formed. */
  readonly contiguous: boolean;
}

export interface MadeTables {
  readonly shape: Shape;
  readonly registers: Registers;
  readonly words: ReadonlyMap<bigint, bigint>;
  readonly leaves: readonly MadeLeaf[];
  readonly pages: readonly CorePage[];
}

/** Bits of the addresses at which a table can be. */
function physicalBits({ ips = 5 }: Shape, wide: boolean): bigint {
  const bits = IPS_BITS[ips] ?? 48n;
  return bits > 48n && !wide ? 48n : bits;
}

const wideOf = (shape: Shape, { granule }: HalfShape): boolean =>
  granule === 16 ? shape.ips === 6 : shape.ds === true;

/** TCR_EL1 from the shape; TG1 is encoded in another order than TG0. */
function tcrOf({ lower, upper, ds, ips = 5, ha, hd, tcr = 0n }: Shape): bigint {
  const tg0 = { 12: 0n, 14: 2n, 16: 1n }[lower.granule];
  const tg1 = { 12: 2n, 14: 1n, 16: 3n }[upper.granule];
  return (
    BigInt(64 - lower.addressBits) |
    (BigInt(64 - upper.addressBits) << 16n) |
    (tg0 << 14n) |
    (tg1 << 30n) |
    (BigInt(ips) << 32n) |
    (ha ? TcrBit.HA : 0n) |
    (hd ? TcrBit.HD : 0n) |
    (ds ? TcrBit.DS : 0n) |
    tcr
  );
}

/** A descriptor's address bits. */
function placed(address: bigint, wide: boolean, granule: number): bigint {
  if (!wide) return address;
  if (granule === 16) return (address & 0xffff_ffff_0000n) | ((address >> 48n) << 12n);
  return (address & ((1n << 50n) - 1n)) | ((address >> 50n) << 8n);
}

/** The address that a descriptor holds. */
function addressIn(descriptor: bigint, wide: boolean, granule: number): bigint {
  const below = (1n << BigInt(granule)) - 1n;
  if (!wide) return descriptor & 0xffff_ffff_ffffn & ~below;
  if (granule === 16) return (descriptor & 0xffff_ffff_0000n) | (((descriptor >> 12n) & 15n) << 48n);
  return (descriptor & ((1n << 50n) - 1n) & ~below) | (((descriptor >> 8n) & 3n) << 50n);
}

const startLevelOf = ({ granule, addressBits }: HalfShape): number => {
  let level = 3;
  for (let covered = granule + (granule - 3); covered < addressBits; covered += granule - 3) level--;
  return level;
};
const shiftOf = (granule: number, level: number): bigint => BigInt(granule + (3 - level) * (granule - 3));

/** May there be blocks? Table "block sizes by granule": 52-bit addresses add one level. */
function hasBlocks({ granule }: HalfShape, level: number, wide: boolean): boolean {
  const levels = { 12: wide ? [0, 1, 2] : [1, 2], 14: wide ? [1, 2] : [2], 16: wide ? [1, 2] : [2] }[granule];
  return levels.includes(level);
}

/** Entries of a contiguous run. */
function runEntries(granule: number, level: number): number {
  if (granule === 12) return level >= 1 ? 16 : 0;
  if (granule === 14) return level === 3 ? 128 : level === 2 ? 32 : 0;
  return level >= 2 ? 32 : 0;
}

class Maker {
  readonly words = new Map<bigint, bigint>();
  readonly leaves: MadeLeaf[] = [];
  readonly #g: fc.GeneratorValue;
  readonly #shape: Shape;
  readonly #fc: typeof fc;
  #tables = 0;

  constructor(g: fc.GeneratorValue, check: typeof fc, shape: Shape) {
    this.#g = g;
    this.#fc = check;
    this.#shape = shape;
  }

  number(max: number): number {
    return this.#g(this.#fc.integer, { min: 0, max });
  }

  bits(width: bigint): bigint {
    return this.#g(this.#fc.bigInt, { min: 0n, max: (1n << width) - 1n });
  }

  /** A place for a table: every table in memory of its own, anywhere in the address space. */
  place(bytes: bigint, wide: boolean): bigint {
    const high = this.bits(physicalBits(this.#shape, wide) - 28n) << 28n;
    const slot = BigInt(++this.#tables) << 20n;
    return high + (slot % (1n << 28n)) + ((this.bits(4n) * bytes) % 0x4_0000n);
  }

  /** A half's tables. @returns the address of the first one */
  half(half: HalfShape, upper: boolean): bigint {
    const level = startLevelOf(half);
    const entries = 1n << (BigInt(half.addressBits) - shiftOf(half.granule, level));
    const wide = wideOf(this.#shape, half);
    const bytes = entries * 8n < 64n ? 64n : entries * 8n;
    const address = this.place(bytes, wide);
    const base = upper ? (1n << 64n) - (1n << BigInt(half.addressBits)) : 0n;
    this.table(half, address, Number(entries), level, base);
    // What lies beside a small table is none of its entries.
    this.words.set(address + entries * 8n, 0xffff_ffff_ffff_f7ffn & ~(1n << 52n));
    return address;
  }

  /** A few entries of a table: the first, the last and others. */
  table(half: HalfShape, address: bigint, entries: number, level: number, va: bigint): void {
    const wanted = new Set([0, entries - 1, this.number(entries - 1), this.number(entries - 1)]);
    const taken = new Set<number>();
    for (const index of [...wanted].slice(0, level < 2 ? 2 : 4)) {
      if (taken.has(index)) continue;
      const run = runEntries(half.granule, level);
      const start = run === 0 ? 0 : index - (index % run);
      const free = [...taken].every((one) => one < start || one >= start + run);
      taken.add(index);
      if (run > 0 && entries >= run && free && this.mayBeLeaf(half, level) && this.number(3) === 0) {
        for (let one = start; one < start + run; one++) taken.add(one);
        this.run(half, address, start, run, level, va);
      } else this.entry(half, address, index, level, va);
    }
  }

  mayBeLeaf(half: HalfShape, level: number): boolean {
    return level === 3 || hasBlocks(half, level, wideOf(this.#shape, half));
  }

  /** One entry that is in no run: invalid with anything in its other bits, a page or block, or a table. */
  entry(half: HalfShape, address: bigint, index: number, level: number, base: bigint): void {
    const va = base + (BigInt(index) << shiftOf(half.granule, level));
    const kind = this.number(9);
    if (kind === 0) this.words.set(address + BigInt(index) * 8n, this.bits(63n) << 1n);
    else if (this.mayBeLeaf(half, level) && (level === 3 || kind <= 4)) {
      this.leaf(half, address, index, level, va);
    } else if (level < 3) this.below(half, address, index, level, va);
  }

  below(half: HalfShape, address: bigint, index: number, level: number, va: bigint): void {
    const wide = wideOf(this.#shape, half);
    const next = this.place(1n << BigInt(half.granule), wide) & ~((1n << BigInt(half.granule)) - 1n);
    // Bits 63:59 (NSTable and limits) now and then, 58:51 ignored.
    const limits = this.number(2) === 0 ? this.bits(4n) << 59n : 0n;
    this.words.set(
      address + BigInt(index) * 8n,
      3n | placed(next, wide, half.granule) | limits | (this.bits(8n) << 51n),
    );
    this.table(half, next, 2 ** (half.granule - 3), level + 1, va);
  }

  /** Permissions, attributes and software bits of a leaf, without address, type and Contiguous. */
  attributes(half: HalfShape): bigint {
    const share = wideOf(this.#shape, half) && half.granule !== 16 ? 0n : this.bits(2n) << 8n;
    // AttrIndx, AP, nG; GP, DBM; PXN, UXN; 63:55.
    const high = (this.bits(2n) << 50n) | (this.bits(2n) << 53n) | (this.bits(9n) << 55n);
    return share | (this.bits(3n) << 2n) | (this.bits(2n) << 6n) | (this.bits(1n) << 11n) | high;
  }

  output(half: HalfShape, level: number): bigint {
    const wide = wideOf(this.#shape, half);
    const shift = shiftOf(half.granule, level);
    // Now and then beyond the output size, if descriptors can say it.
    const beyond = this.number(3) === 0 && this.#shape.ips !== 6;
    return (this.bits(beyond && !wide ? 48n : physicalBits(this.#shape, wide)) >> shift) << shift;
  }

  leaf(half: HalfShape, address: bigint, index: number, level: number, va: bigint): void {
    const wide = wideOf(this.#shape, half);
    const pa = this.output(half, level);
    const type = level === 3 ? 3n : 1n;
    const accessed = this.number(3) === 0 ? 0n : 1n << 10n;
    // A Contiguous bit without a run, now and then: its neighbours do not have it, or lie elsewhere.
    const alone = runEntries(half.granule, level) > 0 && this.number(4) === 0 ? 1n << 52n : 0n;
    this.words.set(
      address + BigInt(index) * 8n,
      type | placed(pa, wide, half.granule) | this.attributes(half) | accessed | alone,
    );
    this.leaves.push({ va, pa, bytes: 1n << shiftOf(half.granule, level), level, contiguous: false });
  }

  run(half: HalfShape, address: bigint, start: number, entries: number, level: number, base: bigint): void {
    const wide = wideOf(this.#shape, half);
    const shift = shiftOf(half.granule, level);
    const size = BigInt(entries) << shift;
    const first = this.output(half, level) & ~(size - 1n);
    const attributes = this.attributes(half) | (1n << 52n) | (level === 3 ? 3n : 1n);
    const tracked = this.#shape.pie === true || (attributes & (1n << 51n)) !== 0n;
    const spoiled = this.number(3) === 0 ? start + this.number(entries - 1) : -1;
    for (let index = start; index < start + entries; index++) {
      const pa = first + (BigInt(index - start) << shift);
      let word = attributes | placed(pa, wide, half.granule) | (this.number(7) === 0 ? 0n : 1n << 10n);
      if (tracked && this.number(3) === 0) word ^= 1n << 7n;
      if (index === spoiled) word ^= 1n << 52n;
      this.words.set(address + BigInt(index) * 8n, word);
      const va = base + (BigInt(index) << shift);
      this.leaves.push({ va, pa, bytes: 1n << shift, level, contiguous: spoiled < 0 });
    }
  }
}

/** Encodings of PIR_EL1 and PIRE0_EL1 that are neither reserved nor of the Guarded Control Stack. */
const PERMISSIONS = [0n, 1n, 2n, 3n, 5n, 6n, 7n, 8n, 10n, 12n, 14n];

export function makeTables(g: fc.GeneratorValue, check: typeof fc, shape: Shape): MadeTables {
  const maker = new Maker(g, check, shape);
  const table = (half: HalfShape, upper: boolean): bigint => {
    const address = maker.half(half, upper);
    const wide = wideOf(shape, half);
    // The ASID, and CnP; with 52-bit addresses bits 5:2 are address bits 51:48.
    const high = wide ? (address >> 48n) << 2n : 0n;
    return (address & 0xffff_ffff_ffffn) | high | (maker.bits(16n) << 48n) | maker.bits(1n);
  };
  const sixteen = (): bigint => {
    let word = 0n;
    for (let at = 0n; at < 64n; at += 4n)
      word |= (PERMISSIONS[maker.number(PERMISSIONS.length - 1)] ?? 0n) << at;
    return word;
  };
  const registers: Registers = {
    tcr: tcrOf(shape),
    tcr2: shape.pie ? 2n : 0n,
    sctlr: SctlrBit.M | SctlrBit.C | (shape.sctlr ?? 0n),
    ttbr0: table(shape.lower, false),
    ttbr1: table(shape.upper, true),
    pir: shape.pie ? sixteen() : 0n,
    pire0: shape.pie ? sixteen() : 0n,
  };
  const leaves = [...maker.leaves].sort((a, b) => (a.va < b.va ? -1 : 1));
  return { shape, registers, words: maker.words, leaves, pages: pagesOf(shape, maker.words) };
}

/** Every 4 KiB that has a word, and the rest of its granule: a table is dumped whole. */
function pagesOf(shape: Shape, words: ReadonlyMap<bigint, bigint>): CorePage[] {
  const largest = Math.max(shape.lower.granule, shape.upper.granule);
  const pages = new Map<bigint, Record<number, bigint>>();
  for (const address of words.keys()) {
    const start = (address >> BigInt(largest)) << BigInt(largest);
    for (let at = start; at < start + (1n << BigInt(largest)); at += 4096n) {
      if (!pages.has(at)) pages.set(at, {});
    }
  }
  for (const [address, word] of words) {
    const page = pages.get((address >> 12n) << 12n) as Record<number, bigint>;
    page[Number(address & 0xfffn) / 8] = word;
  }
  return [...pages].map(([address, entries]) => ({ physicalAddress: Number(address), entries }));
}

/** `rwx` and `-` for each level. */
export interface Answer {
  readonly pa: bigint;
  readonly el1: string;
  readonly el0: string;
  /** Does a read pass with PSTATE.PAN set? */
  readonly panRead: boolean;
  /** AF in the leaf. */
  readonly accessed: boolean;
  /** Dirty as hardware tracks it: DBM = 1 and AP[2] = 0; with indirection writable and nDirty = 0. */
  readonly dirty: boolean;
}

/** Are the bits above the address range copies of bit 55, but for a top byte that is ignored? */
function isInRange({ registers, shape }: MadeTables, va: bigint): boolean {
  const upper = isUpper(va);
  const { addressBits } = upper ? shape.upper : shape.lower;
  const ignoreTop = (registers.tcr & (upper ? TcrBit.TBI1 : TcrBit.TBI0)) !== 0n;
  const ones = (1n << BigInt((ignoreTop ? 56 : 64) - addressBits)) - 1n;
  return ((va >> BigInt(addressBits)) & ones) === (upper ? ones : 0n);
}

const isUpper = (va: bigint): boolean => ((va >> 55n) & 1n) === 1n;

function firstTable({ registers, shape }: MadeTables, upper: boolean): bigint {
  const ttbr = upper ? registers.ttbr1 : registers.ttbr0;
  const base = ttbr & 0xffff_ffff_fffen;
  return wideOf(shape, upper ? shape.upper : shape.lower)
    ? (base & ~63n) | (((ttbr >> 2n) & 15n) << 48n)
    : base;
}

/** The last descriptor for an address, with the limits of the tables above it. */
interface FoundLeaf {
  readonly word: bigint;
  readonly address: bigint;
  readonly shift: bigint;
  readonly limits: bigint;
}

function findLeaf(tables: MadeTables, va: bigint): FoundLeaf | null {
  const { shape, words } = tables;
  const half = isUpper(va) ? shape.upper : shape.lower;
  const start = startLevelOf(half);
  let table = firstTable(tables, isUpper(va));
  let limits = 0n;
  for (let level = start; ; level++) {
    const shift = shiftOf(half.granule, level);
    const width = level === start ? BigInt(half.addressBits) - shift : BigInt(half.granule - 3);
    const word = words.get(table + ((va >> shift) & ((1n << width) - 1n)) * 8n) ?? 0n;
    const address = addressIn(word, wideOf(shape, half), half.granule);
    const form = formOf(shape, half, level, word);
    if (form === 'invalid' || address >> (IPS_BITS[shape.ips ?? 5] ?? 48n) !== 0n) return null;
    if (form === 'leaf') return { word, address, shift, limits };
    limits |= (word >> 59n) & 15n;
    table = address;
  }
}

function formOf(shape: Shape, half: HalfShape, level: number, word: bigint): 'invalid' | 'leaf' | 'table' {
  const type = word & 3n;
  if (level === 3) return type === 3n ? 'leaf' : 'invalid';
  if (type === 3n) return 'table';
  return type === 1n && hasBlocks(half, level, wideOf(shape, half)) ? 'leaf' : 'invalid';
}

/** What an address translates to, null when nothing is mapped or an address on the way is too wide. */
export function answerOf(tables: MadeTables, va: bigint): Answer | null {
  const { shape, registers } = tables;
  const leaf = isInRange(tables, va) ? findLeaf(tables, va) : null;
  if (leaf === null) return null;
  const { word, address, shift, limits } = leaf;
  const within = (1n << shift) - 1n;
  const disabled = (registers.tcr & (isUpper(va) ? TcrBit.HPD1 : TcrBit.HPD0)) !== 0n;
  const permissions = shape.pie
    ? indirect(shape, registers, word)
    : direct(shape, word, disabled ? 0n : limits, isUpper(va));
  const has = (at: bigint): boolean => ((word >> at) & 1n) === 1n;
  const tracked = shape.pie ? `${permissions.el1}${permissions.el0}`.includes('w') : has(51n);
  return {
    pa: (address & ~within) | (va & within),
    ...permissions,
    accessed: has(10n),
    dirty: tracked && !has(7n),
  };
}

type Permissions = Pick<Answer, 'el1' | 'el0' | 'panRead'>;
const letters = (r: boolean, w: boolean, x: boolean): string =>
  `${r ? 'r' : '-'}${w ? 'w' : '-'}${x ? 'x' : '-'}`;

/** AP, PXN, UXN and DBM of the leaf with the limits above it: PXNTable, UXNTable, APTable[0], APTable[1]. */
function limitedFields(
  shape: Shape,
  word: bigint,
  limits: bigint,
): Record<'write' | 'user' | 'pxn' | 'uxn', boolean> {
  const has = (at: bigint): boolean => ((word >> at) & 1n) === 1n;
  const limited = (at: bigint): boolean => ((limits >> at) & 1n) === 1n;
  const tracked = shape.ha === true && shape.hd === true && has(51n);
  return {
    write: !((has(7n) && !tracked) || limited(3n)),
    user: has(6n) && !limited(2n),
    pxn: has(53n) || limited(0n),
    uxn: has(54n) || limited(1n),
  };
}

function direct(shape: Shape, word: bigint, limits: bigint, upper: boolean): Permissions {
  const { write, user, pxn, uxn } = limitedFields(shape, word, limits);
  const sctlr = shape.sctlr ?? 0n;
  const userWrite = user && write;
  const wxn = (sctlr & SctlrBit.WXN) !== 0n;
  const panExecute = (sctlr & SctlrBit.EPAN) !== 0n && !uxn;
  const denied = upper && ((shape.tcr ?? 0n) & TcrBit.E0PD1) !== 0n;
  return {
    el1: letters(true, write, !pxn && !userWrite && !(wxn && write)),
    el0: denied ? '---' : letters(user, userWrite, !uxn && !(wxn && userWrite)),
    panRead: !user && !panExecute,
  };
}

const READS = [1n, 3n, 5n, 6n, 7n, 8n, 10n, 12n, 14n];
const WRITES = [5n, 6n, 7n, 12n, 14n];
const EXECUTES = [2n, 3n, 7n, 10n, 14n];

/** PIIndex of the leaf into PIR_EL1 and PIRE0_EL1; bit 7 is nDirty. */
function indirect(shape: Shape, { pir, pire0 }: Registers, word: bigint): Permissions {
  const index = ((word >> 53n) & 3n) * 4n + ((word >> 51n) & 1n) * 2n + ((word >> 6n) & 1n);
  const kernel = (pir >> (4n * index)) & 15n;
  const user = (pire0 >> (4n * index)) & 15n;
  if ((EXECUTES.includes(kernel) || kernel === 6n) && WRITES.includes(user)) {
    return { el1: '---', el0: '---', panRead: false };
  }
  const clean = ((word >> 7n) & 1n) === 1n && !(shape.ha === true && shape.hd === true);
  const text = (field: bigint): string =>
    letters(READS.includes(field), WRITES.includes(field) && !clean, EXECUTES.includes(field));
  return { el1: text(kernel), el0: text(user), panRead: READS.includes(kernel) && user === 0n };
}
