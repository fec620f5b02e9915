/**
 * MADV_DONTNEED of all that a pte table maps gives the table back too (PT_RECLAIM). Others may hold the same mmap_lock or
 * VMA lock for reading meanwhile and walk to the table: who locks it then finds that the pmd has changed.
 * Left out: the short cut of clearing the pmd while the pte lock is still held from zapping.
 * @see Linux mm/pt_reclaim.c, `try_to_free_pte`; mm/memory.c, `zap_pte_range`
 */
import type { Task } from '../../base/task.ts';
import { SINGLE_DEPTH_NESTING } from '../lock/lock-classes.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { MmuGather } from './mmu-gather.ts';
import { hugePages, type PageTables, type TablePage } from './page-table.ts';
import { pmdIndex, pmdLock } from './thp/huge-pmd.ts';

const TABLE_BYTES = 4096;

/** The pte table that the pmd of `page` points to; null when it does not. */
function pteTableBelow(pageTables: PageTables, pmds: TablePage, page: number): TablePage | null {
  pageTables.read(pmds, pmdIndex(pageTables, page));
  const { format, hi, lo } = pageTables;
  return format.isTable(hi, lo, pmds.level) ? pageTables.tableAt(format.frameOf(hi, lo, pmds.level)) : null;
}

function isEmpty(pageTables: PageTables, table: TablePage): boolean {
  for (let index = hugePages(pageTables) - 1; index >= 0; index--) {
    pageTables.read(table, index);
    if (!pageTables.format.isNone(pageTables.hi, pageTables.lo)) return false;
  }
  return true;
}

/** Takes the pte table around `page` out if nothing is in it any more; the gather frees it. */
export function* tryToFreePte(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  gather: MmuGather,
): Task<void> {
  const { pageTables } = mm.kernel;
  const pmds = yield* pmdLock(current, mm, page);
  if (pmds === null) return;
  const table = pteTableBelow(pageTables, pmds, page);
  if (table !== null) {
    // Nested: the pmd's lock first. With it held, the table cannot go away any more.
    yield* table.lock.lock(current, SINGLE_DEPTH_NESTING);
    const empty = isEmpty(pageTables, table);
    if (empty) {
      yield pmds.setEntry;
      pageTables.write(pmds, pmdIndex(pageTables, page), 0, 0);
      gather.addTable(table, page - (page % hugePages(pageTables)));
      mm.pgtablesBytes -= TABLE_BYTES;
    }
    yield* table.lock.unlock(current);
  }
  yield* pmds.lock.unlock(current);
}
