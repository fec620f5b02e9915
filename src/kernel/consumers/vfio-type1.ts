/**
 * VFIO's type 1 IOMMU: a program gives a device some of its memory under addresses of the device's. The pages are pinned until
 * the program takes them back or closes the container.
 * Left out: dirty tracking, VFIO_DMA_MAP_FLAG_VADDR, several IOMMU domains, reserved ranges of IOVAs (all of 64 bits are free).
 * @see Linux drivers/vfio/vfio_iommu_type1.c, `vfio_dma_do_map`, `vfio_dma_do_unmap`, `vfio_pin_map_dma`, v2 of the interface
 */
import type { Task } from '../../base/task.ts';
import { EEXIST, EINVAL, ENODEV, ENOSPC, EOVERFLOW } from '../errno.ts';
import { unpinUserPageRangeDirtyLock } from '../gup/unpin-folio.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';
import { memlockPages } from './pin-accounting.ts';
import { locked, PinningDevice, pageOf } from './pinning-device.ts';
import {
  isInvalidReservedPfn,
  putPfn,
  VfioBatch,
  type VfioPinTarget,
  type VfioRun,
  vfioBatchUnpin,
  vfioLockAcct,
  vfioPinPagesRemote,
} from './vfio-pin-pages.ts';

const U64 = 1n << 64n;
/** The module parameter dma_entry_limit. */
const DMA_ENTRY_LIMIT = 65535;

/** One mapping for the device (`struct vfio_dma`). Bytes. */
interface VfioDma extends VfioPinTarget {
  readonly iova: bigint;
  readonly address: bigint;
  readonly read: boolean;
  /** Frames in the order of the IOVAs; fewer than its size while it is being made. */
  readonly frames: number[];
  /** Some of them are not pages of the kernel's. */
  hasReserved: boolean;
}

/** A container with its IOMMU domain. */
export class VfioContainer extends PinningDevice {
  /** By IOVA, ascending. */
  dmas: VfioDma[] = [];

  override frameAt(iova: bigint, write: boolean): number {
    const dma = this.#find(iova);
    if (dma === undefined || !(write ? dma.write : dma.read)) return -1;
    return dma.frames[pageOf(iova) - pageOf(dma.iova)] ?? -1;
  }

  #find(iova: bigint): VfioDma | undefined {
    return this.dmas.find((dma) => iova >= dma.iova && iova < endOf(dma));
  }

  override *release(current: TaskStruct): Task<void> {
    yield* locked(current, this, removeAll(current, this));
  }
}

const endOf = ({ iova, frames }: VfioDma): bigint => iova + (BigInt(frames.length) << 12n);

function* removeAll(current: TaskStruct, container: VfioContainer): Task<void> {
  for (const dma of [...container.dmas]) yield* removeDma(current, container, dma);
}

export function vfioOpen({ kernel }: TaskStruct): VfioContainer {
  return new VfioContainer(`vfio ${kernel.nextSerial('vfio')}`);
}

/** Arguments of VFIO_IOMMU_MAP_DMA. Bytes; whole pages. */
export interface VfioMapRequest {
  readonly iova: bigint;
  readonly address: bigint;
  readonly bytes: bigint;
  /** What the device may do. */
  readonly read: boolean;
  readonly write: boolean;
}

/**
 * VFIO_IOMMU_MAP_DMA: 0, or -errno with nothing mapped. -EINVAL (empty, not whole pages, neither read nor write), -EOVERFLOW,
 * -EEXIST (overlaps), -ENOSPC (65535 mappings), -ENOMEM (RLIMIT_MEMLOCK with what else is locked, unless CAP_IPC_LOCK),
 * -EFAULT, -EINTR.
 */
export function vfioMapDma(
  current: TaskStruct,
  container: VfioContainer,
  request: VfioMapRequest,
): Task<number> {
  return locked(current, container, mapDma(current, container, request));
}

function mapError(container: VfioContainer, { iova, address, bytes, read, write }: VfioMapRequest): number {
  if (bytes === 0n) return -EINVAL;
  if (iova + bytes > U64 || address + bytes > U64) return -EOVERFLOW;
  if (!read && !write) return -EINVAL;
  if (((bytes | iova | address) & 0xfffn) !== 0n) return -EINVAL;
  if (container.dmas.some((dma) => dma.iova < iova + bytes && endOf(dma) > iova)) return -EEXIST;
  return container.dmas.length >= DMA_ENTRY_LIMIT ? -ENOSPC : 0;
}

