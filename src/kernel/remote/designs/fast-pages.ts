/**
 * What the designs with a lockless walk have in common: the copy of each page, and giving up.
 */
import type { SchedPoint, Task } from '../../../base/task.ts';
import { FOLL_WRITE } from '../../gup/foll-flags.ts';
import type { FastWalk } from '../../gup/gup-fast-walk.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { copyRemotePage } from '../copy-remote-page.ts';
import type { RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';

const PAGE_SIZE = 4096;

/** The whole transfer by today's code, for a reason that is counted. */
export function fallBack(
  current: TaskStruct,
  transfer: RemoteTransfer,
  reason: RemoteFallback,
): Task<number> {
  current.kernel.remoteCounters.noteFallback(reason);
  return v0MmapLock.accessRemoteVm(current, transfer);
}

/** Why the walk has stopped before its end, or null. */
export function stopReason(walk: FastWalk): RemoteFallback | null {
  if (!walk.isShort) return null;
  return walk.isAbsent ? RemoteFallback.AbsentPage : RemoteFallback.FastWalk;
}

/** Before the transfer's part in its page `number`, from 0, which is `frame`, is copied. */
export function copyPointOf(
  { kernel }: TaskStruct,
  { offset, length, gupFlags }: RemoteTransfer,
  number: number,
  frame: number,
): SchedPoint {
  const bytes = Math.min(length + offset - number * PAGE_SIZE, PAGE_SIZE);
  return kernel.copyPoints.of(frame, number === 0 ? bytes - offset : bytes, (gupFlags & FOLL_WRITE) !== 0);
}

/** The transfer's part in its page `number`, from 0, which is `frame`. */
export function copyPart(current: TaskStruct, transfer: RemoteTransfer, number: number, frame: number): void {
  const { offset, buffer, length, gupFlags } = transfer;
  const skip = number === 0 ? offset : 0;
  const moved = number === 0 ? 0 : number * PAGE_SIZE - offset;
  const bytes = Math.min(length - moved, PAGE_SIZE - skip);
  copyRemotePage(current, frame, skip, buffer, moved, bytes, (gupFlags & FOLL_WRITE) !== 0);
}
