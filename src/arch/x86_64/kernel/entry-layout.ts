/**
 * Page-table entries as Linux uses them: the hardware's fields by Linux's names, and what Linux puts into the bits the
 * hardware ignores. The hardware's own view of each level is in the entry layouts beside the walker.
 * @see Linux arch/x86/include/asm/pgtable_types.h and pgtable_64.h
 */
import { addressBits, bit, bits, Layout, reservedBits } from '../../../base/layout.ts';

/** A leaf with P = 1, or a protnone leaf (P = 0, PROTNONE = 1, PFN inverted). */
export const LINUX_PTE = new Layout('x86-64 pte of Linux', {
  PRESENT: bit(0, 'present to the hardware'),
  RW: bit(1, 'writable'),
  USER: bit(2, 'user-accessible'),
  PWT: bit(3, 'write-through'),
  PCD: bit(4, 'cache disable'),
  ACCESSED: bit(5, 'accessed'),
  DIRTY: bit(6, 'dirty'),
  PSE_PAT: bit(7, 'last level: PAT index bit 2; above: leaf'),
  GLOBAL_PROTNONE: bit(8, 'global; with P = 0: PROT_NONE page'),
  SPECIAL: bit(9, 'no struct page to count: zero page, pfn mapping'),
  UFFD_WP: bit(10, 'write-protected by userfaultfd'),
  SOFT_DIRTY: bit(11, 'written since soft-dirty bits were cleared'),
  PFN: addressBits(51, 12, 'frame address; of a huge leaf, bit 12 is PAT index bit 2'),
  FREE: bits(57, 52, 'not used here'),
  SAVED_DIRTY: bit(58, 'dirty, while RW = 0: DIRTY alone would make a shadow-stack page'),
  PKEY: bits(62, 59, 'protection key'),
  NX: bit(63, 'no execute'),
});

/** An entry that is neither present nor none. */
export const LINUX_SWAP_PTE = new Layout('x86-64 swap entry of Linux', {
  PRESENT: reservedBits(0, 0, 'must be 0'),
  SWP_SOFT_DIRTY: bit(1, 'soft-dirty'),
  SWP_UFFD_WP: bit(2, 'write-protected by userfaultfd'),
  SWP_EXCLUSIVE: bit(3, 'exclusive anonymous page'),
  IGNORED: reservedBits(6, 4, 'not used (accessed and dirty may be set by an erratum)'),
  PSE: reservedBits(7, 7, 'must be 0: tells a pmd leaf'),
  PROTNONE: reservedBits(8, 8, 'must be 0: tells a PROT_NONE page'),
  OFFSET: bits(
    58,
    9,
    'swap offset, inverted, so that the physical address it would be lies where there is no memory',
  ),
  TYPE: bits(63, 59, 'swap type'),
});
