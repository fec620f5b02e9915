/**
 * Finding the entry that maps one huge page: a leaf of the pmd or pud level.
 * Left out: sizes of several contiguous entries.
 * @see Linux mm/hugetlb.c, `huge_pte_offset`, `hugetlb_walk`; include/linux/hugetlb.h, `huge_pte_lock`
 */
import { tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { rootTable } from '../page-table-alloc.ts';
import type { VmArea } from '../vma.ts';
import { hstateOfVma } from './hugetlb-vma.ts';

/** The table with the entry of `page`, null when a table on the way is missing: `hugetlb_walk`. */
export function hugetlbWalk(mm: MmStruct, vma: VmArea, page: number): TablePage | null {
  return mm.kernel.pageTables.lookup(rootTable(mm), page, hstateOfVma(vma).level);
}

/** Index of the entry of `page` in its table. */
export function hugeEntryIndex(mm: MmStruct, table: TablePage, page: number): number {
  return tableIndex(mm.kernel.pageTables.format, page, table.level);
}

/**
 * Waits for the lock of the entry's table; false, and the lock let go, when the table was taken out meanwhile.
 * `huge_pte_lock`
 */
export function* hugePteLock(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  page: number,
  table: TablePage,
): Task<boolean> {
  yield* table.lock.lock(current);
  if (!table.freed && hugetlbWalk(mm, vma, page) === table) return true;
  yield* table.lock.unlock(current);
  return false;
}
