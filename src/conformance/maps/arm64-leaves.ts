/**
 * Every page and block that an arm64 stage 1 table maps, in ascending order of virtual address: where it is, how large,
 * and its last descriptor. It follows tables and judges nothing: what an access may do, the MMU is asked
 * (`arm64-mmu.ts`). Pages number 4 KiB throughout; a 16 KiB or 64 KiB table is read in pieces of 4 KiB, any of which the
 * dump may lack.
 * @see Arm ARM (DDI 0487), "VMSAv8-64 descriptor formats" and "The Contiguous bit"
 */

import type { Arm64Region } from './arm64-regions.ts';
import type { LeafVisitor, TableReader } from './leaves.ts';

/** One page or block; the visitor's argument is one object used again and again. */
export interface Arm64Leaf {
  page: number;
  frame: number;
  pages: number;
  /** Lookup level: 0 to 3. */
  level: number;
  /** The last descriptor as it stands in memory. */
  entryHi: number;
  entryLo: number;
  /** Has a Contiguous bit that holds: its whole run maps adjacent memory with equal attributes. */
  contiguous: boolean;
}

/** Fields of descriptors as halves. */
export const Descriptor = {
  VALID: 1 << 0,
  /** Not a block. */
  TABLE_OR_PAGE: 1 << 1,
  /** AP[2], bit 7: read-only; with permission indirection nDirty. */
  READ_ONLY: 1 << 7,
  AF: 1 << 10,
  NG: 1 << 11,
  GP_HIGH: 1 << 18,
  /** Bit 51: DBM; with permission indirection a bit of PIIndex. */
  DBM_HIGH: 1 << 19,
  CONTIGUOUS_HIGH: 1 << 20,
} as const;

const ENTRY_BYTES = 8;
const PIECE_BYTES = 4096;
const PIECE_ENTRIES = PIECE_BYTES / ENTRY_BYTES;

/**
 * log2 of the entries of a contiguous run; 0 where the bit has no meaning.
 * @see Arm ARM (DDI 0487), shared pseudocode function ContiguousSize
 */
export function contiguousShift(granule: number, level: number): number {
  if (granule === 12) return level >= 1 ? 4 : 0;
  if (level < 2) return 0;
  return granule === 14 && level === 3 ? 7 : 5;
}

/** 4 KiB pages that one descriptor of this level maps. */
const pagesOfDescriptor = (granule: number, level: number): number =>
  2 ** (granule - 12 + (3 - level) * (granule - 3));

/** The frame that a descriptor names; bits below the granule are not part of it. */
function frameOf({ granule, addressHigh, wideMask, wideShift }: Arm64Region, hi: number, lo: number): number {
  const high = (hi & addressHigh) | ((lo & wideMask) << wideShift);
  return high * 2 ** 20 + (lo >>> granule) * 2 ** (granule - 12);
}

class LeafWalk {
  readonly #reader: TableReader;
  readonly #visitor: LeafVisitor<Arm64Leaf>;
  readonly #region: Arm64Region;
  readonly #leaf: Arm64Leaf = {
    page: 0,
    frame: 0,
    pages: 1,
    level: 3,
    entryHi: 0,
    entryLo: 0,
    contiguous: false,
  };

  constructor(reader: TableReader, visitor: LeafVisitor<Arm64Leaf>, region: Arm64Region) {
    this.#reader = reader;
    this.#visitor = visitor;
    this.#region = region;
  }

  walk(): void {
    const { tableAddress, startLevel, firstPage, startEntries, register } = this.#region;
    const source = { namedBy: register, level: startLevel - 1, entryAddress: null };
    this.#table(tableAddress, startEntries, startLevel, firstPage, source);
  }

  /** A table of `entries` descriptors at a byte address. */
  #table(address: number, entries: number, level: number, page: number, source: TableSource): void {
    const perEntry = pagesOfDescriptor(this.#region.granule, level);
    const start = address % PIECE_BYTES;
    for (let done = 0; done < entries; ) {
      const at = start + done * ENTRY_BYTES;
      const frame = Math.floor(address / PIECE_BYTES) + Math.floor(at / PIECE_BYTES);
      const first = (at % PIECE_BYTES) / ENTRY_BYTES;
      const count = Math.min(PIECE_ENTRIES - first, entries - done);
      const words = this.#reader.table(frame);
      const piece = page + done * perEntry;
      if (words === undefined)
        this.#visitor.missing({ ...source, page: piece, pages: count * perEntry, frame });
      else this.#piece(words, frame, first, count, level, piece);
      done += count;
    }
  }

  /** `count` descriptors of one 4 KiB page of a table, from index `first` of that page on. */
  #piece(words: Int32Array, frame: number, first: number, count: number, level: number, page: number): void {
    const step = pagesOfDescriptor(this.#region.granule, level);
    const runs = new ContiguousRuns(this.#region, words, first, count, level);
    for (let index = first; index < first + count; index++) {
      const lo = words[index * 2] as number;
      if ((lo & Descriptor.VALID) === 0) continue;
      const hi = words[index * 2 + 1] as number;
      const start = page + (index - first) * step;
      const isTable = (lo & Descriptor.TABLE_OR_PAGE) !== 0;
      if (level < 3 && isTable) this.#below(frame, index, hi, lo, level, start);
      else if (level === 3 ? isTable : level >= this.#region.firstBlockLevel) {
        this.#visit(level, start, step, hi, lo, runs.holds(index, hi));
      }
    }
  }

  #below(frame: number, index: number, hi: number, lo: number, level: number, page: number): void {
    const region = this.#region;
    const entryAddress = BigInt(frame) * BigInt(PIECE_BYTES) + BigInt(index * ENTRY_BYTES);
    const source = { namedBy: `the level ${level} descriptor`, level, entryAddress };
    const address = frameOf(region, hi, lo) * PIECE_BYTES;
    this.#table(address, 2 ** (region.granule - 3), level + 1, page, source);
  }

  #visit(level: number, page: number, pages: number, hi: number, lo: number, contiguous: boolean): void {
    const leaf = this.#leaf;
    const frame = frameOf(this.#region, hi, lo);
    leaf.page = page;
    leaf.frame = frame - (frame % pages);
    leaf.pages = pages;
    leaf.level = level;
    leaf.entryHi = hi;
    leaf.entryLo = lo;
    leaf.contiguous = contiguous;
    this.#visitor.leaf(leaf);
  }
}

