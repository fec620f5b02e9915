/**
 * The entries to remote memory that every debugger interface uses. Which locks are taken is the design's business.
 * @see Linux mm/memory.c, `access_remote_vm` and `access_process_vm`
 */
import type { Task } from '../../base/task.ts';
import { highHalf, lowHalf } from '../../base/u64.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { getTaskMm } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from './design.ts';
import { v0MmapLock } from './designs/v0-mmap-lock.ts';

/**
 * Moves `length` bytes between `buffer` and `address` of `mm`, whose users the caller has a reference to.
 * @param address a byte address, as the caller got it: tag bits are removed
 * @returns bytes moved; every failure is a short count
 */
export function accessRemoteVm(
  current: TaskStruct,
  mm: MmStruct,
  address: bigint,
  buffer: Uint8Array,
  length: number,
  gupFlags: number,
): Task<number> {
  const low = lowHalf(address);
  // Without shifts of bigints, each of which costs as much as a step of the walk.
  const page = (highHalf(address) >>> 0) * 0x10_0000 + (low >>> 12);
  const offset = low & 0xfff;
  const transfer = { mm, page, offset, buffer, length, gupFlags };
  const { remoteAccess, remoteCounters } = current.kernel;
  remoteCounters.calls++;
  const design = remoteAccess ?? v0MmapLock;
  // The design's own task: one generator less to pass every step through.
  if (current.kernel.remoteWatcher === null) return design.accessRemoteVm(current, transfer);
  return watched(current, design, transfer);
}

function* watched(current: TaskStruct, design: RemoteAccessDesign, transfer: RemoteTransfer): Task<number> {
  const { remoteWatcher } = current.kernel;
  remoteWatcher?.begins(current, transfer);
  const moved = yield* design.accessRemoteVm(current, transfer);
  remoteWatcher?.ends(current, moved);
  return moved;
}

/** The same for a task, whose mm is taken for the time of the transfer; 0 when it has none. */
export function* accessProcessVm(
  current: TaskStruct,
  task: TaskStruct,
  address: bigint,
  buffer: Uint8Array,
  length: number,
  gupFlags: number,
): Task<number> {
  const mm = yield* getTaskMm(current, task);
  if (mm === null) return 0;
  const moved = yield* accessRemoteVm(current, mm, address, buffer, length, gupFlags);
  yield* mmput(current, mm);
  return moved;
}
