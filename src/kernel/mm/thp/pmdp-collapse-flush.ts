/**
 * Taking a pte table out of reach: its pmd is cleared, and the flush covers cached upper entries too, so that no CPU walks
 * through the table any more.
 * @see Linux include/linux/pgtable.h, `pmdp_collapse_flush`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { hugePages, type TablePage } from '../page-table.ts';
import { flushTlbRange } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
import { pmdIndex } from './huge-pmd.ts';

/** `start` is the first page below the pmd; its lock is held. */
export function* pmdpCollapseFlush(
  current: TaskStruct,
  vma: VmArea,
  pmds: TablePage,
  start: number,
): Task<void> {
  const { pageTables } = vma.mm.kernel;
  yield pmds.setEntry;
  pageTables.write(pmds, pmdIndex(pageTables, start), 0, 0);
  const end = start + hugePages(pageTables);
  yield* flushTlbRange(current, vma.mm, start, end, pageTables.format.pageShift, true);
}
