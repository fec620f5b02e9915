/**
 * The folio lock: one bit of the frame's flags. Waiters are not queued: whoever runs first after the release has it.
 * Linux's lockdep does not know it, as I/O may end with another task letting it go; here the task that takes it does, so the
 * place it has in the documented order is watched (see lock-classes.ts).
 * Letting mmap_lock go while waiting is `folioLockOrRetry`.
 * @see Linux include/linux/pagemap.h, `folio_lock`, `folio_trylock`, `folio_unlock`, `__folio_set_locked`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { LockMode } from '../../../sched/task.ts';
import { EINTR } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import type { TaskStruct } from '../../task-struct.ts';

export function* folioTrylock(current: TaskStruct, folio: number): Task<boolean> {
  if (!(yield* trylockUnwatched(current.kernel.frames, folio))) return false;
  noteAcquired(current, folio);
  return true;
}

/** Needs a reference on the folio. */
export function* folioLock(current: TaskStruct, folio: number): Task<void> {
  const { frames } = current.kernel;
  noteAcquire(current, folio);
  while (!(yield* trylockUnwatched(frames, folio))) {
    const { object } = frames.refPoint(folio);
    const free = () => !frames.hasFlag(folio, FrameFlag.Locked);
    yield new SchedPoint(PointKind.Wait, object, 'folio_lock', StepCost.ContextSwitch, free);
  }
}

/** 0 with the folio locked, or -EINTR: a fatal signal came first. Needs a reference. @see `folio_lock_killable` */
export function* folioLockKillable(current: TaskStruct, folio: number): Task<number> {
  const { frames } = current.kernel;
  noteAcquire(current, folio);
  while (!(yield* trylockUnwatched(frames, folio))) {
    if (current.fatalSignalPending()) {
      noteReleased(current, folio);
      return -EINTR;
    }
    const { object } = frames.refPoint(folio);
    const ready = () => !frames.hasFlag(folio, FrameFlag.Locked) || current.fatalSignalPending();
    yield new SchedPoint(PointKind.Wait, object, 'folio_lock_killable', StepCost.ContextSwitch, ready);
  }
  return 0;
}

/** A folio that nobody else knows yet. */
export function folioSetLocked(current: TaskStruct, folio: number): void {
  current.kernel.frames.setFlags(folio, FrameFlag.Locked);
  noteAcquired(current, folio);
}

export function* folioUnlock(current: TaskStruct, folio: number): Task<void> {
  yield* unlockUnwatched(current.kernel.frames, folio);
  noteReleased(current, folio);
}

/** The same of a folio that nobody else has come to know: no step. */
export function folioClearLocked(current: TaskStruct, folio: number): void {
  current.kernel.frames.clearFlags(folio, FrameFlag.Locked);
  noteReleased(current, folio);
}

// --- for those who wait for nothing while they have it, and for waits that are not `folioLock`'s ---

/** One attempt, of which lockdep is not told. */
export function* trylockUnwatched(frames: FrameTable, folio: number): Task<boolean> {
  yield frames.refPoint(folio);
  if (frames.hasFlag(folio, FrameFlag.Locked)) return false;
  frames.setFlags(folio, FrameFlag.Locked);
  return true;
}

export function* unlockUnwatched(frames: FrameTable, folio: number): Task<void> {
  yield frames.refPoint(folio);
  if (!frames.hasFlag(folio, FrameFlag.Locked))
    throw new Error(`frame 0x${folio.toString(16)} is not locked`);
  frames.clearFlags(folio, FrameFlag.Locked);
}

/** It is going to be waited for with everything held that is held now. */
export function noteAcquire(current: TaskStruct, folio: number): void {
  const { lockWatcher, kernel } = current;
  lockWatcher?.acquire(current, kernel.frames.folioLock(folio), LockMode.Write, 0, 'folio_lock');
}

/** It is let go, or no longer waited for. */
export function noteReleased(current: TaskStruct, folio: number): void {
  const { lockWatcher, kernel } = current;
  if (lockWatcher === null) return;
  for (const lock of kernel.frames.folioLocksOf(folio)) lockWatcher.release(current, lock);
}

function noteAcquired(current: TaskStruct, folio: number): void {
  const { lockWatcher, kernel } = current;
  lockWatcher?.acquired(current, kernel.frames.folioLock(folio), LockMode.Write, 'folio_trylock');
}
