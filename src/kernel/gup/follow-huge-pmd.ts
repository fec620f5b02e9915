/**
 * Following a pmd that maps a huge page: the decision is made on its first page, and one reference or pin on the folio
 * is taken for the page that was asked for.
 * @see Linux mm/gup.c, `follow_huge_pmd`, `can_follow_write_pmd`, `touch_pmd`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { hugePages, type TablePage } from '../mm/page-table.ts';
import { hugeStart, pmdIndex } from '../mm/thp/huge-pmd.ts';
import { flushAccessFlags } from '../mm/tlb.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_TOUCH, FOLL_WRITE } from './foll-flags.ts';
import { leafVerdict } from './leaf-verdict.ts';
import { tryGrabFolio } from './pin.ts';

/** Filled by `followPageMask`; a reused object of the caller. */
export interface FollowedPage {
  /** Pages of the leaf that was followed, less one: 0 for a pte. */
  pageMask: number;
}

/** With the pmd's lock held, and its entry, a leaf, in `pageTables.hi` and `lo`. Answers as `followPageMask` does. */
export function* followHugePmd(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  gupFlags: number,
  followed: FollowedPage,
): Task<number> {
  const { pageTables, frames } = current.kernel;
  const flags = pageTables.flags(table.level);
  const head = pageTables.frame(table.level);
  const verdict = leafVerdict(current, vma, flags, gupFlags, head);
  if (verdict < 0) return verdict;
  yield frames.refPoint(head);
  const error = tryGrabFolio(current, head, gupFlags);
  if (error !== 0) return error;
  const start = hugeStart(current.kernel, page);
  if ((gupFlags & FOLL_TOUCH) !== 0) yield* touchPmd(current, vma, table, start, gupFlags);
  followed.pageMask = hugePages(pageTables) - 1;
  return head + (page - start);
}

/** Unlike a pte, a pmd is made young and dirty itself. */
function* touchPmd(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
  gupFlags: number,
): Task<void> {
  const { pageTables } = current.kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  const set = write ? EntryFlag.Young | EntryFlag.Dirty : EntryFlag.Young;
  yield table.setEntry;
  const changed = pageTables.change(table, pmdIndex(pageTables, start), set, 0);
  if (changed) yield* flushAccessFlags(current, vma.mm, start, write);
}
