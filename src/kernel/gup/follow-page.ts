/**
 * From a page number to the frame that is mapped there now, with a reference or pin taken before the page table's lock
 * is let go.
 * Left out: peer to peer memory. Soft-dirty tracking is not compiled in.
 * @see Linux mm/gup.c, `follow_page_mask`, `follow_pmd_mask`, `follow_page_pte`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { EEXIST, EFAULT, ENOMEM } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { PmdKind, pteIndex, type TablePage } from '../mm/page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmap, rootTable } from '../mm/page-table-alloc.ts';
import { folioMarkAccessed } from '../mm/reclaim/lru.ts';
import { pmdTransHugeLock } from '../mm/thp/huge-pmd.ts';
import { splitHugePmd } from '../mm/thp/split-pmd.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_HUGETLB } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_DUMP, FOLL_SPLIT_PMD, FOLL_TOUCH, FOLL_WRITE, NO_PAGE } from './foll-flags.ts';
import { type FollowedPage, followHugePmd } from './follow-huge-pmd.ts';
import { followHugetlbPage } from './follow-hugetlb-page.ts';
import { leafVerdict } from './leaf-verdict.ts';
import { tryGrabFolio } from './pin.ts';

/**
 * The frame (0 or more), NO_PAGE when a fault is needed, -EMLINK when the page must be unshared first, -EEXIST for a
 * mapping of memory without frames of the kernel's, or another -errno.
 */
export function followPageMask(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gupFlags: number,
  followed: FollowedPage,
): Task<number> {
  followed.pageMask = 0;
  if ((vma.flags & VM_HUGETLB) !== 0) return followHugetlbPage(current, vma, page, gupFlags, followed);
  const huge = current.kernel.pageTables.pmdKind(rootTable(vma.mm), page) === PmdKind.Huge;
  // The task of the level itself: one generator less to pass every step through.
  if (huge) return followTransHuge(current, vma, page, gupFlags, followed);
  return followPagePte(current, vma, page, gupFlags);
}

/** The pmd was huge when it was looked at without its lock. @see Linux mm/gup.c, `follow_pmd_mask` */
function* followTransHuge(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gupFlags: number,
  followed: FollowedPage,
): Task<number> {
  const huge = yield* pmdTransHugeLock(current, vma.mm, page);
  if (huge !== null && (gupFlags & FOLL_SPLIT_PMD) === 0) {
    const frame = yield* followHugePmd(current, vma, huge, page, gupFlags, followed);
    yield* huge.lock.unlock(current);
    return frame;
  }
  if (huge !== null) {
    yield* huge.lock.unlock(current);
    yield* splitHugePmd(current, vma, page);
    if ((yield* pteAlloc(current, vma.mm, page)) === null) return -ENOMEM;
  }
  return yield* followPagePte(current, vma, page, gupFlags);
}

/** @see Linux mm/gup.c, `follow_page_pte` */
function* followPagePte(current: TaskStruct, vma: VmArea, page: number, gupFlags: number): Task<number> {
  const table = yield* pteOffsetMapLock(current, vma.mm, page);
  if (table === null) return noPageTable(vma, gupFlags);
  const { pageTables, frames } = current.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  let frame = leafVerdict(current, vma, flags, gupFlags, pageTables.frame(table.level));
  if (frame >= 0) {
    // The reference is taken under the table's lock: the entry's own reference keeps the count above 0 until then.
    yield frames.refPoint(frame);
    const error = tryGrabFolio(current, frame, gupFlags);
    if (error !== 0) frame = error;
    else if ((gupFlags & FOLL_TOUCH) !== 0) touch(current, frame, flags, gupFlags);
  }
  if (frame === -EEXIST && (gupFlags & FOLL_TOUCH) !== 0) yield* followPfnPte(current, table, page, gupFlags);
  yield table.lock.unlockPoint;
  pteUnmap(current, table);
  // An entry that holds something else (swap, a marker) is for the fault to look at.
  return frame === NO_PAGE && flags === 0 ? noPageTable(vma, gupFlags) : frame;
}

/** Memory of a device has no page that could be marked: the pte is. @see Linux mm/gup.c, `follow_pfn_pte` */
function* followPfnPte(current: TaskStruct, table: TablePage, page: number, gupFlags: number): Task<void> {
  const { pageTables } = current.kernel;
  const dirty = (gupFlags & FOLL_WRITE) === 0 ? 0 : EntryFlag.Dirty;
  yield table.setEntry;
  pageTables.change(table, pteIndex(pageTables, page), EntryFlag.Young | dirty, 0);
}

/**
 * What a core dump is told where nothing is mapped, instead of filling it.
 * @see Linux mm/gup.c, `no_page_table`
 */
function noPageTable(vma: VmArea, gupFlags: number): number {
  // Without a fault handler that could find data elsewhere, an empty entry is a hole.
  return (gupFlags & FOLL_DUMP) !== 0 && vma.anonymous ? -EFAULT : NO_PAGE;
}

/** Accessed, and dirty on a write that the page table does not know of. */
function touch(current: TaskStruct, frame: number, flags: number, gupFlags: number): void {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  if (frames.isZeroFrame(head)) return;
  if ((gupFlags & FOLL_WRITE) !== 0 && (flags & EntryFlag.Dirty) === 0)
    frames.setFlags(head, FrameFlag.Dirty);
  folioMarkAccessed(frames, head);
}
