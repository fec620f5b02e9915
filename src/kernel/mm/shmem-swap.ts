/**
 * Pages of shared memory in swap: instead of a frame, the page cache notes the slot. Written out by reclaim, read back by
 * whoever looks the page up, given up by truncation.
 * @see Linux mm/shmem.c, `shmem_writeout`, `shmem_swapin_folio`, `shmem_free_swap`
 */
import type { Task } from '../../base/task.ts';
import { EEXIST, EIO, ENOMEM } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import type { SwapArea } from '../frame/swap-area.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioLock, folioUnlock } from './fault/folio-lock.ts';
import {
  folioAllocSwap,
  freeSlotAndCache,
  removeFromSwapCache,
  swapAreaOf,
  swapCacheGetFolio,
} from './swap-cache.ts';
import { SWAPIN_FAILED, swapin } from './swap-in.ts';
import { archSwapRestore, folioWaitWriteback, swapWriteout } from './swap-io.ts';

/**
 * Moves a locked page that nobody maps from its object's cache to swap, writes it and unlocks it. False, the page still
 * locked, when there is no room: it is dirty again.
 */
export function* shmemWriteout(current: TaskStruct, folio: number): Task<boolean> {
  const { kernel } = current;
  const { frames } = kernel;
  const mapping = frames.mapping(folio);
  if (!(mapping instanceof AddressSpace)) throw new Error(`frame 0x${folio.toString(16)} is of no object`);
  if (kernel.swap === null || isBeingReserved(mapping, frames.index(folio))) {
    frames.setFlags(folio, FrameFlag.Dirty);
    return false;
  }
  if (!frames.hasFlag(folio, FrameFlag.Uptodate)) {
    // Reserved by fallocate and never filled.
    kernel.machine.memory.zeroFrame(folio);
    frames.setFlags(folio, FrameFlag.Uptodate);
  }
  if (!(yield* folioAllocSwap(current, folio))) {
    frames.setFlags(folio, FrameFlag.Dirty);
    return false;
  }
  const swap = swapAreaOf(kernel);
  yield mapping.change;
  const slot = swap.slotOf(folio);
  swap.duplicate(slot);
  mapping.moveToSwap(frames, frames.index(folio), swap, slot);
  yield* swapWriteout(current, folio);
  return true;
}

/** Is fallocate at work on the page? It is told that memory is short, since it may have to give the page back. */
function isBeingReserved({ reservation }: AddressSpace, index: number): boolean {
  if (reservation === null || index < reservation.first || index >= reservation.next) return false;
  reservation.wanted++;
  return true;
}

/** What a lookup of a page that lies in swap is told. */
export interface SwapinCount {
  /** It had to be read: a major fault. */
  major: boolean;
}

/**
 * Brings page `index` back from `slot` into the cache: the frame, locked and with a reference; -EEXIST when the page is
 * not there any more (look again), -ENOMEM, -EIO.
 */
export function* shmemSwapinFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  slot: number,
  count: SwapinCount | null = null,
): Task<number> {
  const { kernel } = current;
  const { frames } = kernel;
  const swap = swapAreaOf(kernel);
  let folio = yield* swapCacheGetFolio(current, slot);
  if (folio === -1) {
    if (count !== null) count.major = true;
    folio = yield* swapin(current, null, slot);
    if (folio === SWAPIN_FAILED) return mapping.swapSlotAt(index) === slot ? -ENOMEM : -EEXIST;
  }
  yield* folioLock(current, folio);
  yield mapping.change;
  const still = swap.slotOf(folio) === slot && mapping.swapSlotAt(index) === slot;
  if (!still || !frames.hasFlag(folio, FrameFlag.Uptodate)) {
    yield* folioUnlock(current, folio);
    frames.put(folio);
    return still ? -EIO : -EEXIST;
  }
  // Still on its way out: until it is written it needs its slot.
  yield* folioWaitWriteback(current, folio);
  archSwapRestore(current, folio, slot);
  mapping.forgetSwap(index);
  // The swap cache's reference becomes the page cache's.
  removeFromSwapCache(kernel, folio);
  mapping.add(frames, index, folio);
  frames.setFlags(folio, FrameFlag.Dirty);
  yield swap.change;
  swap.free(slot);
  return folio;
}

/** Gives up the pages `first` to before `end` of the object that lie in swap. */
export function* shmemFreeSwap(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  end: number,
): Task<void> {
  const { swap, frames } = current.kernel;
  if (swap !== null) yield* freeSwapOf(frames, swap, mapping, first, end);
}

/** The same for an object whose last user closes it. @see `shmem_evict_inode` */
export function* shmemEvictSwap(frames: FrameTable, mapping: AddressSpace): Task<void> {
  if (mapping.swap !== null) yield* freeSwapOf(frames, mapping.swap, mapping, 0, Number.POSITIVE_INFINITY);
}

function* freeSwapOf(
  frames: FrameTable,
  swap: SwapArea,
  mapping: AddressSpace,
  first: number,
  end: number,
): Task<void> {
  for (const index of mapping.swappedIndexes(first, end)) {
    yield mapping.change;
    const slot = mapping.swapSlotAt(index);
    // Somebody has brought it back meanwhile: it is a page of the cache now.
    if (slot === 0) continue;
    mapping.forgetSwap(index);
    yield* freeSlotAndCache(frames, swap, slot);
  }
}
