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
import { FOLL_NOWAIT, FOLL_REMOTE, FOLL_TOUCH } from './foll-flags.ts';
import { getUserPagesLoop } from './get-user-pages-loop.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';
import { putUserPage } from './pin.ts';

/** It could give 0 pages, which callers do not expect. */
export const NOWAIT_TEXT = 'FOLL_NOWAIT for one page';

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
  const { warnings } = current.kernel;
  if ((gupFlags & FOLL_NOWAIT) !== 0) {
    warnings.once(current, 'get_user_page_vma_remote', NOWAIT_TEXT);
    return -EINVAL;
  }
  const flags = validGupFlags(current, out.pages, null, gupFlags, FOLL_TOUCH | FOLL_REMOTE);
  if (flags === INVALID_GUP_ARGS) return -EINVAL;
  mmapAssertLocked(current, mm);
  const got = yield* getUserPagesLoop(current, mm, page, 1, flags, out.pages, 0, null);
  if (got < 0) return got;
  countVmaLookup(current);
  out.vma = mm.vmas.lookup(page);
  if (out.vma === null) {
    // GUP has just found it under the same lock.
    warnings.once(current, 'get_user_page_vma_remote', 'the VMA of a page that was got is gone');
    yield* putUserPage(current, out.pages[0]);
    return -EINVAL;
  }
  return 0;
}
