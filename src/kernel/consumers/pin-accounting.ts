/**
 * How drivers count the pages that they keep, each by one of three counters: of the user, of the address space as pinned, of
 * the address space as locked. All three are held against RLIMIT_MEMLOCK, but not with each other: a page may count twice, or
 * a process may pin its limit once for each way.
 * @see Linux io_uring/rsrc.c `__io_account_mem`, drivers/infiniband/core/umem.c `ib_umem_get`, mm/util.c
 * `__account_locked_vm`
 */
import type { Task } from '../../base/task.ts';
import { ENOMEM } from '../errno.ts';
import { mmapAssertWriteLocked } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { limitPages } from '../mm/rlimit.ts';
import type { UserStruct } from '../process/user-struct.ts';
import type { TaskStruct } from '../task-struct.ts';

/** `rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT`; Infinity without a limit. */
export function memlockPages(task: TaskStruct): number {
  return limitPages(task.rlimits.memlock);
}

/** `pages` more for the user, unless that is above `limit`: 0 or -ENOMEM, nothing counted. */
export function* accountUserPages(user: UserStruct, pages: number, limit: number): Task<number> {
  if (pages === 0) return 0;
  yield user.lockedVmWrite;
  if (user.lockedVm + pages > limit) return -ENOMEM;
  user.lockedVm += pages;
  return 0;
}

export function* unaccountUserPages(user: UserStruct, pages: number): Task<void> {
  yield user.lockedVmWrite;
  user.lockedVm -= pages;
}

/** `atomic64_add_return(pages, &mm->pinned_vm)`. */
export function* addPinnedVm(mm: MmStruct, pages: number): Task<number> {
  yield mm.pinnedVmWrite;
  mm.pinnedVm += pages;
  return mm.pinnedVm;
}

export function* subPinnedVm(mm: MmStruct, pages: number): Task<void> {
  yield mm.pinnedVmWrite;
  mm.pinnedVm -= pages;
}

/**
 * `__account_locked_vm`: `pages` more (negative: less) of `mm.lockedVm`, mmap_lock held for writing. 0 or -ENOMEM, nothing
 * counted.
 * @param limit in pages; Infinity for a task with CAP_IPC_LOCK
 */
export function accountLockedVm(current: TaskStruct, mm: MmStruct, pages: number, limit: number): number {
  mmapAssertWriteLocked(current, mm);
  if (pages > 0 && mm.lockedVm + pages > limit) return -ENOMEM;
  if (-pages > mm.lockedVm) {
    current.kernel.warnings.once(current, '__account_locked_vm', 'more pages are unlocked than were locked');
  }
  mm.lockedVm += pages;
  return 0;
}
