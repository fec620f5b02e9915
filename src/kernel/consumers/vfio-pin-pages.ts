/**
 * How VFIO pins memory for a device: a batch of pages at a time by pin_user_pages_remote, for long; frames of another device
 * (VM_PFNMAP) through a fault made by hand. Runs of frames that lie one behind the other are handed on together, and each run
 * counts as locked memory of the process.
 * Left out: pages that mdev drivers pin one by one (`vfio_pin_pages`), the module parameter disable_hugepages.
 * @see Linux drivers/vfio/vfio_iommu_type1.c, `vaddr_get_pfns`, `follow_fault_pfn`, `vfio_pin_pages_remote`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EFAULT, EINVAL, ENODEV, ENOMEM, ESRCH } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import { fixupUserFault, type MmapUnlocked } from '../gup/fixup-user-fault.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { untaggedPageRemote } from '../gup/get-user-pages-loop.ts';
import { pinUserPagesRemote } from '../gup/get-user-pages-remote.ts';
import { unpinUserPagesDirtyLock } from '../gup/pin.ts';
import { mmapReadLock, mmapReadUnlock, mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import { FAULT_FLAG_REMOTE, FAULT_FLAG_WRITE } from '../mm/fault/fault-flags.ts';
import { followPfnmapEnd, followPfnmapStart } from '../mm/follow-pfnmap.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_PFNMAP } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accountLockedVm, memlockPages } from './pin-accounting.ts';

/** Pages got at once: what a page of pointers holds. */
const VFIO_BATCH_MAX_CAPACITY = 4096 / 8;

/** Pages that were pinned and are not handed on yet (`struct vfio_batch`). */
export class VfioBatch {
  pages: number[] = [];
  offset = 0;

  get size(): number {
    return this.pages.length - this.offset;
  }

  /** The next frame. */
  get frame(): number {
    return this.pages[this.offset] as number;
  }
}

/** What pinning needs to know of a mapping for DMA. */
export interface VfioPinTarget {
  readonly mm: MmStruct;
  readonly task: TaskStruct;
  /** Its creator had CAP_IPC_LOCK: no limit. */
  readonly lockCap: boolean;
  /** The device may write. */
  readonly write: boolean;
  /** Pages of it that are counted. */
  lockedVm: number;
}

/** A run of frames. */
export interface VfioRun {
  firstFrame: number;
  count: number;
}

/** No page of the kernel's: frames of a device, and reserved ones. They are neither pinned nor counted. */
export function isInvalidReservedPfn(frames: FrameTable, frame: number): boolean {
  return !frames.owns(frame) || frames.hasFlag(frame, FrameFlag.Reserved);
}

/** 1 when the frame was pinned, and now is not. @see `put_pfn` */
export function* putPfn(current: TaskStruct, frame: number, write: boolean): Task<number> {
  if (isInvalidReservedPfn(current.kernel.frames, frame)) return 0;
  yield* unpinUserPagesDirtyLock(current, [frame], 1, write);
  return 1;
}

export function* vfioBatchUnpin(current: TaskStruct, batch: VfioBatch, write: boolean): Task<void> {
  for (; batch.size > 0; batch.offset++) yield* putPfn(current, batch.frame, write);
}

/**
 * Counts `pages` (negative: less) as locked memory of the mapping's process. 0, -ENOMEM, -EINTR, or, `async`, -ESRCH when the
 * process is gone, and its count with it.
 */
export function* vfioLockAcct(
  current: TaskStruct,
  target: VfioPinTarget,
  pages: number,
  async: boolean,
): Task<number> {
  if (pages === 0) return 0;
  const { mm, task, lockCap } = target;
  if (async && !(yield* mmgetNotZero(mm))) return -ESRCH;
  let result = yield* mmapWriteLockKillable(current, mm);
  if (result === 0) {
    result = accountLockedVm(current, mm, pages, lockCap ? Number.POSITIVE_INFINITY : memlockPages(task));
    yield* mmapWriteUnlock(current, mm);
  }
  if (result === 0) target.lockedVm += pages;
  if (async) yield* mmput(current, mm);
  return result;
}

/** Pages of the batch, or a run of device frames in `run`: how many, or -errno. */
function* vaddrGetPfns(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  write: boolean,
  batch: VfioBatch,
  run: VfioRun,
): Task<number> {
  const wanted = Math.min(count, VFIO_BATCH_MAX_CAPACITY);
  const flags = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
  yield* mmapReadLock(current, mm);
  const pages: number[] = [];
  const pinned = yield* pinUserPagesRemote(current, mm, startPage, wanted, flags, pages, null);
  let result = pinned === 0 ? -EFAULT : pinned;
  if (pinned > 0) {
    batch.pages = pages.slice(0, pinned);
    batch.offset = 0;
    run.firstFrame = batch.frame;
  } else {
    const page = untaggedPageRemote(current, mm, startPage);
    result = yield* deviceFrames(current, mm, page, write, run, result);
  }
  yield* mmapReadUnlock(current, mm);
  return result;
}

