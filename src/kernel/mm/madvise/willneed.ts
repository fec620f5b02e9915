/**
 * MADV_WILLNEED: what lies in swap comes back into memory, without being mapped. Files are all in memory here: nothing
 * has to be read ahead.
 * @see Linux mm/madvise.c, `madvise_willneed`, `swapin_walk_pmd_entry`, `shmem_swapin_range`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MadviseState } from './madvise-state.ts';

/** 0, or -EBADF: anonymous memory in a kernel without swap. */
// biome-ignore lint/correctness/useYield: swap-in comes next
export function* madviseWillneed(_current: TaskStruct, _state: MadviseState): Task<number> {
  return 0;
}
