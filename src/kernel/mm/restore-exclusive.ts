/**
 * Taking a page back from a device: the entry becomes a pte again, under the folio's lock, which the device has while it is
 * programmed. A fault tells the device first; fork, which has told it already, only tries the lock.
 * @see Linux mm/memory.c, `remove_device_exclusive_entry`, `restore_exclusive_pte`, `try_restore_exclusive_pte`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { EBUSY } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { canChangePteWritable } from './change-protection.ts';
import { endsRun, foldRun } from './contiguous-ptes.ts';
import { folioTrylock, folioUnlock } from './fault/folio-lock.ts';
import { folioLockOrRetry } from './fault/folio-lock-or-retry.ts';
import type { VmFault } from './fault/vm-fault.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from './page-table-alloc.ts';
import { withUffdWp } from './userfaultfd/wp-marker.ts';
import type { VmArea } from './vma.ts';
import { maybeWritable, vmaPageProtection } from './vma-protection.ts';

/** The fault found the entry of `frame`. VM_FAULT_*: 0 to make the access again, or RETRY with the fault's lock let go. */
export function* removeDeviceExclusiveEntry(fault: VmFault, frame: number): Task<number> {
  const { current, kernel, mm, page } = fault;
  const { frames } = kernel;
  const folio = frames.head(frame);
  // Without the table's lock the page may go, and be another's: locking that does no harm.
  yield frames.refPoint(folio);
  if (!frames.tryGet(folio)) return 0;
  const retry = yield* folioLockOrRetry(fault, folio);
  if (retry !== 0) {
    yield* put(fault, folio);
    return retry;
  }
  const range = mmuNotifierRange(mm, page, page + 1, 'clear');
  yield* mmuNotifierStart(current, range);
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table !== null) {
    if (fault.unchanged(table)) yield* restoreExclusivePte(current, fault.vma, table, page, frame);
    yield* pteUnmapUnlock(current, table);
  }
  yield* folioUnlock(current, folio);
  yield* put(fault, folio);
  yield* mmuNotifierEnd(current, range);
  return 0;
}

function* put({ kernel: { frames } }: VmFault, folio: number): Task<void> {
  yield frames.refPoint(folio);
  frames.put(folio);
}

/** With the table's lock held. 0, or -EBUSY: somebody has the folio locked. */
export function* tryRestoreExclusivePte(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  frame: number,
): Task<number> {
  const folio = current.kernel.frames.head(frame);
  if (!(yield* folioTrylock(current, folio))) return -EBUSY;
  yield* restoreExclusivePte(current, vma, table, page, frame);
  yield* folioUnlock(current, folio);
  return 0;
}

/** Old, clean unless the folio is dirty, and writable as mprotect would make it. */
function* restoreExclusivePte(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  frame: number,
): Task<void> {
  const { kernel } = vma.mm;
  const { frames, pageTables } = kernel;
  const index = pteIndex(pageTables, page);
  pageTables.read(table, index);
  const was = pageTables.flags(table.level);
  let flags = (vmaPageProtection(vma) & ~EntryFlag.Young) | (was & EntryFlag.SoftDirty);
  if ((was & EntryFlag.UffdWp) !== 0) flags = withUffdWp(flags);
  const entry: Halves = { hi: 0, lo: 0 };
  pageTables.format.pack(frame, flags, table.level, entry);
  if (canChangePteWritable(vma, entry, table.level)) {
    if (frames.hasFlag(frame, FrameFlag.Dirty)) flags |= EntryFlag.Dirty;
    flags |= maybeWritable(vma);
  }
  // Nothing to flush: nobody could have seen the entry.
  yield table.setEntry;
  pageTables.setLeaf(table, index, frame, flags);
  if (endsRun(kernel, page, frame)) yield* foldRun(current, vma.mm, table, page, frame);
}
