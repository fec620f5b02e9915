/**
 * Faults in memory of a tmpfs object that user space is to resolve: of pages that the object does not have (missing), or
 * that it has, in memory or in swap (minor).
 * @see Linux mm/shmem.c, `shmem_get_folio_gfp`
 */
import type { Task } from '../../../base/task.ts';
import { NO_SLOT } from '../../frame/swap-area.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_MISSING, VMH_UFFD_MINOR } from '../vma-flags.ts';
import { handleUserfault } from './handle-userfault.ts';

/** Is a fault in this VMA user space's business? @param cached the object has the page */
export function isUserfault(vma: VmArea, cached: boolean): boolean {
  return cached ? (vma.flagsHigh & VMH_UFFD_MINOR) !== 0 : (vma.flags & VM_UFFD_MISSING) !== 0;
}

/** For a fault of which `isUserfault` has just said so, in this step. */
export function shmemUserfault(fault: VmFault): Task<number> {
  const { vma, pgoff } = fault;
  const mapping = vma.file?.mapping;
  const cached =
    mapping !== undefined && (mapping.frameAt(pgoff) !== -1 || mapping.swapSlotAt(pgoff) !== NO_SLOT);
  return handleUserfault(fault, cached ? 'minor' : 'missing');
}
