/**
 * Taking a whole huge page out of the page tables.
 * Left out: migration entries in pmds (a folio is split pte by pte here).
 * @see Linux mm/huge_memory.c, `zap_huge_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmuGather } from '../mmu-gather.ts';
import { hugePages } from '../page-table.ts';
import { addMmCounter, mmCounter, removeHugeRmap } from '../rmap.ts';
import type { VmArea } from '../vma.ts';
import { VM_RAND_READ, VM_SEQ_READ } from '../vma-flags.ts';
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
  if (vma.anonymous) zapDeposited(mm, table);
  if (!frames.isHugeZero(frame)) {
    if ((flags & EntryFlag.Present) === 0) throw new Error(`a pmd of ${vma.name} that maps nothing`);
    removeHugeRmap(frames, frame, mm);
    addMmCounter(mm, mmCounter(frames, frame), -hugePages(pageTables));
    if (!vma.anonymous) noteUse(vma, frame, flags);
    gather.addPage(frame);
  }
  yield* table.lock.unlock(current);
  return true;
}

/** What only the entry knew of a file's page. A write that only it knows of must not be lost: here it never is. */
function noteUse({ mm, flags: vmFlags }: VmArea, frame: number, flags: number): void {
  const { frames } = mm.kernel;
  if ((flags & EntryFlag.Dirty) !== 0) frames.setFlags(frame, FrameFlag.Dirty);
  const used = (flags & EntryFlag.Young) !== 0 && (vmFlags & (VM_SEQ_READ | VM_RAND_READ)) === 0;
  if (used) frames.setFlags(frame, FrameFlag.Referenced);
}
