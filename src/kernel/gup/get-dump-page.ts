/**
 * One page of the caller's own memory for its core dump: by FOLL_FORCE, and without filling what was never touched.
 * @see Linux mm/gup.c, `get_dump_page`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_DUMP, FOLL_FORCE, FOLL_GET, type MmapLocked, NO_PAGE, type PageArray } from './foll-flags.ts';
import { getUserPagesLocked } from './get-user-pages-locked.ts';

/**
 * The frame with a reference, or NO_PAGE: a hole of the file, whatever the reason.
 * @param locked `held`: mmap_lock is held and stays so, as no fault may wait; else it is taken for this one page
 */
export function* getDumpPage(current: TaskStruct, page: number, locked: MmapLocked): Task<number> {
  if (current.mm === null) return NO_PAGE;
  const pages: PageArray = [NO_PAGE];
  const flags = FOLL_FORCE | FOLL_DUMP | FOLL_GET;
  const got = yield* getUserPagesLocked(current, current.mm, page, 1, pages, locked, flags);
  return got === 1 ? (pages[0] as number) : NO_PAGE;
}
