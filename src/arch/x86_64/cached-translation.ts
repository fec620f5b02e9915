/**
 * A translation as a TLB entry holds it, in two int32: what a walk produces and what a hit is decided on.
 * Low word: page address 31:12, `Right` bits 8:0. High word: page address 51:32 in bits 19:0, then the fields below.
 * Nothing of it is looked up again in memory: what the entry said when it was cached is what counts.
 */
import { Entry } from './entries.ts';

export const Cached = {
  ADDRESS_LOW: Entry.ADDRESS_LOW,
  ADDRESS_HIGH: Entry.ADDRESS_HIGH,
  /** PAT, PCD and PWT of the leaf as an index into IA32_PAT: bits 22:20. */
  MEMORY_TYPE_SHIFT: 20,
  MEMORY_TYPE_MASK: 7 << 20,
  /** Page size: 0 4 KiB, 1 2 MiB, 2 1 GiB: bits 24:23. */
  SIZE_SHIFT: 23,
  SIZE_MASK: 3 << 23,
  /** The leaf had G = 1 and CR4.PGE was 1 when it was cached. */
  GLOBAL: 1 << 25,
} as const;

/** The page-size field, from the level of the leaf: 0, 1, 2. */
export const cachedSize = (dataHi: number): number => (dataHi & Cached.SIZE_MASK) >> Cached.SIZE_SHIFT;

/** log2 of the bytes of the page: 12, 21 or 30. */
export const cachedPageShift = (dataHi: number): number => 12 + 9 * cachedSize(dataHi);

/** Index into IA32_PAT: PAT·4 + PCD·2 + PWT. @see Intel SDM vol. 3A, "Selecting a Memory Type from the PAT" */
export const cachedMemoryTypeIndex = (dataHi: number): number =>
  (dataHi & Cached.MEMORY_TYPE_MASK) >> Cached.MEMORY_TYPE_SHIFT;

/** The bits of an address inside a page of this size field; all below bit 32. */
export const offsetMask = (size: number): number => (1 << (12 + 9 * size)) - 1;
