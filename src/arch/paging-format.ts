/**
 * A page-table format as generic kernel code sees it: levels, and entries told apart by Linux's questions. Bit
 * positions stay on the far side of this seam.
 *
 * An entry is two int32 halves. What it says is a frame number and one int32 of `EntryFlag` bits, which also carries
 * two small fields: the protection key and the memory type. What is not here: contiguous-pte blocks are one flag only,
 * the blocks themselves are kept together by the caller.
 */
import type { Halves } from '../base/u64.ts';

/**
 * What an entry says. `Present` is Linux's `pte_present`: the entry holds a page, though with `Protnone` the hardware
 * does not see it. `Swap` is any entry that is neither none nor present (swap, migration, marker, hwpoison …).
 */
export const EntryFlag = {
  Present: 1 << 0,
  Read: 1 << 1,
  Write: 1 << 2,
  User: 1 << 3,
  Exec: 1 << 4,
  Young: 1 << 5,
  Dirty: 1 << 6,
  Special: 1 << 7,
  Protnone: 1 << 8,
  SoftDirty: 1 << 9,
  UffdWp: 1 << 10,
  Global: 1 << 11,
  /** A leaf above the last level. */
  Huge: 1 << 12,
  Swap: 1 << 13,
  Cont: 1 << 14,
  /** On a swap entry: the page is exclusive to this mm (`pte_swp_exclusive`). */
  SwapExclusive: 1 << 15,
  /** A shadow-stack page (x86) or guarded control stack page (arm64). */
  ShadowStack: 1 << 16,
  /** arm64: execution by the kernel. x86 has no such bit of its own. */
  PrivilegedExec: 1 << 17,
  /** arm64: instruction fetch only to BTI landing pads. */
  Guarded: 1 << 18,
  /**
   * A huge leaf that the hardware does not see while it is split (`pmd_mkinvalid`): present to the kernel, with all it
   * said before. Set by `change` only.
   */
  Invalid: 1 << 19,
} as const;

/** The protection key of a leaf: bits 23:20 of the flags. */
export const ENTRY_KEY_SHIFT = 20;
export const ENTRY_KEY_MASK = 0xf << ENTRY_KEY_SHIFT;
/** The memory type of a leaf as an index of the format (x86: PAT index, arm64: MAIR index): bits 26:24. */
export const ENTRY_MEMORY_TYPE_SHIFT = 24;

type LevelName = 'pgd' | 'p4d' | 'pud' | 'pmd' | 'pte';

export interface Level {
  readonly name: LevelName;
  /** Bits of the byte address below this level's index: 12 for a pte of 4 KiB pages. */
  readonly shift: number;
  /** Bits of the index: a table has 2^indexBits entries. */
  readonly indexBits: number;
  /** May an entry of this level map memory? */
  readonly leafAllowed: boolean;
}

/**
 * Laws, checked by `test/laws/paging.ts` on every format: unpacking what was packed gives it back; none, table, present
 * leaf and swap entry exclude each other; an entry that the hardware must not see is not present to it.
 */
export interface PagingFormat {
  readonly name: string;
  /** Bytes of a page as a shift; page and frame numbers count these. */
  readonly pageShift: number;
  /** From the root (0) to the last level, which is always 'pte'. A level that is folded away is not listed. */
  readonly levels: readonly Level[];
  /** Frame numbers must be below this; it is a power of two. */
  readonly frameLimit: number;
  /** Highest swap type + 1 and highest swap offset + 1 that fit. */
  readonly swapTypeLimit: number;
  readonly swapOffsetLimit: number;

  /** Linux's `pte_none`: nothing here. Ignores bits that hardware errata may set (x86: none are modelled). */
  isNone(hi: number, lo: number): boolean;
  /** Does the entry point to a table of the next level? Always false on the last level. */
  isTable(hi: number, lo: number, level: number): boolean;
  /** `EntryFlag` bits of a leaf, a swap entry (flag `Swap`), or 0 for none. Of a table entry: only `Present`. */
  flagsOf(hi: number, lo: number, level: number): number;
  /** Frame number of a present leaf (the first of a huge one) or of a table. */
  frameOf(hi: number, lo: number, level: number): number;
  /** The entry of a present leaf. Flags that the format has no bit for are dropped (x86: Read). */
  pack(frame: number, flags: number, level: number, out: Halves): void;
  /** The entry that points to a table of user or kernel memory. */
  packTable(frame: number, level: number, out: Halves): void;
  /** A swap-type entry: `type` and `offset` are the kernel's; flags may be UffdWp, SoftDirty, SwapExclusive. */
  packSwap(type: number, offset: number, flags: number, out: Halves): void;
  swapTypeOf(hi: number, lo: number): number;
  swapOffsetOf(hi: number, lo: number): number;
  /**
   * The same frame with flags changed. Memory type and key stay unless they are in `clear`. As far as the format has
   * bits for software use, those that no flag stands for stay as they are.
   */
  change(hi: number, lo: number, level: number, set: number, clear: number, out: Halves): void;
  /** Must the TLB be flushed when a live leaf changes from one entry to the other? Setting Young or Dirty never needs it. */
  needsFlush(oldHi: number, oldLo: number, newHi: number, newLo: number, level: number): boolean;
}

/** A table of what each of the numbers below `length` stands for. `Int32Array.from` takes several times as long. */
export function tableOf(length: number, at: (index: number) => number): Int32Array {
  const table = new Int32Array(length);
  for (let index = 0; index < length; index++) table[index] = at(index);
  return table;
}

/** Powers of two as doubles: `**` with a variable exponent costs ten times as much as a load. */
const POWERS_OF_TWO = Float64Array.from({ length: 53 }, (_, exponent) => 2 ** exponent);

/**
 * The index of `page` (a page number) in a table of `level`. `&` is right here although a page number may need more than
 * 32 bits: it takes the low 32 bits of the quotient, rounded down, and an index is in them.
 */
export function tableIndex(format: PagingFormat, page: number, level: number): number {
  const { shift, indexBits } = format.levels[level] as Level;
  return (page / (POWERS_OF_TWO[shift - format.pageShift] as number)) & ((1 << indexBits) - 1);
}

/** Pages that one entry of `level` spans. */
export function pagesPerEntry(format: PagingFormat, level: number): number {
  return 2 ** ((format.levels[level] as Level).shift - format.pageShift);
}
