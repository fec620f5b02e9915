/**
 * From a page number to the frame that is mapped there now, with a reference or pin taken before the page table's lock
 * is let go.
 * Left out: leaves above the last level (transparent huge pages, hugetlb), pfn mappings (`follow_pfn_pte`), peer to
 * peer memory. Soft-dirty tracking is not compiled in.
 * @see Linux mm/gup.c, `follow_page_mask`, `follow_page_pte`, `can_follow_write_pte`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { EEXIST, EFAULT, EMLINK } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { pteIndex } from '../mm/page-table.ts';
import { pteOffsetMapLock } from '../mm/page-table-alloc.ts';
import type { VmArea } from '../mm/vma.ts';
import {
  VM_ACCESS_FLAGS,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_SHARED,
  VM_UFFD_WP,
  VM_WRITE,
} from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_DUMP,
  FOLL_FORCE,
  FOLL_HONOR_NUMA_FAULT,
  FOLL_PIN,
  FOLL_TOUCH,
  FOLL_WRITE,
  NO_PAGE,
} from './foll-flags.ts';
import { gupMustUnshare } from './must-unshare.ts';
import { tryGrabFolio } from './pin.ts';

/** Filled by `followPageMask`; a reused object of the caller. */
export interface FollowedPage {
  /** Pages of the leaf that was followed, less one: 0 for a pte. */
  pageMask: number;
}

/**
 * The frame (0 or more), NO_PAGE when a fault is needed, -EMLINK when the page must be unshared first, -EEXIST for a
 * mapping of memory without frames of the kernel's, or another -errno.
 */
export function* followPageMask(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gupFlags: number,
  followed: FollowedPage,
): Task<number> {
  followed.pageMask = 0;
  const table = yield* pteOffsetMapLock(current, vma.mm, page);
  if (table === null) return noPageTable(vma, gupFlags);
  const { pageTables, frames } = current.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  let frame = pteVerdict(current, vma, flags, gupFlags, pageTables.frame(table.level));
  if (frame >= 0) {
    // The reference is taken under the table's lock: the entry's own reference keeps the count above 0 until then.
    yield frames.refPoint(frame);
    const error = tryGrabFolio(current, frame, gupFlags);
    if (error !== 0) frame = error;
    else if ((gupFlags & FOLL_TOUCH) !== 0) touch(current, frame, flags, gupFlags);
  }
  yield* table.lock.unlock(current);
  // An entry that holds something else (swap, a marker) is for the fault to look at.
  return frame === NO_PAGE && flags === 0 ? noPageTable(vma, gupFlags) : frame;
}

/**
 * What a core dump is told where nothing is mapped, instead of filling it.
 * @see Linux mm/gup.c, `no_page_table`
 */
function noPageTable(vma: VmArea, gupFlags: number): number {
  // Without a fault handler that could find data elsewhere, an empty entry is a hole.
  return (gupFlags & FOLL_DUMP) !== 0 && vma.anonymous ? -EFAULT : NO_PAGE;
}

/**
 * The decision on one pte, before any reference is taken: the frame, NO_PAGE, or an error.
 * @see Linux mm/gup.c, `follow_page_pte`
 */
function pteVerdict(
  current: TaskStruct,
  vma: VmArea,
  flags: number,
  gupFlags: number,
  frame: number,
): number {
  if ((flags & EntryFlag.Present) === 0) return NO_PAGE;
  if ((flags & EntryFlag.Protnone) !== 0 && !canFollowProtnone(vma, gupFlags)) return NO_PAGE;
  const { frames } = current.kernel;
  const zeroPage = frames.isZeroFrame(frame);
  // `vm_normal_page`: special entries have no page that could be counted, dirtied or unshared.
  const normal = (flags & EntryFlag.Special) === 0 && !zeroPage;
  if ((gupFlags & FOLL_WRITE) !== 0 && !canFollowWritePte(current, vma, flags, gupFlags, frame, normal)) {
    return NO_PAGE;
  }
  if (!normal) {
    if ((gupFlags & FOLL_DUMP) !== 0) return -EFAULT;
    if (!zeroPage) return -EEXIST;
  }
  if ((flags & EntryFlag.Write) === 0 && gupMustUnshare(frames, vma, gupFlags, frame)) return -EMLINK;
  const anonymous = frames.hasFlag(frame, FrameFlag.Anon);
  if ((gupFlags & FOLL_PIN) !== 0 && anonymous && !frames.hasFlag(frame, FrameFlag.AnonExclusive)) {
    throw new Error(`pin of frame 0x${frame.toString(16)}, which is anonymous and not exclusive`);
  }
  return frame;
}

/**
 * A PROT_NONE entry in an accessible VMA is a NUMA hint, and only callers that ask for it are stopped by one.
 * @see Linux include/linux/mm.h, `gup_can_follow_protnone`
 */
function canFollowProtnone(vma: VmArea, gupFlags: number): boolean {
  return (gupFlags & FOLL_HONOR_NUMA_FAULT) === 0 || (vma.flags & VM_ACCESS_FLAGS) === 0;
}

/**
 * May a write go through this entry? If it is not writable, only by FOLL_FORCE, only in a private mapping that is not
 * writable anyway, and only on a page that is this mm's alone.
 * @see Linux mm/gup.c, `can_follow_write_pte` and `can_follow_write_common`
 */
function canFollowWritePte(
  current: TaskStruct,
  vma: VmArea,
  flags: number,
  gupFlags: number,
  frame: number,
  normal: boolean,
): boolean {
  if ((flags & EntryFlag.Write) !== 0) return true;
  if ((gupFlags & FOLL_FORCE) === 0) return false;
  if ((vma.flags & (VM_SHARED | VM_MAYSHARE)) !== 0) return false;
  if ((vma.flags & VM_MAYWRITE) === 0) return false;
  // A writable mapping takes a real write fault, which knows about write protection for other reasons.
  if ((vma.flags & VM_WRITE) !== 0) return false;
  const { frames } = current.kernel;
  if (!normal || !frames.hasFlag(frame, FrameFlag.Anon)) return false;
  if (!frames.hasFlag(frame, FrameFlag.AnonExclusive)) return false;
  return (vma.flags & VM_UFFD_WP) === 0 || (flags & EntryFlag.UffdWp) === 0;
}

/** Accessed, and dirty on a write that the page table does not know of. */
function touch(current: TaskStruct, frame: number, flags: number, gupFlags: number): void {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  if (frames.isZeroFrame(head)) return;
  const dirties = (gupFlags & FOLL_WRITE) !== 0 && (flags & EntryFlag.Dirty) === 0;
  frames.setFlags(head, dirties ? FrameFlag.Dirty | FrameFlag.Referenced : FrameFlag.Referenced);
}
