/**
 * What a mapping of shared memory has in swap, which its page tables do not tell: where a pte is none, the object is
 * asked.
 * @see Linux fs/proc/task_mmu.c, `smap_gather_stats`, `smaps_pte_hole`; mm/shmem.c, `shmem_partial_swap_usage`
 */
import type { VmArea } from './vma.ts';
import { VM_SHARED, VM_WRITE } from './vma-flags.ts';

/**
 * Pages of the object in swap that [start, end) of the VMA covers. Of a writable private mapping those do not count that
 * it has copies or markers of.
 * @param occupied pages of the range whose pte is not none
 */
export function shmemSwapUsage(
  vma: VmArea,
  start: number,
  end: number,
  occupied: ReadonlySet<number>,
): number {
  const mapping = vma.file?.mapping;
  if (mapping === undefined || mapping.swappedCount === 0) return 0;
  const swapped = mapping.swappedIndexes(vma.indexOf(start), vma.indexOf(end));
  if ((vma.flags & VM_SHARED) !== 0 || (vma.flags & VM_WRITE) === 0) return swapped.length;
  return swapped.filter((index) => !occupied.has(index - vma.pgoff + vma.start)).length;
}
