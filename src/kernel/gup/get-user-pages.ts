/**
 * The entries of GUP for the caller's own address space, mmap lock held and never dropped.
 * @see Linux mm/gup.c, `get_user_pages` and `pin_user_pages`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN, FOLL_TOUCH, type PageArray } from './foll-flags.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';
import { gupLongtermLocked } from './gup-longterm-locked.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';

/**
 * References to `count` pages from `startPage` of the caller's mm. Returns how many, or -errno; -EINVAL for bad arguments.
 * @param pages null to fault the pages in only
 */
export function* getUserPages(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_TOUCH);
  if (flags === INVALID_GUP_ARGS || current.mm === null) return -EINVAL;
  return yield* getUserPagesLocked(current, current.mm, startPage, count, pages, null, flags);
}

/** Pins instead of references; the pages are not marked accessed, and bad arguments give 0. */
export function* pinUserPages(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_PIN);
  if (flags === INVALID_GUP_ARGS || current.mm === null) return 0;
  return yield* gupLongtermLocked(current, current.mm, startPage, count, pages, null, flags);
}
