/**
 * The entries of GUP for another address space, mmap lock held.
 * @see Linux mm/gup.c, `get_user_pages_remote` and `pin_user_pages_remote`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN, FOLL_REMOTE, FOLL_TOUCH, type MmapLocked, type PageArray } from './foll-flags.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';
import { gupLongtermLocked } from './gup-longterm-locked.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';

/**
 * References to `count` pages of `mm`. Returns how many, or -errno.
 * @param pages null to fault the pages in only
 * @param locked null: the lock is not dropped, so a fault that would have to wait fails instead
 */
export function* getUserPagesRemote(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
  locked: MmapLocked | null,
): Task<number> {
  const flags = validGupFlags(current, pages, locked, gupFlags, FOLL_TOUCH | FOLL_REMOTE);
  if (flags === INVALID_GUP_ARGS) return -EINVAL;
  return yield* getUserPagesLocked(current, mm, startPage, count, pages, locked, flags);
}

/** Pins instead of references. Bad arguments give 0, not an error. */
export function* pinUserPagesRemote(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
  locked: MmapLocked | null,
): Task<number> {
  const flags = validGupFlags(current, pages, locked, gupFlags, FOLL_PIN | FOLL_TOUCH | FOLL_REMOTE);
  if (flags === INVALID_GUP_ARGS) return 0;
  return yield* gupLongtermLocked(current, mm, startPage, count, pages, locked, flags);
}
