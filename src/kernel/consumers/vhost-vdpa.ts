/**
 * vhost-vdpa: a program gives a virtio device in hardware its memory, message by message. Pages are pinned under one hold of
 * mmap_lock, runs of frames become entries of the device's IOTLB, and all count as pinned memory, which not even CAP_IPC_LOCK
 * frees from the limit.
 * Left out: devices that use virtual addresses, several address spaces of one device, batches, access from the kernel.
 * @see Linux drivers/vhost/vdpa.c, `vhost_vdpa_process_iotlb_update`, `vhost_vdpa_pa_map`, `vhost_vdpa_pa_unmap`
 */
import type { Task } from '../../base/task.ts';
import { EEXIST, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { pinUserPages } from '../gup/get-user-pages.ts';
import { markFolioDirtyLock, unpinUserPage, unpinUserPages } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import type { TaskStruct } from '../task-struct.ts';
import { addPinnedVm, memlockPages, subPinnedVm } from './pin-accounting.ts';
import { locked, PinningDevice, pageOf } from './pinning-device.ts';

/** Pages pinned at once: what a page of pointers holds. */
const PAGES_PER_CALL = 4096 / 8;
const U64 = 1n << 64n;

/** What the device may do. */
type VhostAccess = 'ro' | 'wo' | 'rw';

/** An entry of the IOTLB: frames in a row. Pages. */
interface IotlbMap {
  readonly startPage: number;
  readonly firstFrame: number;
  readonly count: number;
  readonly access: VhostAccess;
}

export class VhostVdpa extends PinningDevice {
  /** Its owner's (VHOST_SET_OWNER): nobody else may send messages. */
  readonly mm: MmStruct;
  iotlb: IotlbMap[] = [];

  constructor(name: string, mm: MmStruct) {
    super(name);
    this.mm = mm;
  }

  override frameAt(iova: bigint, write: boolean): number {
    const page = pageOf(iova);
    const map = this.iotlb.find(({ startPage, count }) => page >= startPage && page < startPage + count);
    if (map === undefined || map.access === (write ? 'ro' : 'wo')) return -1;
    return map.firstFrame + page - map.startPage;
  }

  override *release(current: TaskStruct): Task<void> {
    yield* locked(current, this, removeMaps(current, this, 0, Number.POSITIVE_INFINITY));
    yield* mmdrop(this.mm);
  }
}

export function* vhostVdpaOpen(current: TaskStruct): Task<VhostVdpa> {
  const { kernel, mm } = current;
  if (mm === null) throw new Error(`${current.name} opens a vhost device without an address space`);
  yield* mmgrab(mm);
  return new VhostVdpa(`vdpa ${kernel.nextSerial('vdpa')}`, mm);
}

/** A VHOST_IOTLB_UPDATE message. Bytes. */
export interface IotlbUpdate {
  readonly iova: bigint;
  readonly bytes: bigint;
  readonly address: bigint;
  readonly access: VhostAccess;
}

/**
 * VHOST_IOTLB_UPDATE: 0, or -errno with nothing mapped: -EPERM (not the owner's address space), -EINVAL (empty, wraps), -EEXIST,
 * -ENOMEM (RLIMIT_MEMLOCK; or a page of the middle that cannot be had), -EFAULT.
 */
export function vhostIotlbUpdate(current: TaskStruct, device: VhostVdpa, update: IotlbUpdate): Task<number> {
  return locked(current, device, processUpdate(current, device, update));
}

function* processUpdate(current: TaskStruct, device: VhostVdpa, update: IotlbUpdate): Task<number> {
  const { iova, bytes } = update;
  if (device.mm !== current.mm) return -EPERM;
  if (bytes === 0n || iova > U64 - bytes) return -EINVAL;
  const last = pageOf(iova + bytes - 1n);
  const overlaps = ({ startPage, count }: IotlbMap): boolean =>
    startPage <= last && startPage + count > pageOf(iova);
  if (device.iotlb.some(overlaps)) return -EEXIST;
  yield* mmapReadLock(current, device.mm);
  const error = yield* paMap(current, device, update);
  yield* mmapReadUnlock(current, device.mm);
  return error;
}

function* paMap(current: TaskStruct, device: VhostVdpa, update: IotlbUpdate): Task<number> {
  const { iova, bytes, address, access } = update;
  const count = Number((bytes + (iova & 0xfffn) + 0xfffn) >> 12n);
  yield device.mm.pinnedVmWrite;
  if (device.mm.pinnedVm + count > memlockPages(current)) return -ENOMEM;
  const flags = FOLL_LONGTERM | (access === 'ro' ? 0 : FOLL_WRITE);
  const frames: number[] = [];
  let error = 0;
  while (frames.length < count && error === 0) {
    const wanted = Math.min(count - frames.length, PAGES_PER_CALL);
    const part: number[] = [];
    const got = yield* pinUserPages(current, pageOf(address) + frames.length, wanted, flags, part);
    for (let at = 0; at < got; at++) frames.push(part[at] as number);
    if (got !== wanted) error = got < 0 ? got : -ENOMEM;
  }
  if (error !== 0) {
    yield* unpinUserPages(current, frames, frames.length);
    return error;
  }
  yield* addMaps(device, pageOf(iova), frames, access);
  return 0;
}

/** One entry for each run of frames. */
function* addMaps(
  device: VhostVdpa,
  startPage: number,
  frames: readonly number[],
  access: VhostAccess,
): Task<void> {
  for (let at = 0; at < frames.length; ) {
    const firstFrame = frames[at] as number;
    let count = 1;
    while (frames[at + count] === firstFrame + count) count++;
    device.iotlb.push({ startPage: startPage + at, firstFrame, count, access });
    yield* addPinnedVm(device.mm, count);
    at += count;
  }
}

/** VHOST_IOTLB_INVALIDATE: every entry that the range touches goes, as a whole. 0 or -EPERM. */
export function vhostIotlbInvalidate(
  current: TaskStruct,
  device: VhostVdpa,
  iova: bigint,
  bytes: bigint,
): Task<number> {
  return locked(current, device, processInvalidate(current, device, iova, bytes));
}

function* processInvalidate(
  current: TaskStruct,
  device: VhostVdpa,
  iova: bigint,
  bytes: bigint,
): Task<number> {
  if (device.mm !== current.mm) return -EPERM;
  if (bytes > 0n) yield* removeMaps(current, device, pageOf(iova), pageOf(iova + bytes - 1n));
  return 0;
}

function* removeMaps(current: TaskStruct, device: VhostVdpa, first: number, last: number): Task<void> {
  const touched = ({ startPage, count }: IotlbMap): boolean => startPage <= last && startPage + count > first;
  const gone = device.iotlb.filter(touched);
  device.iotlb = device.iotlb.filter((map) => !touched(map));
  for (const { firstFrame, count, access } of gone) {
    for (let frame = firstFrame; frame < firstFrame + count; frame++) {
      if (access !== 'ro') yield* markFolioDirtyLock(current, frame);
      yield* unpinUserPage(current, frame);
    }
    yield* subPinnedVm(device.mm, count);
  }
}
