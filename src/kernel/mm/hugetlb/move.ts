/**
 * mremap of huge pages: entries move to the new place under both tables' locks; a shared table is left, and the new place
 * faults its own in.
 * @see Linux mm/hugetlb.c, `move_hugetlb_page_tables`, `move_huge_pte`
 */
import { EntryFlag, pagesPerEntry } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { tlbFinishMmu, tlbFlushMmuTlbOnly, tlbGatherMmu } from '../mmu-gather.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { hugePteAlloc } from './huge-pte.ts';
import { hugeEntryIndex, hugetlbWalk } from './huge-walk.ts';
import { hstateOfVma, hugetlbVmaLockWrite, hugetlbVmaUnlockWrite, inodeOfVma } from './hugetlb-vma.ts';
import { hugePmdUnshare, hugePmdUnshareFlush } from './pmd-share.ts';

/** From where to where; small pages. */
export interface HugePageMove {
  readonly old: VmArea;
  readonly new: VmArea;
  readonly oldPage: number;
  readonly newPage: number;
  readonly pages: number;
}

/** Moves whole huge pages. Returns the pages that were moved: fewer without memory for tables. */
export function* moveHugetlbPageTables(current: TaskStruct, move: HugePageMove): Task<number> {
  const { old: vma, new: target, oldPage: oldStart, newPage: newStart, pages } = move;
  const { mm } = vma;
  const inode = inodeOfVma(vma);
  const hstate = hstateOfVma(vma);
  const span = pagesPerEntry(mm.kernel.pageTables.format, hstate.level - 1);
  const gather = yield* tlbGatherMmu(current, mm);
  yield* hugetlbVmaLockWrite(current, vma);
  yield* inode.mapping.iMmapRwsem.downWrite(current);
  let moved = 0;
  while (moved < pages) {
    const page = oldStart + moved;
    const source = hugetlbWalk(mm, vma, page);
    if (source === null || (yield* hugePmdUnshare(vma, page, source, gather))) {
      moved += span - (page % span);
      continue;
    }
    if (!isNone(vma, page, source)) {
      const table = yield* hugePteAlloc(current, mm, target, newStart + moved);
      if (table === null) break;
      yield* moveEntry(current, vma, page, source, table, newStart + moved);
      gather.noteEntry(page, source.level);
    }
    moved += hstate.pages;
  }
  yield* tlbFlushMmuTlbOnly(current, gather);
  yield* hugePmdUnshareFlush(current, gather);
  yield* inode.mapping.iMmapRwsem.upWrite(current);
  yield* hugetlbVmaUnlockWrite(current, vma);
  yield* tlbFinishMmu(current, gather);
  return Math.min(moved, pages);
}

function isNone(vma: VmArea, page: number, table: TablePage): boolean {
  const { pageTables } = vma.mm.kernel;
  pageTables.read(table, hugeEntryIndex(vma.mm, table, page));
  return pageTables.format.isNone(pageTables.hi, pageTables.lo);
}

function* moveEntry(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  source: TablePage,
  table: TablePage,
  newPage: number,
): Task<void> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const nested = source.lock !== table.lock;
  yield* table.lock.lock(current);
  if (nested) yield* source.lock.lock(current, SINGLE_DEPTH_NESTING);
  yield source.setEntry;
  pageTables.getAndClear(source, hugeEntryIndex(mm, source, page));
  const entry: Halves = { hi: pageTables.hi, lo: pageTables.lo };
  // Without a remap event the new place is not registered with userfaultfd.
  if (vma.userfaultfd !== null) clearWriteProtection(vma, source.level, entry);
  yield table.setEntry;
  pageTables.setEntry(table, hugeEntryIndex(mm, table, newPage), entry.hi, entry.lo);
  if (nested) yield* source.lock.unlock(current);
  yield* table.lock.unlock(current);
}

/** A marker of write protection is nothing any more; a page keeps everything else, and broken memory stays so. */
function clearWriteProtection(vma: VmArea, level: number, entry: Halves): void {
  const { format } = vma.mm.kernel.pageTables;
  const { hi, lo } = entry;
  if ((format.flagsOf(hi, lo, level) & EntryFlag.Present) === 0) {
    const marker = format.swapTypeOf(hi, lo) === SWP_PTE_MARKER ? format.swapOffsetOf(hi, lo) : 0;
    if ((marker & PTE_MARKER_UFFD_WP) === 0) return;
    entry.hi = 0;
    entry.lo = 0;
  } else {
    format.change(entry.hi, entry.lo, level, 0, EntryFlag.UffdWp, entry);
  }
}
