/**
 * Pins that last (FOLL_LONGTERM) must not sit in memory that has to stay movable. All pages are pinned; if some may not
 * stay where they are, everything is unpinned, those are moved, and it begins anew.
 * @see Linux mm/gup.c, `__gup_longterm_locked`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN } from '../errno.ts';
import { memallocPinRestore, memallocPinSave } from '../mm/memalloc-pin.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { checkAndMigrateMovablePages } from './check-and-migrate.ts';
import { FOLL_LONGTERM, type MmapLocked, type PageArray } from './foll-flags.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';

/**
 * As `getUserPagesLocked`. With FOLL_LONGTERM, pages that come in meanwhile are allocated where they may stay, and it fails
 * with -ENOMEM, nothing pinned, when a page cannot be moved.
 */
export function gupLongtermLocked(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  pages: PageArray | null,
  locked: MmapLocked | null,
  gupFlags: number,
): Task<number> {
  if ((gupFlags & FOLL_LONGTERM) === 0 || pages === null) {
    return getUserPagesLocked(current, mm, startPage, count, pages, locked, gupFlags);
  }
  return pinForLong(current, mm, startPage, count, pages, locked, gupFlags);
}

function* pinForLong(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  pages: PageArray,
  locked: MmapLocked | null,
  gupFlags: number,
): Task<number> {
  const saved = memallocPinSave(current);
  let pinned: number;
  let error: number;
  do {
    pinned = yield* getUserPagesLocked(current, mm, startPage, count, pages, locked, gupFlags);
    error = pinned <= 0 ? 0 : yield* checkAndMigrateMovablePages(current, pages, pinned);
  } while (error === -EAGAIN);
  memallocPinRestore(current, saved);
  return error === 0 ? pinned : error;
}
