/**
 * The slow loop of GUP: look the VMA up, check it, follow the page tables, fault in what is missing, for every page.
 * Left out: the gate area (vsyscall page), the hourly warning about accesses just below a stack.
 * @see Linux mm/gup.c, `__get_user_pages`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, EMLINK, ENOMEM } from '../errno.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import { checkVmaFlags } from './check-vma-flags.ts';
import { faultinPage } from './faultin-page.ts';
import { FOLL_MADV_POPULATE, type MmapLocked, NO_PAGE, type PageArray } from './foll-flags.ts';
import { type FollowedPage, followPageMask } from './follow-page.ts';
import { grabFollowingPages } from './pin.ts';

/**
 * The page number without tag bits. Below the end of user space there are none; above, the architecture knows.
 * @see Linux include/linux/uaccess.h, `untagged_addr_remote`
 */
export function untaggedPageRemote(current: TaskStruct, mm: MmStruct, page: number): number {
  const { arch } = current.kernel;
  if (page < arch.taskSizePages || mm.context === null) return page;
  return Number(arch.untaggedAddressRemote(mm.context, BigInt(page) << 12n) >> 12n);
}

/**
 * Pages got: short after an error, -errno when the first failed. 0 means that a fault must be retried; `locked.held`
 * says whether the mmap lock was dropped for it. The lock is never dropped without returning, so the VMA found stays
 * good from page to page.
 * @param firstSlot where in `pages` the first page goes
 */
export function* getUserPagesLoop(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
  firstSlot: number,
  locked: MmapLocked | null,
): Task<number> {
  let page = untaggedPageRemote(current, mm, startPage);
  let vma: VmArea | null = null;
  let done = 0;
  const followed: FollowedPage = { pageMask: 0 };
  while (done < count) {
    if (vma === null || page >= vma.end) {
      vma = mm.vmas.find(page);
      const refused = refusal(current, vma, page, gupFlags);
      if (refused !== 0) return done > 0 ? done : refused;
      if (vma === null) return done;
    }
    if (current.fatalSignalPending()) return done > 0 ? done : -EINTR;
    const frame: number = yield* followPageMask(current, vma, page, gupFlags, followed);
    if (frame === NO_PAGE || frame === -EMLINK) {
      const result: number = yield* faultinPage(current, vma, page, gupFlags, frame === -EMLINK, locked);
      if (result === 0) continue;
      // Both say that the fault has to be tried again; the caller sees in `locked` who has the lock.
      if (result === -EBUSY || result === -EAGAIN) return done;
      return done > 0 ? done : result;
    }
    if (frame < 0 && (frame !== -EEXIST || pages !== null)) return done > 0 ? done : frame;
    const left = count - done;
    const whole: number = 1 + (followed.pageMask - (page % (followed.pageMask + 1)));
    const run: number = whole < left ? whole : left;
    if (pages !== null) {
      if (run > 1) {
        const grabbed: number = yield* grabFollowingPages(current, frame, run - 1, gupFlags);
        if (grabbed !== 0) return done > 0 ? done : grabbed;
      }
      for (let i = 0; i < run; i++) pages[firstSlot + done + i] = frame + i;
    }
    done += run;
    page += run;
  }
  return done;
}

/**
 * 0 when the VMA found for `page` may be got. GUP itself never grows a stack: an address below a VM_GROWSDOWN mapping
 * is a hole to it.
 * @see Linux mm/gup.c, `gup_vma_lookup`
 */
function refusal(current: TaskStruct, vma: VmArea | null, page: number, gupFlags: number): number {
  const populate = (gupFlags & FOLL_MADV_POPULATE) !== 0;
  if (vma === null || page < vma.start) return populate ? -ENOMEM : -EFAULT;
  const refused = checkVmaFlags(current, vma, gupFlags);
  // madvise has its own errno for a mapping of the wrong kind.
  return refused !== 0 && populate ? -EINVAL : refused;
}
