/**
 * Taking a whole huge page out of the page tables.
 * Left out: huge pages of files, migration entries in pmds (a folio is split pte by pte here).
 * @see Linux mm/huge_memory.c, `zap_huge_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { MM_ANONPAGES } from '../mm.ts';
import type { MmuGather } from '../mmu-gather.ts';
import { hugePages } from '../page-table.ts';
import { addMmCounter, removeHugeRmap } from '../rmap.ts';
import type { VmArea } from '../vma.ts';
import { pmdIndex, pmdTransHugeLock, zapDeposited } from './huge-pmd.ts';

/** `page` is the first of the huge page. False when there is none any more: look again. */
export function* zapHugePmd(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gather: MmuGather,
): Task<boolean> {
  const { mm } = vma;
  const { frames, pageTables } = mm.kernel;
  const table = yield* pmdTransHugeLock(current, mm, page);
  if (table === null) return false;
  yield table.setEntry;
  // What the hardware set last is in the entry that comes back.
  pageTables.getAndClear(table, pmdIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  const frame = pageTables.frame(table.level);
  gather.noteEntry(page, table.level);
  zapDeposited(mm, table);
  if (!frames.isHugeZero(frame)) {
    if ((flags & EntryFlag.Present) === 0) throw new Error(`a pmd of ${vma.name} that maps nothing`);
    removeHugeRmap(frames, frame, mm);
    addMmCounter(mm, MM_ANONPAGES, -hugePages(pageTables));
    gather.addPage(frame);
  }
  yield* table.lock.unlock(current);
  return true;
}
