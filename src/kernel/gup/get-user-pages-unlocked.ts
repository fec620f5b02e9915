/**
 * The entries of GUP for the caller's own address space that take mmap_lock for reading and let it go themselves, as often
 * as faults need it. Not held on entry, nor on return.
 * @see Linux mm/gup.c, `get_user_pages_unlocked` and `pin_user_pages_unlocked`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN, FOLL_TOUCH, FOLL_UNLOCKABLE, type PageArray } from './foll-flags.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';
import { gupLongtermLocked } from './gup-longterm-locked.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';

/**
 * References to `count` pages from `startPage`. Returns how many, or -errno: -EINVAL for bad arguments, -EAGAIN when the
 * caller was killed while it waited for the lock.
 * @param pages null to fault the pages in only
 */
export function* getUserPagesUnlocked(
  current: TaskStruct,
  startPage: number,
  count: number,
  pages: PageArray | null,
  gupFlags: number,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_TOUCH | FOLL_UNLOCKABLE);
  if (flags === INVALID_GUP_ARGS || current.mm === null) return -EINVAL;
  return yield* getUserPagesLocked(current, current.mm, startPage, count, pages, { held: false }, flags);
}

/** Pins instead of references; bad arguments give 0. */
export function* pinUserPagesUnlocked(
  current: TaskStruct,
  startPage: number,
  count: number,
  pages: PageArray | null,
  gupFlags: number,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_PIN | FOLL_TOUCH | FOLL_UNLOCKABLE);
  if (flags === INVALID_GUP_ARGS || current.mm === null) return 0;
  return yield* gupLongtermLocked(current, current.mm, startPage, count, pages, { held: false }, flags);
}
