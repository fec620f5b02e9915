/**
 * Counting, and charging to the CPU, what a remote access looks up: VMAs in their tree, pages in page tables. Neither is a point
 * where it is made under a lock: nobody can change what is looked at. A walk whose reads are points is only counted.
 */
import type { TaskStruct } from '../task-struct.ts';

/** One look-up in the tree of VMAs. */
export function countVmaLookup({ kernel, processor }: TaskStruct): void {
  kernel.remoteCounters.vmaLookups++;
  if (processor !== null) processor.time += kernel.lookUpCycles.vma;
}

/** One walk of page tables, down to an entry. */
export function countWalk({ kernel, processor }: TaskStruct): void {
  kernel.remoteCounters.walks++;
  if (processor !== null) processor.time += kernel.lookUpCycles.walk;
}
