/**
 * A pmd that maps a huge page: finding and locking it, and the pte table that is put by for it.
 * @see Linux mm/huge_memory.c, `__pmd_trans_huge_lock`, `zap_deposited_table`; mm/pgtable-generic.c,
 * `pgtable_trans_huge_deposit`
 */
import { EntryFlag, tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Kernel } from '../../kernel.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { hugePages, type PageTables, type TablePage } from '../page-table.ts';
import { allocateTable, freeTable, rootTable } from '../page-table-alloc.ts';

const TABLE_BYTES = 4096;

/** Index of the pmd of `page` in its table. */
export function pmdIndex(pageTables: PageTables, page: number): number {
  return tableIndex(pageTables.format, page, pageTables.lastLevel - 1);
}

/** First page of the huge page around `page`. */
export function hugeStart(kernel: Kernel, page: number): number {
  return page - (page % hugePages(kernel.pageTables));
}

/** The pmd table of `page`; null when there is none. */
export function pmdTableOf(mm: MmStruct, page: number): TablePage | null {
  const { pageTables } = mm.kernel;
  return pageTables.lookup(rootTable(mm), page, pageTables.lastLevel - 1);
}

/** Locks the pmd of `page`, whatever it is; the caller lets `lock` of the table go. Null when there is no pmd table. */
export function* pmdLock(current: TaskStruct, mm: MmStruct, page: number): Task<TablePage | null> {
  const table = pmdTableOf(mm, page);
  if (table === null) return null;
  yield* table.lock.lock(current);
  return table;
}

/**
 * Locks the pmd of `page` if it maps a huge page, else null. The entry is in `pageTables.hi` and `lo` then.
 * @see `pmd_trans_huge_lock`
 */
export function* pmdTransHugeLock(current: TaskStruct, mm: MmStruct, page: number): Task<TablePage | null> {
  const table = yield* pmdLock(current, mm, page);
  if (table === null) return null;
  if (isHugeEntry(mm.kernel, table, page)) return table;
  yield* table.lock.unlock(current);
  return null;
}

/** Reads the pmd of `page`: is it a leaf? */
export function isHugeEntry({ pageTables }: Kernel, table: TablePage, page: number): boolean {
  pageTables.read(table, pmdIndex(pageTables, page));
  return (pageTables.flags(table.level) & EntryFlag.Huge) !== 0;
}

/** A table for `depositTable`; null without memory. @see `pte_alloc_one` */
export function allocateDeposit(kernel: Kernel, mm: MmStruct): TablePage | null {
  return allocateTable(kernel, mm, kernel.pageTables.lastLevel);
}

/** Gives a table back that was never deposited. */
export function freeDeposit(kernel: Kernel, mm: MmStruct, table: TablePage): void {
  mm.pgtablesBytes -= TABLE_BYTES;
  freeTable(kernel, table);
}

/** Puts an empty pte table by for a huge page below `pmdTable`, whose lock is held. */
export function depositTable(pmdTable: TablePage, table: TablePage): void {
  pmdTable.deposited.push(table);
}

/** Takes back the oldest table put by; needs the lock. */
export function withdrawTable(pmdTable: TablePage): TablePage {
  const table = pmdTable.deposited.shift();
  if (table === undefined) throw new Error(`${pmdTable.name} has no table put by for its huge page`);
  return table;
}

/** `zap_deposited_table`: with its huge page goes the table that was put by for it. Needs the lock. */
export function zapDeposited(mm: MmStruct, pmdTable: TablePage): void {
  freeDeposit(mm.kernel, mm, withdrawTable(pmdTable));
}
