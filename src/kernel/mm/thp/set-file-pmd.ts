/**
 * One pmd that maps a huge page of a file. No table is put by for it: such a page is never split in place, only unmapped.
 * @see Linux mm/memory.c, `do_set_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { hugePages } from '../page-table.ts';
import { addFileHugeRmap, addMmCounter, mmCounter } from '../rmap.ts';
import type { VmArea } from '../vma.ts';
import { VM_NOHUGEPAGE } from '../vma-flags.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { hugeStart, pmdIndex, pmdLock } from './huge-pmd.ts';
import { HPAGE_PMD_ORDER, thpVmaSuitable } from './policy.ts';

/** A broken page would be mapped with the others, and nobody would be told. @see `folio_test_has_hwpoisoned` */
function hasBrokenPage(frames: FrameTable, head: number): boolean {
  for (let i = 0; i < 2 ** frames.order(head); i++) {
    if (frames.hasFlag(head + i, FrameFlag.HwPoison)) return true;
  }
  return false;
}

/**
 * Maps the folio of `frame`, which belongs at `page`, by the pmd there; the entry takes one reference of the caller's
 * over. The folio is locked. False, and nothing done: it is no huge page, may not be mapped as one in this VMA, or
 * something is there already. Needs a pmd table.
 * @param write a write fault: the entry is dirty and, as the VMA is, writable
 */
export function* doSetPmd(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  frame: number,
  write: boolean,
): Task<boolean> {
  const { kernel } = current;
  const { frames, pageTables } = kernel;
  const start = hugeStart(kernel, page);
  if (frames.order(frame) !== HPAGE_PMD_ORDER || !thpVmaSuitable(vma, start)) return false;
  const head = frames.head(frame);
  if ((vma.flags & VM_NOHUGEPAGE) !== 0 || hasBrokenPage(frames, head)) return false;
  const table = yield* pmdLock(current, vma.mm, page);
  if (table === null) throw new Error(`no pmd table for a huge page of ${vma.name}`);
  const index = pmdIndex(pageTables, page);
  pageTables.read(table, index);
  const empty = pageTables.format.isNone(pageTables.hi, pageTables.lo);
  if (empty) {
    let flags = vmaPageProtection(vma);
    if (write) flags |= EntryFlag.Dirty | maybeWritable(vma);
    addMmCounter(vma.mm, mmCounter(frames, head), hugePages(pageTables));
    addFileHugeRmap(frames, head, vma.mm);
    yield table.setEntry;
    pageTables.setLeaf(table, index, head, flags);
  }
  yield* table.lock.unlock(current);
  return empty;
}
