/**
 * Which memory can be registered, and how.
 * @see Linux mm/userfaultfd.c and include/linux/userfaultfd_k.h, `vma_can_userfault`
 */
import { hstateOfVma, isHugetlbVma } from '../hugetlb/hugetlb-vma.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_WP, VMH_DROPPABLE } from '../vma-flags.ts';

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
  const hugetlb = isHugetlbVma(vma);
  const shmem = vma.file?.mapping.shmem === true;
  // Minor faults are about pages that the file has.
  if (modes.flagsHigh !== 0 && !hugetlb && !shmem) return false;
  return vma.anonymous || hugetlb || shmem;
}

/** Is `page` inside a huge page of this VMA? */
export function misalignedHugetlb(vma: VmArea, page: number): boolean {
  return isHugetlbVma(vma) && page % hstateOfVma(vma).pages !== 0;
}
