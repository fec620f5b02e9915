/** For designs that are wrong on purpose: a page found without any lock of its VMA. */
import type { Task } from '../../../../base/task.ts';
import { FW_ZEROPAGE, folioWalkEnd, walkToFolio } from '../../../mm/folio-walk.ts';
import type { MmStruct } from '../../../mm/mm.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import { copyRemotePage } from '../../copy-remote-page.ts';

/** The frame mapped at `page`, with a reference taken under the lock of its table; the zero page without; null when absent. */
export function* grabUnlocked(current: TaskStruct, mm: MmStruct, page: number): Task<number | null> {
  const { frames } = current.kernel;
  const walk = yield* walkToFolio(current, mm, page, FW_ZEROPAGE);
  if (walk === null) return null;
  const frame = walk.frame === -1 ? frames.zeroFrame : walk.frame;
  yield frames.refPoint(frame);
  if (walk.frame !== -1) frames.get(frame);
  yield* folioWalkEnd(current, walk);
  return frame;
}

/** Copies from it, and gives the reference back. */
export function* readGrabbed(
  current: TaskStruct,
  frame: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  bytes: number,
): Task<void> {
  const { frames, copyPoints } = current.kernel;
  yield copyPoints.of(frame, bytes, false);
  copyRemotePage(current, frame, offset, buffer, at, bytes, false);
  if (frames.isZeroFrame(frame)) return;
  yield frames.refPoint(frame);
  frames.put(frame);
}
