/**
 * A page whose memory may break before long: its data moves to another frame, and its own is never handed out again.
 * Nobody notices.
 * Left out: huge pages of a pool (-EBUSY), dropping clean pages of files that nobody maps instead of moving them, taking
 * free pages away.
 * @see Linux mm/memory-failure.c, `soft_offline_page`, `soft_offline_in_use_page`, `page_handle_poison`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EBUSY, EIO } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { splitForFailure } from './memory-failure.ts';
import { migrateFolio } from './migrate-folio.ts';
import { folioIsolateLru, folioPutbackLru } from './reclaim/lru.ts';

/**
 * The caller's reference of `frame` goes. 0, also for a frame that is broken already; -EIO: no memory of a program or a
 * file; -EBUSY: somebody holds on to it; -ENOMEM: no other frame.
 */
export function* softOfflinePage(current: TaskStruct, frame: number): Task<number> {
  const { frames } = current.kernel;
  yield frames.refPoint(frame);
  const refused = refusal(current, frame);
  if (refused !== null) {
    frames.put(frame);
    return refused;
  }
  if (frames.isLarge(frame) && !(yield* splitForFailure(current, frame))) {
    frames.put(frame);
    return -EBUSY;
  }
  const isolated = folioIsolateLru(frames, frame);
  yield frames.refPoint(frame);
  frames.put(frame);
  if (!isolated) return -EBUSY;
  const error = yield* migrateFolio(current, frame);
  if (error !== 0) {
    folioPutbackLru(frames, frame);
    return error === -EAGAIN ? -EBUSY : error;
  }
  // The reference of the isolation stays with the frame for ever.
  frames.setFlags(frame, FrameFlag.HwPoison);
  return 0;
}

/** What is told without a look at who uses the page; null: go on. */
function refusal({ kernel: { frames } }: TaskStruct, frame: number): number | null {
  if (frames.isZeroFrame(frame)) return -EIO;
  if (frames.hasFlag(frame, FrameFlag.HwPoison)) return 0;
  return frames.hasFlag(frame, FrameFlag.Hugetlb) ? -EBUSY : null;
}
