/**
 * The tag words of arm64 TLB entries and walk-cache entries. The first word is VA[43:12], with the bits inside the page
 * cleared; this is the second. The two address ranges differ in VA[55], of which VA[52] is a copy in every address that is
 * translated, so nine bits above VA[43] tell all addresses apart.
 */
import { TlbTag } from '../../hardware/tlb.ts';

export const Tag = {
  /** VA[52:44]: bit 8 says which range, see above. */
  PAGE_HIGH_MASK: 0x1ff,
  /** Set in addresses of the upper range (TTBR1_EL1). */
  UPPER_RANGE: 1 << 8,
  ASID_SHIFT: 9,
  /** The ASID, 16 bits; 0 in a global entry. */
  ASID_MASK: 0xffff << 9,
  GLOBAL: 1 << 25,
  VALID: TlbTag.VALID,
  /** How many levels above the last one the leaf is: 0 a page, 1 to 3 blocks. 0 in walk-cache entries. */
  SIZE_SHIFT: 27,
  SIZE_MASK: 3 << 27,
  /** The granule: 0 4 KiB, 1 16 KiB, 2 64 KiB. Entries made with another granule are never found. */
  GRANULE_SHIFT: 29,
  GRANULE_MASK: 3 << 29,
} as const;

/** The granule field of tags and of cached translations, from log2 of its bytes. */
export const granuleCode = (granuleShift: number): number => (granuleShift - 12) >> 1;
/** log2 of the bytes of a granule, from its field. */
export const granuleShiftOf = (code: number): number => 12 + 2 * code;

/** The first bit of an address that the second tag word holds. */
const SECOND_WORD_SHIFT = 44;

/** Keeps of the first tag word the bits from VA[shift] up. @param shift 12 or more */
export const firstWordMask = (shift: number): number =>
  shift >= SECOND_WORD_SHIFT ? 0 : ~((1 << (shift - 12)) - 1);

/** Keeps of the second tag word the bits from VA[shift] up, and all fields that are not of the address. */
export const secondWordMask = (shift: number): number =>
  shift <= SECOND_WORD_SHIFT ? -1 : ~((1 << (shift - SECOND_WORD_SHIFT)) - 1);

/** What chooses the set of an entry that covers 2^shift bytes: the address bits just above them. */
export const setOf = (tagLo: number, tagHi: number, shift: number): number =>
  shift >= SECOND_WORD_SHIFT
    ? (tagHi & Tag.PAGE_HIGH_MASK) >>> (shift - SECOND_WORD_SHIFT)
    : tagLo >>> (shift - 12);
