/**
 * Finding, or making, the page of a tmpfs object: what faults, reads, writes and fallocate do first. A page comes back
 * locked and with a reference. A page that fallocate reserved holds nothing yet (it is not uptodate): readers take it
 * for a hole, and the first other user zeroes it, except a writer, who fills it.
 * A fault may be given a huge page, where `shmem_enabled` allows it and nothing is cached there yet.
 * Left out: huge pages for writes and fallocate, quotas, charging.
 * @see Linux mm/shmem.c, `shmem_get_folio_gfp`, `shmem_alloc_and_add_folio`, `shmem_add_to_page_cache`; include/linux/shmem_fs.h, `enum sgp_type`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EEXIST, EINVAL, ENOENT, ENOMEM } from '../errno.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { NO_SLOT } from '../frame/swap-area.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { allocUserFolio } from './alloc-folio.ts';
import { folioLock, folioSetLocked, folioUnlock } from './fault/folio-lock.ts';
import type { VmFault } from './fault/vm-fault.ts';
import { folioAddLru } from './reclaim/lru.ts';
import { shmemSwapinFolio } from './shmem-swap.ts';
import { shmemAddHugeFolio } from './thp/shmem-huge-folio.ts';
import { isUserfault } from './userfaultfd/shmem-userfault.ts';

/** What the page is wanted for, in this order: see `mayAllocate`, `withinSize`. */
export const Sgp = {
  /** To be read: a hole stays a hole. */
  Read: 0,
  /** If it is there. */
  NoAlloc: 1,
  /** To be mapped, or used as it is: within the object's size. */
  Cache: 2,
  /** To be written, also beyond the size; a new page is for the writer to fill. */
  Write: 3,
  /** To be reserved. */
  Falloc: 4,
} as const;
export type Sgp = (typeof Sgp)[keyof typeof Sgp];

const mayAllocate = (sgp: Sgp): boolean => sgp > Sgp.NoAlloc;
const withinSize = (sgp: Sgp): boolean => sgp <= Sgp.Cache;

/**
 * The page of an object at `index`, with a reference and locked, or a negative errno: -EINVAL (beyond the object's size,
 * where that matters), -ENOENT (a hole, of `Read` and `NoAlloc`), -ENOMEM, -EIO; -EAGAIN (user space has to resolve the fault).
 * @param fault for which the page is wanted, if it is for one
 */
export function* shmemGetFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  sgp: Sgp,
  fault: VmFault | null = null,
): Task<number> {
  for (;;) {
    yield mapping.change;
    const hole = mapping.frameAt(index) === -1 && mapping.swapSlotAt(index) === NO_SLOT;
    const refused = refusal(mapping, index, sgp, fault, hole);
    if (refused !== 0) return refused;
    const frame = yield* lockFolio(current, mapping, index, fault);
    if (frame === -EEXIST) continue;
    if (frame < 0) return frame;
    const error = yield* makeReady(current, mapping, index, frame, sgp, hole);
    return error === 0 ? frame : error;
  }
}

/** Why the page is not looked for any further; 0: it is. */
function refusal(
  mapping: AddressSpace,
  index: number,
  sgp: Sgp,
  fault: VmFault | null,
  hole: boolean,
): number {
  if (withinSize(sgp) && index >= mapping.sizePages) return -EINVAL;
  if (fault !== null && isUserfault(fault.vma, !hole)) return -EAGAIN;
  return hole && !mayAllocate(sgp) ? -ENOENT : 0;
}

/** The page as it is, or from swap, or a new one; locked and with a reference. -ENOMEM; -EEXIST: look again. */
function lockFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  fault: VmFault | null,
): Task<number> {
  if (mapping.frameAt(index) !== -1) return lockCached(current, mapping, index);
  const slot = mapping.swapSlotAt(index);
  if (slot !== NO_SLOT) return shmemSwapinFolio(current, mapping, index, slot, fault);
  return addFolio(current, mapping, index, fault);
}

/** What the page, which is locked, must be for its purpose. 0; or a negative errno, and it is let go. */
function* makeReady(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  frame: number,
  sgp: Sgp,
  isNew: boolean,
): Task<number> {
  if (withinSize(sgp) && index >= mapping.sizePages) {
    // Truncated meanwhile; what was added after the truncation went over the pages would stay for ever.
    yield* takeBack(current, mapping, frame, isNew ? index : -1);
    return -EINVAL;
  }
  if (current.kernel.frames.hasFlag(frame, FrameFlag.Uptodate)) return 0;
  if (sgp === Sgp.Read) {
    yield* takeBack(current, mapping, frame, -1);
    return -ENOENT;
  }
  // A writer fills it himself, and of new pages fallocate only reserves.
  if (sgp !== Sgp.Write && !(isNew && sgp === Sgp.Falloc)) makeUptodate(current.kernel, frame);
  return 0;
}

/** Unlocks the page and drops our reference; out of the cache with it where `index` is not -1. */
function* takeBack(current: TaskStruct, mapping: AddressSpace, frame: number, index: number): Task<void> {
  const { frames } = current.kernel;
  if (index !== -1) {
    yield mapping.change;
    mapping.remove(frames, index);
  }
  yield* folioUnlock(current, frame);
  frames.put(frame);
}

/** The cached page at `index`, locked; -EEXIST when it went or changed while we waited: look again. */
function* lockCached(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { frames } = current.kernel;
  const frame = mapping.frameAt(index);
  frames.get(frame);
  yield* folioLock(current, frame);
  if (mapping.frameAt(index) === frame) return frame;
  yield* folioUnlock(current, frame);
  frames.put(frame);
  return -EEXIST;
}

/** Zeroes a page that holds nothing yet; of a huge one, all of it. */
function makeUptodate({ frames, machine }: Kernel, frame: number): void {
  const head = frames.head(frame);
  for (let i = 0; i < 2 ** frames.order(head); i++) machine.memory.zeroFrame(head + i);
  frames.setFlags(head, FrameFlag.Uptodate);
}

/** A new page in the cache, locked, not uptodate, with a reference for the caller. -ENOMEM; -EEXIST: look again. */
function* addFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  fault: VmFault | null,
): Task<number> {
  const { frames } = current.kernel;
  if (fault !== null && mapping.shmem) {
    const huge = yield* shmemAddHugeFolio(current, mapping, index, fault);
    if (huge !== NO_FRAME) return huge;
  }
  const frame = yield* allocUserFolio(current, null, 0, false);
  if (frame === NO_FRAME) return -ENOMEM;
  yield mapping.change;
  if (mapping.frameAt(index) !== -1 || mapping.swapSlotAt(index) !== NO_SLOT) {
    frames.put(frame);
    return -EEXIST;
  }
  folioSetLocked(current, frame);
  if (mapping.shmem) frames.setFlags(frame, FrameFlag.SwapBacked);
  folioAddLru(frames, frame);
  mapping.add(frames, index, frame);
  frames.get(frame);
  return frame;
}

/**
 * Was the page ever written, by a store through a mapping, a write, fallocate or userfaultfd? One that was not holds
 * zeros and nothing else: without swap, reclaim drops it and keeps those that were. A store that only a pte knows of
 * counts when the pte goes.
 */
export function folioEverWritten({ frames }: Kernel, frame: number): boolean {
  return frames.hasFlag(frame, FrameFlag.Dirty);
}
