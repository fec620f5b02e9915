/**
 * Reading a page that is present, in a VMA whose own lock is held: the walk, a reference of its own for as long as the copy
 * takes, the copy. Nothing is faulted in and nothing marked accessed.
 * @see Linux mm/pagewalk.c, `folio_walk_start`
 */
import type { Task } from '../../../base/task.ts';
import { localIrqRestore, localIrqSave } from '../../lock/irq.ts';
import {
  FW_INTERRUPTS_OFF,
  FW_VMA_LOCKED,
  FW_ZEROPAGE,
  folioWalkEnd,
  folioWalkStart,
} from '../../mm/folio-walk.ts';
import type { VmArea } from '../../mm/vma.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { copyRemotePage } from '../copy-remote-page.ts';

const NO_PAGE = -1;
const ZERO_PAGE = -2;

/**
 * Copies `bytes` bytes at `offset` of `page` to the buffer from `at` on. False when no page is there.
 * @param interruptsOff during the walk
 */
export function* readPresentPage(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  bytes: number,
  interruptsOff = false,
): Task<boolean> {
  if (interruptsOff) localIrqSave(current);
  const frame = yield* grabPresentPage(current, vma, page, interruptsOff ? FW_INTERRUPTS_OFF : 0);
  if (interruptsOff) localIrqRestore(current);
  if (frame === NO_PAGE) return false;
  const { frames, remoteCounters, copyPoints } = current.kernel;
  if (frame === ZERO_PAGE) {
    // The walk says that it is one, and has no page to copy from.
    buffer.fill(0, at, at + bytes);
    remoteCounters.bytes += bytes;
    current.kernel.remoteWatcher?.copied(current, -1, offset, buffer, at, bytes);
    return true;
  }
  yield copyPoints.of(frame, bytes, false);
  copyRemotePage(current, frame, offset, buffer, at, bytes, false);
  yield frames.refPoint(frame);
  frames.put(frame);
  return true;
}

/** The frame, with a reference taken while the lock of the table kept the entry as it is; or one of the above. */
function* grabPresentPage(current: TaskStruct, vma: VmArea, page: number, flags: number): Task<number> {
  const walk = yield* folioWalkStart(current, vma, page, FW_ZEROPAGE | FW_VMA_LOCKED | flags);
  if (walk === null) return NO_PAGE;
  const { frame } = walk;
  if (frame === -1) {
    yield* folioWalkEnd(current, walk);
    return ZERO_PAGE;
  }
  const { frames } = current.kernel;
  yield frames.refPoint(frame);
  frames.get(frame);
  yield* folioWalkEnd(current, walk);
  return frame;
}
