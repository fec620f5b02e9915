/**
 * The retry protocol around the slow loop: when the mmap lock is taken, dropped and taken again.
 * The loop of pins that last (`gup-longterm-locked.ts`) stands around this one.
 * @see Linux mm/gup.c, `__get_user_pages_locked`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EFAULT, EINTR } from '../errno.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { MMF_HAS_PINNED, type MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmapLocked, PageArray } from './foll-flags.ts';
import {
  FOLL_INTERRUPTIBLE,
  FOLL_NOWAIT,
  FOLL_PIN,
  FOLL_TRIED,
  FOLL_UNLOCKABLE,
  FOLL_VMA_LOCKED,
} from './foll-flags.ts';
import { assertGupLocked, getUserPagesLoop } from './get-user-pages-loop.ts';

/** Where a run of GUP stands between two drops of the lock. */
interface Progress {
  /** Pages handed over so far. */
  done: number;
  /** The lock was taken here, so it must be released here. */
  mustUnlock: boolean;
  /** What ended the run, when `done` is 0. */
  error: number;
}

/**
 * Pages got (short after an error), or -errno when none was. 0 only for 0 pages or with FOLL_NOWAIT.
 * @param locked null: the lock is held and stays held. `held` false on entry: it is taken here. With FOLL_UNLOCKABLE it
 *   may be dropped: then `held` is false on return
 * @param startVma the VMA of the first page, if the caller has looked it up. With FOLL_VMA_LOCKED its own lock is held instead of
 *   mmap_lock, it holds all pages, and it is what `locked` is about; what a fault that let it go has left goes on under mmap_lock
 */
export function* getUserPagesLocked(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  pages: PageArray | null,
  locked: MmapLocked | null,
  gupFlags: number,
  startVma: VmArea | null = null,
): Task<number> {
  if (count === 0) return 0;
  const progress: Progress = { done: 0, mustUnlock: false, error: 0 };
  if (locked !== null && !locked.held) {
    if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EAGAIN;
    progress.mustUnlock = true;
    locked.held = true;
  } else assertGupLocked(current, mm, startVma);
  // fork looks at this before it shares a page that may be pinned; it is never cleared.
  if ((gupFlags & FOLL_PIN) !== 0) mm.flagBits |= MMF_HAS_PINNED;

  if (locked === null || (gupFlags & FOLL_UNLOCKABLE) === 0) {
    progress.done = yield* getUserPagesLoop(
      current,
      mm,
      startPage,
      count,
      gupFlags,
      pages,
      0,
      locked,
      startVma,
    );
  } else yield* getWithRetries(current, mm, startPage, count, pages, locked, gupFlags, progress, startVma);

  if (progress.mustUnlock && locked?.held) {
    yield* mmapReadUnlock(current, mm);
    locked.held = false;
  }
  return outcome(current, progress, gupFlags);
}

function outcome(current: TaskStruct, { done, error }: Progress, gupFlags: number): number {
  if (done !== 0) return done;
  if (error !== 0) return error;
  if ((gupFlags & FOLL_NOWAIT) !== 0) return 0;
  // No page and no error would make callers try again for ever.
  current.kernel.warnings.once(current, '__get_user_pages_locked', 'no page, and no reason why');
  return -EFAULT;
}

/** Bulk calls; after each that dropped the lock, single pages with FOLL_TRIED until one goes through. */
function* getWithRetries(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  pages: PageArray | null,
  locked: MmapLocked,
  firstFlags: number,
  progress: Progress,
  startVma: VmArea | null,
): Task<void> {
  let vma = startVma;
  let gupFlags = firstFlags;
  for (;;) {
    const { done } = progress;
    const result = yield* getUserPagesLoop(
      current,
      mm,
      startPage + done,
      count - done,
      gupFlags,
      pages,
      done,
      locked,
      vma,
    );
    // Once the lock was dropped it is mmap_lock that is taken, and the VMA may be gone.
    vma = null;
    gupFlags &= ~FOLL_VMA_LOCKED;
    if (result > 0) progress.done += result;
    else if (locked.held) progress.error = result;
    if (locked.held || progress.done === count) break;
    // Without pages there is no slot to fill, but the page that made us drop the lock still has to be touched.
    progress.mustUnlock = true;
    if (!(yield* getOneAfterDrop(current, mm, startPage, pages, locked, gupFlags, progress))) break;
    if (progress.done === count) break;
  }
}

/** One page, again and again until the lock survives it. False: stop, `progress` says why. */
function* getOneAfterDrop(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  pages: PageArray | null,
  locked: MmapLocked,
  gupFlags: number,
  progress: Progress,
): Task<boolean> {
  for (;;) {
    if (isSignalled(current, gupFlags)) {
      progress.error = -EINTR;
      return false;
    }
    const killed = yield* mmapReadLockKillable(current, mm);
    if (killed !== 0) {
      progress.error = killed;
      return false;
    }
    locked.held = true;
    const { done } = progress;
    const result = yield* getUserPagesLoop(
      current,
      mm,
      startPage + done,
      1,
      gupFlags | FOLL_TRIED,
      pages,
      done,
      locked,
    );
    if (!locked.held) continue;
    if (result !== 1) {
      progress.error = result;
      return false;
    }
    progress.done += 1;
    return true;
  }
}

/** @see Linux mm/gup.c, `gup_signal_pending` */
function isSignalled(current: TaskStruct, gupFlags: number): boolean {
  if (current.fatalSignalPending()) return true;
  return (gupFlags & FOLL_INTERRUPTIBLE) !== 0 && current.signalPending();
}
