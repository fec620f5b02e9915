/**
 * The pte by which a VMA maps a page, found from the page: one step of a walk through everybody who maps it.
 * Left out: huge pages, migration entries.
 * @see Linux mm/page_vma_mapped.c, `page_vma_mapped_walk`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { pteIndex, type TablePage } from '../page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import type { VmArea } from '../vma.ts';

/** The locked pte table in which `page` maps `frame`, the pte having been read; null, nothing locked, when it does not. */
export function* lockMappedPte(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  frame: number,
): Task<TablePage | null> {
  const { pageTables } = vma.mm.kernel;
  const table = yield* pteOffsetMapLock(current, vma.mm, page);
  if (table === null) return null;
  pageTables.read(table, pteIndex(pageTables, page));
  const present = (pageTables.flags(table.level) & EntryFlag.Present) !== 0;
  if (present && pageTables.frame(table.level) === frame) return table;
  yield* pteUnmapUnlock(current, table);
  return null;
}
