/** Random arm64 page tables of a given shape, as cores. */
import type fc from 'fast-check';
import type { CorePage } from '../core/make-core.ts';
import {
  type HalfShape,
  hasBlocks,
  type MadeLeaf,
  type MadeTables,
  physicalBits,
  placed,
  type Registers,
  runEntries,
  SctlrBit,
  type Shape,
  shiftOf,
  startLevelOf,
  tcrOf,
  wideOf,
} from './arm64-shape.ts';

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
