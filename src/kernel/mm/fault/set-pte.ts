/**
 * The pte of a page of a file.
 * @see Linux mm/memory.c, `set_pte_range`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TablePage } from '../page-table.ts';
import { addFileRmap, addNewAnonRmap } from '../rmap.ts';
import { VM_SHARED } from '../vma-flags.ts';
import { entryWritable, maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { FAULT_FLAG_WRITE } from './fault-flags.ts';
import { type VmFault, withOriginalUffdWp } from './vm-fault.ts';

/**
 * Writes one pte for a page of a file or for the private copy of one; the pte takes the caller's reference over.
 * Needs the lock; the caller counts the page.
 */
export function setPte(
  fault: VmFault,
  table: TablePage,
  index: number,
  frame: number,
  prefault: boolean,
): void {
  const { kernel, vma } = fault;
  const { frames, arch } = kernel;
  const write = fault.has(FAULT_FLAG_WRITE);
  let flags = vmaPageProtection(vma);
  if (prefault && arch.wantsOldPrefaultedPte) flags &= ~EntryFlag.Young;
  else flags |= EntryFlag.Young;
  if (write) flags |= EntryFlag.Dirty | maybeWritable(vma);
  else if (entryWritable(flags) && frames.hasFlag(frame, FrameFlag.Dirty)) flags |= EntryFlag.Dirty;
  if (write && (vma.flags & VM_SHARED) === 0) {
    addNewAnonRmap(frames, frame, vma, fault.page);
  } else {
    addFileRmap(frames, frame, vma.mm);
  }
  kernel.pageTables.setLeaf(table, index, frame, withOriginalUffdWp(fault, flags));
}
