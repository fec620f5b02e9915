/**
 * One page of another address space together with the VMA that maps it: what is left of the `vmas` array of old.
 * @see Linux include/linux/mm.h, `get_user_page_vma_remote`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import { mmapAssertLocked } from '../lock/mmap-lock.ts';
import { countVmaLookup } from '../mm/look-up-costs.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_GET, FOLL_NOWAIT, FOLL_REMOTE, FOLL_TOUCH, INTERNAL_GUP_FLAGS } from './foll-flags.ts';
import { getUserPagesLoop } from './get-user-pages-loop.ts';
import { putUserPage } from './pin.ts';

/** The page and its VMA, valid as long as the caller's mmap lock is held. A reused object of the caller. */
export interface UserPageAndVma {
  /** One slot: the frame number. */
  readonly pages: [number];
  vma: VmArea | null;
}

/**
 * 0, with a reference taken, or -errno. The lock is never dropped.
 *
 * This is `get_user_pages_remote(mm, page, 1, flags, &page, NULL)` with the two calls in between written out: neither
 * has a step of its own when the lock may not be dropped, and remote reads spend most of their time here.
 */
export function* getUserPageVmaRemote(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  gupFlags: number,
  out: UserPageAndVma,
): Task<number> {
  // With FOLL_NOWAIT there could be 0 pages, which callers do not expect.
  if ((gupFlags & (FOLL_NOWAIT | INTERNAL_GUP_FLAGS)) !== 0) return -EINVAL;
  mmapAssertLocked(current, mm);
  const flags = gupFlags | FOLL_TOUCH | FOLL_REMOTE | FOLL_GET;
  const got = yield* getUserPagesLoop(current, mm, page, 1, flags, out.pages, 0, null);
  if (got < 0) return got;
  countVmaLookup(current);
  out.vma = mm.vmas.lookup(page);
  if (out.vma === null) {
    // GUP has just found it under the same lock: Linux warns, and so would a race checker.
    yield* putUserPage(current, out.pages[0]);
    return -EINVAL;
  }
  return 0;
}
