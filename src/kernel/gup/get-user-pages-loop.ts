/**
 * The slow loop of GUP: look the VMA up, check it, follow the page tables, fault in what is missing, for every page.
 * Left out: the gate area. x86-64 has the vsyscall page there, which no page table maps (vsyscall=xonly, the default), so GUP
 * answers -EFAULT either way; arm64 has none.
 * @see Linux mm/gup.c, `__get_user_pages`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, EMLINK, ENOMEM } from '../errno.ts';
import { mmapAssertLocked } from '../lock/mmap-lock.ts';
import { countVmaLookup, countWalk } from '../mm/look-up-costs.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import { assertVmaStabilised } from '../mm/vma-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { checkVmaFlags } from './check-vma-flags.ts';
import { faultinPage } from './faultin-page.ts';
import {
  FOLL_GET,
  FOLL_MADV_POPULATE,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_VMA_LOCKED,
  type MmapLocked,
  NO_PAGE,
  type PageArray,
} from './foll-flags.ts';
import type { FollowedPage } from './follow-huge-pmd.ts';
import { followPageMask } from './follow-page.ts';
import { COW_IS_BROKEN, flagsAfterBrokenCow } from './forced-write-flags.ts';
import { noteBelowStack } from './gup-vma-lookup.ts';
import { grabFollowingPages } from './pin.ts';

/**
 * The page number without tag bits. Below the end of user space there are none; above, the architecture knows. Needs no lock:
 * which bits are tags never changes once other tasks can reach the mm.
 * @see Rik van Riel, "[PATCH 1/3] x86/mm: use READ_ONCE/WRITE_ONCE for mm->context.untag_mask", 16 June 2026
 */
export function untaggedPageRemoteUnlocked(current: TaskStruct, mm: MmStruct, page: number): number {
  const { arch } = current.kernel;
  if (page < arch.taskSizePages || mm.context === null) return page;
  return Number(arch.untaggedAddressRemote(mm.context, BigInt(page) << 12n) >> 12n);
}

/**
 * The same, as Linux has it: under mmap_lock, or what V4 asks for, the lock of a VMA.
 * @see Linux include/linux/uaccess.h, `untagged_addr_remote`
 */
export function untaggedPageRemote(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  vma: VmArea | null = null,
): number {
  if (page < current.kernel.arch.taskSizePages) return page;
  assertGupLocked(current, mm, vma);
  return untaggedPageRemoteUnlocked(current, mm, page);
}

/** @throws Error when `current` holds neither mmap_lock nor, if it is given one, the lock of the VMA */
export function assertGupLocked(current: TaskStruct, mm: MmStruct, vma: VmArea | null): void {
  if (vma === null) mmapAssertLocked(current, mm);
  else assertVmaStabilised(current, vma);
}

/** Where one call stands. */
interface Walk extends FollowedPage {
  page: number;
  done: number;
  /** What ends the call: an -errno, or 0. */
  error: number;
  vma: VmArea | null;
  /** FOLL_* bits of the call; some old kernels changed them for one page. */
  flags: number;
}

/**
 * Pages got: short after an error, -errno when the first failed. 0 means that a fault must be retried; `locked.held`
 * says whether the mmap lock was dropped for it. The lock is never dropped without returning, so the VMA found stays
 * good from page to page.
 * @param firstSlot where in `pages` the first page goes
 * @param startVma the VMA of the first page, for callers that have looked it up already. With FOLL_VMA_LOCKED its own lock is
 *   held and all pages must be in it; `locked` then says whether a fault has let that lock go
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
  startVma: VmArea | null = null,
): Task<number> {
  const page = untaggedPageRemote(current, mm, startPage, startVma);
  const walk: Walk = { page, done: 0, error: 0, vma: startVma, pageMask: 0, flags: gupFlags };
  if (startVma !== null) walk.error = refusal(current, startVma, page, gupFlags);
  while (walk.done < count && mayGoOn(current, mm, walk, gupFlags)) {
    const vma = walk.vma as VmArea;
    if ((gupFlags & FOLL_REMOTE) !== 0) countWalk(current);
    const frame = yield* followPageMask(current, vma, walk.page, walk.flags, walk);
    if (frame === NO_PAGE || frame === -EMLINK) {
      walk.error = yield* faultinPage(current, vma, walk.page, walk.flags, frame === -EMLINK, locked);
      continue;
    }
    const run = runLength(walk, count);
    if (run > 1) walk.error = yield* grabFollowingPages(current, frame, run - 1, gupFlags);
    if (walk.error === 0) {
      walk.flags = gupFlags;
      tell(current, walk, frame, run, gupFlags);
      accept(walk, frame, run, pages, firstSlot);
    }
  }
  return walk.done > 0 ? walk.done : walkError(walk);
}

/**
 * Before each page and each new attempt: the VMA, looked up and checked where the last one ends, and no fatal signal
 * for the caller.
 */
