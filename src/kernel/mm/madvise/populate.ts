/**
 * MADV_POPULATE_READ and MADV_POPULATE_WRITE: faults the range in as accesses of the program would, and says when one
 * of them would fail. What lies before that stays populated.
 * @see Linux mm/madvise.c, `madvise_populate`
 */
import type { Task } from '../../../base/task.ts';
import { EFAULT, EHWPOISON, EINTR, EINVAL, ENOMEM } from '../../errno.ts';
import { mmapReadLock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { populateOperations } from '../populate.ts';
import { MADV_POPULATE_WRITE } from './advice.ts';
import type { MadviseState } from './madvise-state.ts';

/** What a caller is told; anything else is "no memory". */
const TOLD: ReadonlySet<number> = new Set([-EINTR, -EINVAL, -EHWPOISON, -EFAULT]);

/**
 * 0, -EINTR (killed), -EINVAL (the mapping does not allow the access), -EHWPOISON, -EFAULT (SIGBUS or SIGSEGV),
 * -ENOMEM (a hole, or no memory). mmap_lock is held for reading on return as before, but may have been dropped.
 */
export function* madvisePopulate(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm, start, end, advice } = state;
  const { faultinPageRange } = populateOperations(mm.kernel);
  const locked = { held: true };
  for (let page = start; page < end; ) {
    const done = yield* faultinPageRange(current, mm, page, end, advice === MADV_POPULATE_WRITE, locked);
    if (!locked.held) {
      yield* mmapReadLock(current, mm);
      locked.held = true;
    }
    if (done < 0) return TOLD.has(done) ? done : -ENOMEM;
    page += done;
  }
  return 0;
}
