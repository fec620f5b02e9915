/**
 * The end of a write fault on shared memory of a file: the page is dirty from now on. Where that is news, writers may have
 * to wait for the disk, so the lock of the fault is let go before, if it may be: then the fault is over and the caller does
 * not unlock (VM_FAULT_COMPLETED). Memory-only files (tmpfs) have no disk, but take the same way.
 * Left out: the throttling itself, the time stamp of the file, `page_mkwrite`.
 * @see Linux mm/memory.c, `fault_dirty_shared_page`; mm/internal.h, `maybe_unlock_mmap_for_io`
 */
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { fput, getFile } from '../mapped-file.ts';
import { FAULT_FLAG_RETRY_NOWAIT, VM_FAULT_COMPLETED } from './fault-flags.ts';
import { faultFlagAllowRetryFirst, releaseFaultLock } from './fault-lock.ts';
import { folioUnlock } from './folio-lock.ts';
import type { VmFault } from './vm-fault.ts';

/** Needs the page locked and a reference or a mapping on it; unlocks it. 0, or VM_FAULT_COMPLETED with the fault's lock let go. */
export function* faultDirtySharedPage(fault: VmFault, frame: number): Task<number> {
  const { frames } = fault.kernel;
  const dirtied = !frames.hasFlag(frame, FrameFlag.Dirty);
  frames.setFlags(frame, FrameFlag.Dirty);
  // Once it is unlocked it may be truncated.
  const cached = frames.mapping(frame) !== null;
  yield* folioUnlock(fault.current, frame);
  return dirtied && cached ? yield* unlockMmapForIo(fault) : 0;
}

/** Lets the lock go, if another attempt could still be asked for. The file stays, though its mapping may go meanwhile. */
function* unlockMmapForIo(fault: VmFault): Task<number> {
  const { file } = fault.vma;
  if (file === null) throw new Error(`${fault.vma.name} maps a page of no file`);
  if (!faultFlagAllowRetryFirst(fault.flags) || fault.has(FAULT_FLAG_RETRY_NOWAIT)) return 0;
  yield file.countWrite;
  getFile(file);
  yield* releaseFaultLock(fault);
  // `balance_dirty_pages_ratelimited` would wait here.
  yield* fput(fault.kernel.frames, file);
  return VM_FAULT_COMPLETED;
}
