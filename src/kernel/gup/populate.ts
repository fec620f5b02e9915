/**
 * Faulting in a range without taking pages: MAP_POPULATE, MAP_LOCKED, mlock, mprotect of a locked mapping, and
 * MADV_POPULATE_*.
 * @see Linux mm/gup.c, `populate_vma_page_range`, `__mm_populate` and `faultin_page_range`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT } from '../errno.ts';
import { mmapAssertLocked, mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { PopulateOperations } from '../mm/populate.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_ACCESS_FLAGS, VM_IO, VM_LOCKONFAULT, VM_PFNMAP, VM_SHARED, VM_WRITE } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_FORCE,
  FOLL_GET,
  FOLL_HWPOISON,
  FOLL_MADV_POPULATE,
  FOLL_TOUCH,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
  type MmapLocked,
} from './foll-flags.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';
import { getUserPagesLoop } from './get-user-pages-loop.ts';

/** To be put into `Kernel.populate`. */
export const gupPopulate: PopulateOperations = {
  *mmPopulate(current: TaskStruct, start: number, pages: number): Task<void> {
    yield* mmPopulateRange(current, start, start + pages, true);
  },
  populateVmaPageRange: (current, vma, start, end) => populateVmaPageRange(current, vma, start, end, null),
  mmPopulateRange: (current, start, end) => mmPopulateRange(current, start, end, false),
  faultinPageRange(current, mm, start, end, write, locked) {
    const flags =
      FOLL_TOUCH | FOLL_HWPOISON | FOLL_UNLOCKABLE | FOLL_MADV_POPULATE | (write ? FOLL_WRITE : 0);
    return getUserPagesLocked(current, mm, start, end - start, null, locked, flags);
  },
  getUserPage,
};

function* getUserPage(current: TaskStruct, page: number): Task<number> {
  const { mm } = current;
  if (mm === null) return -EFAULT;
  const frames: number[] = [];
  const flags = FOLL_TOUCH | FOLL_GET | FOLL_UNLOCKABLE;
  const got = yield* getUserPagesLocked(current, mm, page, 1, frames, { held: false }, flags);
  return got === 1 ? (frames[0] as number) : got;
}

/**
 * Faults in pages [start, end) of one VMA. Pages done, or -errno; with `locked` the lock may be dropped.
 */
function* populateVmaPageRange(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  locked: MmapLocked | null,
): Task<number> {
  const { mm } = vma;
  mmapAssertLocked(current, mm);
  // `__mm_populate` leaves these out before it gets here, mlock's fixup never has them.
  if ((vma.flags & (VM_IO | VM_PFNMAP)) !== 0) return end - start;
  // Locked on fault: nothing is brought in ahead of that.
  if ((vma.flags & VM_LOCKONFAULT) !== 0) return end - start;
  if ((vma.flags & VM_ACCESS_FLAGS) === 0) return -EFAULT;
  // A private writable mapping gets its copies now. A shared one would only become dirty for nothing.
  const write = (vma.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE;
  const gupFlags = FOLL_TOUCH | (write ? FOLL_WRITE : FOLL_FORCE) | (locked === null ? 0 : FOLL_UNLOCKABLE);
  return yield* getUserPagesLoop(current, mm, start, end - start, gupFlags, null, 0, locked);
}

/**
 * Faults in all that is mapped in pages [start, end) of the caller's mm, taking mmap_lock as often as it is dropped.
 * 0 or -errno.
 * @param ignoreErrors go on behind a range that failed: mmap does not fail for it
 */
function* mmPopulateRange(
  current: TaskStruct,
  start: number,
  end: number,
  ignoreErrors: boolean,
): Task<number> {
  const { mm } = current;
  if (mm === null) return -EFAULT;
  const locked: MmapLocked = { held: false };
  let error = 0;
  let page = start;
  while (page < end && error === 0) {
    if (!locked.held) {
      yield* mmapReadLock(current, mm);
      locked.held = true;
    }
    const vma = mm.vmas.findIntersection(page, end);
    if (vma === null) break;
    if (page < vma.start) page = vma.start;
    const stop = Math.min(end, vma.end);
    const done = yield* populateVmaPageRange(current, vma, page, stop, locked);
    if (done < 0 && !ignoreErrors) error = done;
    page = done < 0 ? stop : page + done;
  }
  if (locked.held) yield* mmapReadUnlock(current, mm);
  return error;
}