function mayGoOn(current: TaskStruct, mm: MmStruct, walk: Walk, gupFlags: number): boolean {
  if (walk.error !== 0 && !looksAgain(current, walk)) return false;
  if (walk.vma === null || walk.page >= walk.vma.end) {
    if ((gupFlags & FOLL_REMOTE) !== 0) noteLookup(current, walk.vma, gupFlags);
    walk.vma = mm.vmas.find(walk.page);
    walk.error = refusal(current, walk.vma, walk.page, gupFlags);
    if (walk.error !== 0) return false;
  }
  if (current.fatalSignalPending()) walk.error = -EINTR;
  return walk.error === 0;
}

/** After a fault that a kernel with an old bug draws conclusions from, which hold until a page is taken. */
function looksAgain(current: TaskStruct, walk: Walk): boolean {
  if (walk.error !== COW_IS_BROKEN) return false;
  walk.error = 0;
  walk.flags = flagsAfterBrokenCow(current.kernel.bugs, walk.flags);
  return true;
}

/** @throws Error when only the lock of one VMA is held, which says nothing about the next */
function noteLookup(current: TaskStruct, last: VmArea | null, gupFlags: number): void {
  if ((gupFlags & FOLL_VMA_LOCKED) !== 0) {
    throw new Error(`${current.name} goes on beyond ${last?.name ?? 'a VMA'}, whose lock alone it holds`);
  }
  countVmaLookup(current);
}

/** Told before `walk` goes on. */
function tell(current: TaskStruct, { vma, page }: Walk, frame: number, run: number, gupFlags: number): void {
  const { watcher } = current.kernel;
  if (watcher === null || vma === null || frame < 0 || (gupFlags & (FOLL_GET | FOLL_PIN)) === 0) return;
  for (let i = 0; i < run; i++) watcher.grabbed(current, vma.mm, vma, page + i, frame + i, gupFlags);
}

/** Takes what was followed. Memory without frames (-EEXIST) is skipped by callers that want no pages. */
function accept(walk: Walk, frame: number, run: number, pages: PageArray | null, firstSlot: number): void {
  if (frame < 0 && (pages !== null || frame !== -EEXIST)) {
    walk.error = frame;
    return;
  }
  if (pages !== null) for (let i = 0; i < run; i++) pages[firstSlot + walk.done + i] = frame + i;
  walk.done += run;
  walk.page += run;
}

/** Pages from here to the end of the leaf that maps it, at most what is still wanted. */
function runLength({ page, pageMask, done }: Walk, count: number): number {
  const whole = 1 + pageMask - (page % (pageMask + 1));
  return whole < count - done ? whole : count - done;
}

/** -EBUSY and -EAGAIN say that the fault has to be tried again; the caller sees in `locked` who has the lock. */
function walkError({ error }: Walk): number {
  return error === -EBUSY || error === -EAGAIN ? 0 : error;
}

/**
 * 0 when the VMA found for `page` may be got. GUP itself never grows a stack: an address below a VM_GROWSDOWN mapping
 * is a hole to it.
 * @see Linux mm/gup.c, `gup_vma_lookup`
 */
function refusal(current: TaskStruct, vma: VmArea | null, page: number, gupFlags: number): number {
  const populate = (gupFlags & FOLL_MADV_POPULATE) !== 0;
  if (vma === null || page < vma.start) {
    if (populate) return -ENOMEM;
    if (vma !== null) noteBelowStack(current, vma, page);
    return -EFAULT;
  }
  const refused = checkVmaFlags(current, vma, gupFlags);
  // madvise has its own errno for a mapping of the wrong kind.
  return refused !== 0 && populate ? -EINVAL : refused;
}
