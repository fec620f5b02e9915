/**
 * Every page that an x86-64 page table maps, in ascending order of virtual address, with its permissions combined over
 * the levels. It reads tables, it translates nothing: no access, no TLB, no accessed flags. That it says the same as
 * the walker is a law of the tests. Pages number 4 KiB throughout.
 * Entries with a reserved bit set are visited too and marked: an access through them faults.
 * @see Intel SDM vol. 3A, "Linear-Address Translation with 4-Level Paging and 5-Level Paging"
 */
import { Entry, levelShift, mapsPage } from '../../arch/x86_64/entries.ts';
import { patIndex } from '../../arch/x86_64/memory-type.ts';
import { EFER } from '../../arch/x86_64/registers.ts';
import type { LeafVisitor, TableReader } from './leaves.ts';

/** Combined over the levels. */
export const Combined = {
  /** R/W = 1 in every entry. */
  Writable: 1,
  /** U/S = 1 in every entry. */
  User: 2,
  /** XD = 1 in some entry. */
  NoExecute: 4,
  /** A reserved bit is 1 in some entry: every access faults. */
  Reserved: 8,
} as const;

const ENTRIES = 512;
const TOP = Combined.Writable | Combined.User;
/** Bits of the upper half of an entry that hold the protection key. */
const KEY_SHIFT = 27;
const KEY_MASK = 0xf;
const PAT_4K = Entry.PS;
const PAT_LARGE = 1 << 12;
const PWT = 1 << 3;
const PCD = 1 << 4;

/** The names of entries by the level they are read at. */
const ENTRY_NAMES = ['', 'PTE', 'PDE', 'PDPTE', 'PML4E', 'PML5E'] as const;

/** One page; the visitor's argument is one object used again and again. */
export interface X86Leaf {
  /** Virtual page number: bits 63:12 of the canonical address, unsigned. */
  page: number;
  /** 4 KiB frame number of the page's first byte. */
  frame: number;
  /** 1, 512 or 262,144. */
  pages: number;
  /** 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB. */
  level: number;
  /** The last entry as it stands in memory. */
  entryHi: number;
  entryLo: number;
  /** `Combined` bits. */
  combined: number;
}

export interface TableRules {
  readonly efer: bigint;
  readonly maxPhysAddr: number;
}

/** 4 KiB pages in a page of this level: 1, 512, 262,144. */
export const pagesOfLevel = (level: number): number => 2 ** (levelShift(level) - 12);

/** What the leaf says apart from permissions. */
export const leafKey = (leaf: Readonly<X86Leaf>): number => (leaf.entryHi >>> KEY_SHIFT) & KEY_MASK;
export const leafPatIndex = ({ level, entryLo }: Readonly<X86Leaf>): number =>
  patIndex(
    (entryLo & (level === 1 ? PAT_4K : PAT_LARGE)) !== 0,
    (entryLo & PCD) !== 0,
    (entryLo & PWT) !== 0,
  );

/** The frame number of the table that an entry names. */
const tableFrame = (entryHi: number, entryLo: number): number =>
  (entryHi & Entry.ADDRESS_HIGH) * 2 ** 20 + (entryLo >>> 12);

class LeafWalk {
  readonly #reader: TableReader;
  readonly #visitor: LeafVisitor<X86Leaf>;
  readonly #levels: number;
  readonly #reservedHigh: number;
  readonly #leaf: X86Leaf = { page: 0, frame: 0, pages: 1, level: 1, entryHi: 0, entryLo: 0, combined: 0 };

  constructor(reader: TableReader, visitor: LeafVisitor<X86Leaf>, levels: number, rules: TableRules) {
    this.#reader = reader;
    this.#visitor = visitor;
    this.#levels = levels;
    const addressBits = 2 ** (rules.maxPhysAddr - 32) - 1;
    const executeDisable = EFER.has(rules.efer, 'NXE') ? 0 : Entry.XD_HIGH;
    this.#reservedHigh = (Entry.ADDRESS_HIGH & ~addressBits) | executeDisable;
  }