function* mapDma(current: TaskStruct, container: VfioContainer, request: VfioMapRequest): Task<number> {
  const invalid = mapError(container, request);
  if (invalid !== 0) return invalid;
  const { mm } = current;
  if (mm === null) return -ENODEV;
  const { iova, address, bytes, read, write } = request;
  const lockCap = current.capable(CAP_IPC_LOCK);
  const dma: VfioDma = {
    mm,
    task: current,
    lockCap,
    write,
    lockedVm: 0,
    iova,
    address,
    read,
    frames: [],
    hasReserved: false,
  };
  yield* mmgrab(mm);
  container.dmas = [...container.dmas, dma].sort((a, b) => (a.iova < b.iova ? -1 : 1));
  const error = yield* pinMapDma(current, dma, Number(bytes >> 12n));
  if (error !== 0) yield* removeDma(current, container, dma);
  return error;
}

/** Pins run after run and gives each to the IOMMU. */
function* pinMapDma(current: TaskStruct, dma: VfioDma, pages: number): Task<number> {
  const { frames } = current.kernel;
  const limit = memlockPages(current);
  const batch = new VfioBatch();
  const run: VfioRun = { firstFrame: -1, count: 0 };
  const start = pageOf(dma.address);
  while (dma.frames.length < pages) {
    const done = dma.frames.length;
    const got = yield* vfioPinPagesRemote(current, dma, start + done, pages - done, limit, batch, run);
    if (got < 0) return got;
    dma.hasReserved ||= isInvalidReservedPfn(frames, run.firstFrame);
    for (let at = 0; at < got; at++) dma.frames.push(run.firstFrame + at);
  }
  yield* vfioBatchUnpin(current, batch, dma.write);
  return 0;
}

/** @see `vfio_remove_dma`, `vfio_unmap_unpin`, `vfio_unpin_pages_remote` */
function* removeDma(current: TaskStruct, container: VfioContainer, dma: VfioDma): Task<void> {
  const { frames, write, mm } = dma;
  let unlocked = 0;
  for (let at = 0; at < frames.length; ) {
    const first = frames[at] as number;
    let count = 1;
    while (frames[at + count] === first + count && !dma.hasReserved) count++;
    if (dma.hasReserved) unlocked += yield* putPfn(current, first, write);
    else yield* unpinUserPageRangeDirtyLock(current, first, count, write);
    if (!dma.hasReserved) unlocked += count;
    at += count;
  }
  // The process may be gone, and its count with it.
  yield* vfioLockAcct(current, dma, -unlocked, true);
  container.dmas = container.dmas.filter((other) => other !== dma);
  yield* mmdrop(mm);
}

/**
 * VFIO_IOMMU_UNMAP_DMA: bytes unmapped, which may be 0, or -errno: -EINVAL (empty, not whole pages, a part of a mapping),
 * -EOVERFLOW.
 * @param all VFIO_DMA_UNMAP_FLAG_ALL: `iova` and `bytes` must be 0
 */
export function vfioUnmapDma(
  current: TaskStruct,
  container: VfioContainer,
  iova: bigint,
  bytes: bigint,
  all: boolean,
): Task<number> {
  return locked(current, container, unmapDma(current, container, iova, bytes, all));
}

function unmapError({ dmas }: VfioContainer, iova: bigint, bytes: bigint, all: boolean): number {
  if ((iova & 0xfffn) !== 0n) return -EINVAL;
  if (all) return iova === 0n && bytes === 0n ? 0 : -EINVAL;
  if (bytes === 0n || (bytes & 0xfffn) !== 0n) return -EINVAL;
  const end = iova + bytes;
  if (end > U64) return -EOVERFLOW;
  const cut = (at: bigint): boolean => dmas.some((dma) => dma.iova < at && endOf(dma) > at);
  return cut(iova) || cut(end) ? -EINVAL : 0;
}

function* unmapDma(
  current: TaskStruct,
  container: VfioContainer,
  iova: bigint,
  bytes: bigint,
  all: boolean,
): Task<number> {
  const invalid = unmapError(container, iova, bytes, all);
  if (invalid !== 0) return invalid;
  const end = all ? U64 : iova + bytes;
  let unmapped = 0;
  for (const dma of container.dmas.filter((each) => each.iova >= iova && endOf(each) <= end)) {
    unmapped += dma.frames.length * 4096;
    yield* removeDma(current, container, dma);
  }
  return unmapped;
}
