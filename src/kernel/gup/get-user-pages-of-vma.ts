/**
 * GUP that is given the VMA instead of the address space: it is locked, by its own lock or by mmap_lock, and need not be looked
 * up again. Not in Linux: what was proposed to begin with.
 * @see David Hildenbrand and Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EINVAL } from '../errno.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_NOWAIT,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_TOUCH,
  FOLL_VMA_LOCKED,
  type MmapLocked,
  type PageArray,
} from './foll-flags.ts';
import { NOWAIT_TEXT } from './get-user-page-vma-remote.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';
import { assertGupLocked, getUserPagesLoop } from './get-user-pages-loop.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';

/** A VMA and what keeps it as it is. */
export interface LockedVma extends MmapLocked {
  readonly vma: VmArea;
  /** Its own lock is held for reading; else mmap_lock is. */
  readonly ownLock: boolean;
  /** False once a fault has let the lock go: then `vma` is not to be looked at. */
  held: boolean;
}

/** A fault under the VMA's lock can not be one that keeps the lock when it would have to wait. */
function refusesNowait(current: TaskStruct, place: string, gupFlags: number): boolean {
  if ((gupFlags & FOLL_NOWAIT) === 0) return false;
  current.kernel.warnings.once(current, place, NOWAIT_TEXT);
  return true;
}

/**
 * A reference to one page of a locked VMA: 0, or -errno. A fault may not wait for user space, as without `locked` of
 * `get_user_pages_remote`; but under the VMA's own lock some kinds cannot be handled at all. Then it is -EAGAIN, and the lock is
 * no longer held.
 */
export function* getUserPageOfVma(
  current: TaskStruct,
  locked: LockedVma,
  page: number,
  gupFlags: number,
  pages: [number],
): Task<number> {
  if (refusesNowait(current, 'get_user_page_of_vma', gupFlags)) return -EINVAL;
  const { vma, ownLock } = locked;
  const internal = FOLL_TOUCH | FOLL_REMOTE | (ownLock ? FOLL_VMA_LOCKED : 0);
  // `locked` is not Linux's, which says that a fault may drop the lock and wait.
  const flags = validGupFlags(current, pages, null, gupFlags, internal);
  if (flags === INVALID_GUP_ARGS) return -EINVAL;
  assertGupLocked(current, vma.mm, vma);
  const got = yield* getUserPagesLoop(current, vma.mm, page, 1, flags, pages, 0, locked, vma);
  if (got > 0) return 0;
  return got === 0 ? -EAGAIN : got;
}

/**
 * `pin_user_pages_remote`, or `get_user_pages_remote` without pages, for pages of one VMA whose own lock is held. A fault may let
 * it go and wait; what is left then goes on under mmap_lock. Pages done, or -errno (0 for bad arguments).
 * @param pages null to fault the pages in only
 * @param locked `held` false afterwards: neither lock is held
 */
export function* pinUserPagesOfVma(
  current: TaskStruct,
  vma: VmArea,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
  locked: MmapLocked,
): Task<number> {
  if (refusesNowait(current, 'pin_user_pages_of_vma', gupFlags)) return 0;
  const internal = FOLL_TOUCH | FOLL_REMOTE | (pages === null ? 0 : FOLL_PIN);
  const flags = validGupFlags(current, pages, locked, gupFlags, internal);
  if (flags === INVALID_GUP_ARGS) return 0;
  const { mm } = vma;
  return yield* getUserPagesLocked(
    current,
    mm,
    startPage,
    count,
    pages,
    locked,
    flags | FOLL_VMA_LOCKED,
    vma,
  );
}
