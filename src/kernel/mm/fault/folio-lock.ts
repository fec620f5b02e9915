/**
 * The folio lock: one bit of the frame's flags. Waiters are not queued: whoever runs first after the release has it.
 * Left out: letting mmap_lock go while waiting (`folio_lock_or_retry`), which only faults that wait for I/O need.
 * @see Linux include/linux/pagemap.h, `folio_lock`, `folio_trylock`, `folio_unlock`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';

export function* folioTrylock(frames: FrameTable, frame: number): Task<boolean> {
  yield frames.refPoint(frame);
  if (frames.hasFlag(frame, FrameFlag.Locked)) return false;
  frames.setFlags(frame, FrameFlag.Locked);
  return true;
}

/** Needs a reference on the frame. */
export function* folioLock(frames: FrameTable, frame: number): Task<void> {
  while (!(yield* folioTrylock(frames, frame))) {
    const { object } = frames.refPoint(frame);
    const free = () => !frames.hasFlag(frame, FrameFlag.Locked);
    yield new SchedPoint(PointKind.Wait, object, 'folio_lock', StepCost.ContextSwitch, free);
  }
}

export function* folioUnlock(frames: FrameTable, frame: number): Task<void> {
  yield frames.refPoint(frame);
  if (!frames.hasFlag(frame, FrameFlag.Locked))
    throw new Error(`frame 0x${frame.toString(16)} is not locked`);
  frames.clearFlags(frame, FrameFlag.Locked);
}
