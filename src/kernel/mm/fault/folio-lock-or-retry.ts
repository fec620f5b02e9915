/**
 * Locking a folio in a fault: rather than sleep with mmap_lock or a VMA lock held, the first attempt lets it go, waits
 * and has the fault start anew.
 * @see Linux mm/filemap.c, `__folio_lock_or_retry`; include/linux/mm.h, `fault_flag_allow_retry_first`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_TRIED,
  VM_FAULT_RETRY,
} from './fault-flags.ts';
import { releaseFaultLock } from './fault-lock.ts';
import { folioTrylock, noteAcquire, noteReleased, trylockUnwatched } from './folio-lock.ts';
import type { VmFault } from './vm-fault.ts';

/** Waits until the folio is unlocked; false when a fatal signal came first. Needs a reference. */
function* folioWaitLocked(fault: VmFault, folio: number): Task<boolean> {
  const { current, kernel } = fault;
  const { frames } = kernel;
  const killable = fault.has(FAULT_FLAG_KILLABLE);
  const unlocked = (): boolean => !frames.hasFlag(folio, FrameFlag.Locked);
  const ready = killable ? () => unlocked() || current.fatalSignalPending() : unlocked;
  const { object } = frames.refPoint(folio);
  yield new SchedPoint(PointKind.Wait, object, 'folio_wait_locked', StepCost.ContextSwitch, ready);
  return unlocked();
}

/**
 * 0 with the folio locked; or VM_FAULT_RETRY without, the fault's lock let go (not with RETRY_NOWAIT). Needs a reference,
 * which stays.
 */
export function* folioLockOrRetry(fault: VmFault, folio: number): Task<number> {
  if (yield* folioTrylock(fault.current, folio)) return 0;
  if (fault.has(FAULT_FLAG_ALLOW_RETRY) && !fault.has(FAULT_FLAG_TRIED)) {
    if (fault.has(FAULT_FLAG_RETRY_NOWAIT)) return VM_FAULT_RETRY;
    yield* releaseFaultLock(fault);
    yield* folioWaitLocked(fault, folio);
    return VM_FAULT_RETRY;
  }
  noteAcquire(fault.current, folio);
  do {
    if (!(yield* folioWaitLocked(fault, folio))) {
      // Killed, or somebody else was faster: only the first ends the wait.
      if (!fault.current.fatalSignalPending()) continue;
      noteReleased(fault.current, folio);
      yield* releaseFaultLock(fault);
      return VM_FAULT_RETRY;
    }
  } while (!(yield* trylockUnwatched(fault.kernel.frames, folio)));
  return 0;
}
