/**
 * Mapping a page that user space has provided: dirty, writable if the VMA is.
 * @see Linux mm/userfaultfd.c, `mfill_atomic_install_pte`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { pteUnmapUnlock } from '../page-table-alloc.ts';
import { addFileRmap, addMmCounter, addNewAnonRmap, mmCounter } from '../rmap.ts';
import type { VmArea } from '../vma.ts';
import { VM_SHARED } from '../vma-flags.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { lockEmptyPte } from './mfill.ts';
import { withUffdWp } from './wp-marker.ts';

/**
 * Maps `frame`, a page of a file or a new anonymous one; the pte takes over the caller's reference. 0, or -errno with the
 * reference still the caller's: -EAGAIN, -EFAULT (beyond the end of the file), -EEXIST.
 */
export function* mfillInstallPte(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  frame: number,
  writeProtect: boolean,
): Task<number> {
  const { mm } = vma;
  const { frames, pageTables } = mm.kernel;
  const pageOfFile = frames.mapping(frame) !== null;
  const empty = yield* lockEmptyPte(current, vma, page, true);
  if (typeof empty === 'number') return empty;
  let flags = vmaPageProtection(vma) | EntryFlag.Dirty;
  // A page of the file in a private mapping is copied by the first write.
  if (!pageOfFile || (vma.flags & VM_SHARED) !== 0) flags |= maybeWritable(vma);
  if (writeProtect) flags = withUffdWp(flags);
  if (pageOfFile) addFileRmap(frames, frame, mm);
  else {
    frames.setFlags(frame, FrameFlag.Uptodate);
    addNewAnonRmap(frames, frame, vma, page);
  }
  addMmCounter(mm, mmCounter(frames, frame), 1);
  yield empty.table.setEntry;
  pageTables.setLeaf(empty.table, empty.index, frame, flags);
  yield* pteUnmapUnlock(current, empty.table);
  return 0;
}
