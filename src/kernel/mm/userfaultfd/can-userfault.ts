/**
 * Which memory can be registered, and how.
 * @see Linux mm/userfaultfd.c and include/linux/userfaultfd_k.h, `vma_can_userfault`
 */
import type { VmArea } from '../vma.ts';
import { VM_HUGETLB, VM_UFFD_WP, VMH_DROPPABLE } from '../vma-flags.ts';

/** Pages of a 2 MiB unit, the smallest of hugetlbfs. */
const HUGE_PAGES = 512;

/**
 * @param wpAsync UFFD_FEATURE_WP_ASYNC: with write protection alone, any memory will do
 */
export function vmaCanUserfault(
  vma: VmArea,
  modes: { readonly flags: number; readonly flagsHigh: number },
  wpAsync: boolean,
): boolean {
  if ((vma.flagsHigh & VMH_DROPPABLE) !== 0) return false;
  if (wpAsync && modes.flags === VM_UFFD_WP && modes.flagsHigh === 0) return true;
  const hugetlb = (vma.flags & VM_HUGETLB) !== 0;
  const shmem = vma.file?.mapping.shmem === true;
  // Minor faults are about pages that the file has.
  if (modes.flagsHigh !== 0 && !hugetlb && !shmem) return false;
  return vma.anonymous || hugetlb || shmem;
}

/** Is `page` inside a huge page of this VMA? */
export function misalignedHugetlb(vma: VmArea, page: number): boolean {
  return (vma.flags & VM_HUGETLB) !== 0 && page % HUGE_PAGES !== 0;
}
