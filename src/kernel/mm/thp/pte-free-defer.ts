/**
 * Giving back a pte table that was taken out while others may be on their way to it: who walks through the tables without
 * the locks that would keep it there is in an RCU section or has interrupts off.
 * @see Linux mm/pgtable-generic.c, `pte_free_defer`
 */
import { callRcu } from '../../lock/rcu.ts';
import type { MmStruct } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { freeTable } from '../page-table-alloc.ts';

const TABLE_BYTES = 4096;

/** No entry leads to the table any more. It counts no longer as the mm's (`mm_dec_nr_ptes`). */
export function pteFreeDefer(mm: MmStruct, table: TablePage): void {
  const { kernel } = mm;
  mm.pgtablesBytes -= TABLE_BYTES;
  callRcu(kernel, () => freeTable(kernel, table));
}
