/**
 * A translation as a TLB entry holds it, in two int32: what a walk produces and what a hit is decided on.
 * Low word: output address 31:12, `Right` bits 9:0 of permissions.ts. High word: output address 51:32 in bits 19:0, then the
 * fields below. Nothing of it is looked up again in memory: what the descriptor said when it was cached is what counts.
 */
import { granuleShiftOf } from './tlb-tag.ts';

export const Cached = {
  ADDRESS_LOW: ~0xfff,
  ADDRESS_HIGH: 0xfffff,
  /** AttrIndx: which field of MAIR_EL1, bits 22:20. */
  ATTRIBUTE_SHIFT: 20,
  ATTRIBUTE_MASK: 7 << 20,
  /** Shareability as in descriptors: 0 non-shareable, 2 outer, 3 inner; bits 24:23. */
  SHAREABILITY_SHIFT: 23,
  SHAREABILITY_MASK: 3 << 23,
  /** How many levels above the last one the leaf is: 0 a page, 1 to 3 blocks; bits 26:25. */
  SIZE_SHIFT: 25,
  SIZE_MASK: 3 << 25,
  /** 0 4 KiB, 1 16 KiB, 2 64 KiB; bits 28:27. */
  GRANULE_SHIFT: 27,
  GRANULE_MASK: 3 << 27,
  /** The leaf had nG = 0: the translation is used with every ASID. */
  GLOBAL: 1 << 29,
  /** The memory type is a Device type. */
  DEVICE: 1 << 30,
  /** The memory type is Tagged Normal memory: bit 31, so that `dataHi < 0` asks for it. */
  TAGGED: 1 << 31,
} as const;

/** Levels above the last: 0 a page, 1 a level 2 block … */
export const cachedSize = (dataHi: number): number => (dataHi & Cached.SIZE_MASK) >> Cached.SIZE_SHIFT;

/** The granule field, see `Cached.GRANULE_SHIFT`. */
const cachedGranule = (dataHi: number): number => (dataHi & Cached.GRANULE_MASK) >> Cached.GRANULE_SHIFT;

/** log2 of the bytes that one leaf maps, with this granule and so many levels above the last. */
export const leafShift = (granuleShift: number, size: number): number =>
  granuleShift + size * (granuleShift - 3);

/** log2 of the bytes of the page or block. */
export const cachedPageShift = (dataHi: number): number =>
  leafShift(granuleShiftOf(cachedGranule(dataHi)), cachedSize(dataHi));

/** AttrIndx of the leaf. */
export const cachedAttributeIndex = (dataHi: number): number =>
  (dataHi & Cached.ATTRIBUTE_MASK) >> Cached.ATTRIBUTE_SHIFT;

/** Shareability, as a descriptor's SH. */
export const cachedShareability = (dataHi: number): number =>
  (dataHi & Cached.SHAREABILITY_MASK) >> Cached.SHAREABILITY_SHIFT;