/** Where GUP has refused: a frame that a VM_PFNMAP mapping has. 1, with the frame in `run`, or -errno. */
function* deviceFrames(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  write: boolean,
  run: VfioRun,
  refused: number,
): Task<number> {
  for (;;) {
    const vma = mm.vmas.lookup(page);
    if (vma === null || (vma.flags & VM_PFNMAP) === 0) return refused;
    const error = yield* followFaultPfn(current, vma, mm, page, write, run);
    if (error === -EAGAIN) continue;
    if (error !== 0) return error;
    // A private copy in such a mapping is a page of the kernel's, which nothing here has pinned.
    return isInvalidReservedPfn(current.kernel.frames, run.firstFrame) ? 1 : -EFAULT;
  }
}

/** 0 with the frame in `run`, -EAGAIN when mmap_lock was let go, or -errno. */
function* followFaultPfn(
  current: TaskStruct,
  vma: VmArea,
  mm: MmStruct,
  page: number,
  write: boolean,
  run: VfioRun,
): Task<number> {
  let followed = yield* followPfnmapStart(current, vma, page);
  if (followed === null) {
    const unlocked: MmapUnlocked = { happened: false };
    const faultFlags = FAULT_FLAG_REMOTE | (write ? FAULT_FLAG_WRITE : 0);
    const error = yield* fixupUserFault(current, mm, page, faultFlags, unlocked);
    if (unlocked.happened) return -EAGAIN;
    if (error !== 0) return error;
    followed = yield* followPfnmapStart(current, vma, page);
    if (followed === null) return -EINVAL;
  }
  const refused = write && !followed.writable;
  if (!refused) run.firstFrame = followed.frame;
  yield* followPfnmapEnd(current, followed);
  return refused ? -EFAULT : 0;
}

/** How far a run has come. */
interface Progress {
  readonly run: VfioRun;
  /** No pages of the kernel's. */
  reserved: boolean;
  accounted: number;
}

/**
 * Pins the next run of frames of `count` pages from `page` on: how many, counted as locked memory, or -errno with nothing
 * pinned nor counted. Pages that are pinned and do not belong to the run are left in the batch.
 * @param limit in pages
 */
export function* vfioPinPagesRemote(
  current: TaskStruct,
  target: VfioPinTarget,
  page: number,
  count: number,
  limit: number,
  batch: VfioBatch,
  run: VfioRun,
): Task<number> {
  const { mm } = current;
  if (mm === null) return -ENODEV;
  run.count = 0;
  const progress: Progress = { run, reserved: false, accounted: 0 };
  let step: number = MORE;
  while (run.count < count && step === MORE) {
    if (batch.size === 0) {
      step = yield* refill(current, target, mm, page + run.count, count - run.count, batch, progress);
    }
    if (step === MORE && batch.size > 0) step = takeBatch(current, target, mm, progress, limit, batch);
  }
  if (step >= 0) step = yield* vfioLockAcct(current, target, progress.accounted, false);
  if (step >= 0) return run.count;
  yield* undo(current, target, progress, batch);
  return step;
}

/** How a step ends that is no -errno: the run goes on, or it is whole. */
const MORE = 1;
const WHOLE = 0;

/** Fills the batch, or takes frames of a device, which no batch holds. */
function* refill(
  current: TaskStruct,
  target: VfioPinTarget,
  mm: MmStruct,
  page: number,
  count: number,
  batch: VfioBatch,
  progress: Progress,
): Task<number> {
  const next: VfioRun = { firstFrame: -1, count: 0 };
  const got = yield* vaddrGetPfns(current, mm, page, count, target.write, batch, next);
  if (got < 0) return got;
  if (batch.size > 0) return MORE;
  if (!continues(current, progress, next.firstFrame)) return WHOLE;
  progress.run.count += got;
  return MORE;
}

/** Does the frame go on with the run? The first one begins it. */
function continues({ kernel }: TaskStruct, progress: Progress, frame: number): boolean {
  const { run } = progress;
  const reserved = isInvalidReservedPfn(kernel.frames, frame);
  if (run.count === 0) {
    run.firstFrame = frame;
    progress.reserved = reserved;
    return true;
  }
  return frame === run.firstFrame + run.count && reserved === progress.reserved;
}

/** What of the batch goes on with the run: MORE to its end, WHOLE where another run begins, -ENOMEM above the limit. */
function takeBatch(
  current: TaskStruct,
  { lockCap }: VfioPinTarget,
  mm: MmStruct,
  progress: Progress,
  limit: number,
  batch: VfioBatch,
): number {
  for (; batch.size > 0; batch.offset++) {
    if (!continues(current, progress, batch.frame)) return WHOLE;
    if (!progress.reserved) {
      if (!lockCap && mm.lockedVm + progress.accounted + 1 > limit) return -ENOMEM;
      progress.accounted++;
    }
    progress.run.count++;
  }
  return MORE;
}

function* undo(
  current: TaskStruct,
  { write }: VfioPinTarget,
  { run, reserved }: Progress,
  batch: VfioBatch,
): Task<void> {
  for (let at = 0; !reserved && at < run.count; at++) yield* putPfn(current, run.firstFrame + at, write);
  yield* vfioBatchUnpin(current, batch, write);
}