  walk(rootFrame: number): void {
    const table = this.#reader.table(rootFrame);
    const level = this.#levels;
    const pages = pagesOfLevel(level + 1);
    if (table !== undefined) this.#table(table, rootFrame, level, 0, TOP);
    else {
      const missing = {
        page: 0,
        pages,
        frame: rootFrame,
        namedBy: 'CR3',
        level: level + 1,
        entryAddress: null,
      };
      this.#visitor.missing(missing);
    }
  }

  #table(table: Int32Array, frame: number, level: number, page: number, above: number): void {
    const step = pagesOfLevel(level);
    for (let index = 0; index < ENTRIES; index++) {
      const entryLo = table[index * 2] as number;
      if ((entryLo & Entry.P) === 0) continue;
      const entryHi = table[index * 2 + 1] as number;
      const combined = this.#combine(above, level, entryHi, entryLo);
      const start = page + index * step;
      if (mapsPage(level, entryLo)) this.#visit(level, this.#canonical(start), entryHi, entryLo, combined);
      else this.#below(frame, index, level, start, tableFrame(entryHi, entryLo), combined);
    }
  }

  #below(table: number, index: number, level: number, page: number, frame: number, combined: number): void {
    const next = this.#reader.table(frame);
    if (next !== undefined) {
      this.#table(next, frame, level - 1, page, combined);
      return;
    }
    const entryAddress = BigInt(table) * 4096n + BigInt(index * 8);
    this.#visitor.missing({
      page: this.#canonical(page),
      pages: pagesOfLevel(level),
      frame,
      namedBy: `the ${ENTRY_NAMES[level]}`,
      level,
      entryAddress,
    });
  }

  #visit(level: number, page: number, entryHi: number, entryLo: number, combined: number): void {
    const leaf = this.#leaf;
    const size = pagesOfLevel(level);
    const frame = tableFrame(entryHi, entryLo);
    leaf.page = page;
    leaf.frame = frame - (frame % size);
    leaf.pages = size;
    leaf.level = level;
    leaf.entryHi = entryHi;
    leaf.entryLo = entryLo;
    leaf.combined = combined;
    this.#visitor.leaf(leaf);
  }

  #combine(above: number, level: number, entryHi: number, entryLo: number): number {
    let combined = above;
    if ((entryLo & Entry.RW) === 0) combined &= ~Combined.Writable;
    if ((entryLo & Entry.US) === 0) combined &= ~Combined.User;
    if ((entryHi & Entry.XD_HIGH) !== 0) combined |= Combined.NoExecute;
    if ((entryHi & this.#reservedHigh) !== 0 || hasReservedLow(level, entryLo)) combined |= Combined.Reserved;
    return combined;
  }

  /** Bit 47 (56) of the address fills the bits above it. */
  #canonical(page: number): number {
    const half = pagesOfLevel(this.#levels + 1) / 2;
    return page < half ? page : page + 2 ** 52 - 2 * half;
  }
}

/** PS where there is no such page, and the address bits below a large page. */
function hasReservedLow(level: number, entryLo: number): boolean {
  if (level >= 4) return (entryLo & Entry.PS) !== 0;
  if (level === 1 || (entryLo & Entry.PS) === 0) return false;
  return (entryLo & (level === 3 ? Entry.RESERVED_1G : Entry.RESERVED_2M)) !== 0;
}

/**
 * Visits every present leaf under `rootFrame`.
 * @param levels 4 or 5
 */
export function visitLeaves(
  reader: TableReader,
  rootFrame: number,
  levels: number,
  rules: TableRules,
  visitor: LeafVisitor<X86Leaf>,
): void {
  new LeafWalk(reader, visitor, levels, rules).walk(rootFrame);
}
