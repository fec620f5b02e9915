/**
 * Following an entry of a hugetlb VMA: the decision is made on the huge page, and one reference or pin taken on it for
 * the small page that was asked for.
 * @see Linux mm/gup.c, `follow_huge_pmd`, `follow_huge_pud`, `no_page_table`; mm/memory.c, `vma_pgtable_walk_begin`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { EFAULT } from '../errno.ts';
import { hugeEntryIndex, hugePteLock, hugetlbWalk } from '../mm/hugetlb/huge-walk.ts';
import {
  hstateOfVma,
  hugeIndex,
  hugeStart,
  hugetlbVmaLockRead,
  hugetlbVmaUnlockRead,
  inodeOfVma,
} from '../mm/hugetlb/hugetlb-vma.ts';
import type { TablePage } from '../mm/page-table.ts';
import { flushAccessFlags } from '../mm/tlb.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_DUMP, FOLL_TOUCH, FOLL_WRITE, NO_PAGE } from './foll-flags.ts';
import type { FollowedPage } from './follow-huge-pmd.ts';
import { leafVerdict } from './leaf-verdict.ts';
import { tryGrabFolio } from './pin.ts';

/**
 * Answers as `followPageMask` does. The VMA's lock of hugetlb keeps the table from being unshared, and waits for whoever takes
 * pages out of the file.
 */
export function* followHugetlbPage(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gupFlags: number,
  followed: FollowedPage,
): Task<number> {
  yield* hugetlbVmaLockRead(current, vma);
  const table = hugetlbWalk(vma.mm, vma, page);
  let frame = NO_PAGE;
  if (table !== null && (yield* hugePteLock(current, vma.mm, vma, page, table))) {
    frame = yield* followEntry(current, vma, page, table, gupFlags, followed);
    yield* table.lock.unlock(current);
  }
  yield* hugetlbVmaUnlockRead(current, vma);
  // A dump does not fill holes: what the file does not have either is one.
  const hole = frame === NO_PAGE && (gupFlags & FOLL_DUMP) !== 0;
  return hole && inodeOfVma(vma).frameAt(hugeIndex(vma, page)) === -1 ? -EFAULT : frame;
}

function* followEntry(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  table: TablePage,
  gupFlags: number,
  followed: FollowedPage,
): Task<number> {
  const { pageTables, frames } = current.kernel;
  const index = hugeEntryIndex(vma.mm, table, page);
  pageTables.read(table, index);
  const head = pageTables.frame(table.level);
  const verdict = leafVerdict(current, vma, pageTables.flags(table.level), gupFlags, head);
  if (verdict < 0) return verdict;
  yield frames.refPoint(head);
  const error = tryGrabFolio(current, head, gupFlags);
  if (error !== 0) return error;
  const start = hugeStart(vma, page);
  if ((gupFlags & FOLL_TOUCH) !== 0) {
    const write = (gupFlags & FOLL_WRITE) !== 0;
    yield table.setEntry;
    const changed = pageTables.change(table, index, EntryFlag.Young | (write ? EntryFlag.Dirty : 0), 0);
    if (changed) yield* flushAccessFlags(current, vma.mm, start, write);
  }
  followed.pageMask = hstateOfVma(vma).pages - 1;
  return head + (page - start);
}