interface TableSource {
  readonly namedBy: string;
  readonly level: number;
  readonly entryAddress: bigint | null;
}

/**
 * Which entries of one piece of a table belong to a contiguous run that holds: every entry of the aligned run is valid,
 * has the bit, and says the same but for its address, which goes on, its Access flag and dirty state, which hardware may
 * have changed in some of them, and bits that hardware ignores. Any other run is misprogrammed, and each of its entries is
 * taken for itself.
 * @see Arm ARM (DDI 0487), "The Contiguous bit", "Misprogramming the Contiguous bit"
 */
class ContiguousRuns {
  readonly #region: Arm64Region;
  readonly #words: Int32Array;
  readonly #first: number;
  readonly #end: number;
  readonly #shift: number;
  readonly #pages: number;
  #run = -1;
  #holds = false;

  constructor(region: Arm64Region, words: Int32Array, first: number, count: number, level: number) {
    this.#region = region;
    this.#words = words;
    this.#first = first;
    this.#end = first + count;
    this.#shift = contiguousShift(region.granule, level);
    this.#pages = pagesOfDescriptor(region.granule, level);
  }

  holds(index: number, hi: number): boolean {
    if ((hi & Descriptor.CONTIGUOUS_HIGH) === 0 || this.#shift === 0) return false;
    const run = index >> this.#shift;
    if (run !== this.#run) {
      this.#run = run;
      this.#holds = this.#check(run << this.#shift, 1 << this.#shift);
    }
    return this.#holds;
  }

  #check(start: number, entries: number): boolean {
    if (start < this.#first || start + entries > this.#end) return false;
    const firstFrame = this.#frame(start);
    if (firstFrame % (entries * this.#pages) !== 0) return false;
    for (let index = start; index < start + entries; index++) {
      if (this.#frame(index) !== firstFrame + (index - start) * this.#pages) return false;
      if (!this.#sameAttributes(start, index)) return false;
    }
    return true;
  }

  #frame(index: number): number {
    const words = this.#words;
    const frame = frameOf(this.#region, words[index * 2 + 1] as number, words[index * 2] as number);
    // Below the size of a block there is no address, but nT for example.
    return frame - (frame % this.#pages);
  }

  #sameAttributes(one: number, other: number): boolean {
    const words = this.#words;
    const { addressHigh, indirect, ignoredHigh } = this.#region;
    const tracked = indirect || ((words[one * 2 + 1] as number) & Descriptor.DBM_HIGH) !== 0;
    const low = 0xfff & ~Descriptor.AF & ~(tracked ? Descriptor.READ_ONLY : 0);
    return (
      (((words[one * 2] as number) ^ (words[other * 2] as number)) & low) === 0 &&
      (((words[one * 2 + 1] as number) ^ (words[other * 2 + 1] as number)) & ~(addressHigh | ignoredHigh)) ===
        0
    );
  }
}

/** Visits every valid page and block of one half of the address space. */
export function visitLeaves(reader: TableReader, region: Arm64Region, visitor: LeafVisitor<Arm64Leaf>): void {
  new LeafWalk(reader, visitor, region).walk();
}
