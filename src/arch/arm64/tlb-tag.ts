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
  /** The granule: `GRANULE_4K` … Entries made with another granule are never found. */
  GRANULE_SHIFT: 29,
  GRANULE_MASK: 3 << 29,
} as const;

/** The granule field of tags and of cached translations: 0 4 KiB, 1 16 KiB, 2 64 KiB. */
export const granuleCode = (granuleShift: number): number =>
  granuleShift === 16 ? 2 : (granuleShift - 12) >> 1;
/** log2 of the bytes of a granule, from its field. */
export const granuleShiftOf = (code: number): number => (code === 2 ? 16 : 12 + 2 * code);
