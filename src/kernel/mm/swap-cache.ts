/**
 * Pages that lie in swap and, at the moment, in memory too: a page on its way out, until it is written, and one that
 * came back, until its slot is given up. Whoever holds a swap entry finds the page here first, so that there is never
 * more than one copy in memory.
 * Left out: readahead, shadow entries that say how long a page was away, cgroup accounting.
 * @see Linux mm/swap_state.c; mm/swapfile.c, `folio_alloc_swap`, `folio_free_swap`, `free_swap_and_cache_nr`
 */
import type { Task } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import { NO_SLOT, type SwapArea } from '../frame/swap-area.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { trylockUnwatched, unlockUnwatched } from './fault/folio-lock.ts';

/** The area that a swap entry refers to: entries exist only where there is one. */
export function swapAreaOf({ swap }: Kernel): SwapArea {
  if (swap === null) throw new Error('a swap entry in a kernel without swap');
  return swap;
}

/** Gives the locked folio a slot, and the swap cache a reference of it. False: no swap, or no room. */
export function* folioAllocSwap(current: TaskStruct, folio: number): Task<boolean> {
  const { swap, frames } = current.kernel;
  if (swap === null) return false;
  yield swap.change;
  if (swap.allocate(folio) === NO_SLOT) return false;
  frames.get(folio);
  frames.setFlags(folio, FrameFlag.SwapCache);
  return true;
}

/**
 * Out of the swap cache; the cache's reference is the caller's to drop. One step: yield at the area's `change` first.
 * @see `__swap_cache_del_folio`
 */
export function removeFromSwapCache(kernel: Kernel, folio: number): void {
  swapAreaOf(kernel).removeFromCache(folio);
  kernel.frames.clearFlags(folio, FrameFlag.SwapCache);
}

/**
 * Gives up the slot of a locked folio if no entry refers to it: the page in memory is the only one then, so it is dirty.
 * True when the folio was in the swap cache and is no longer. @see `folio_free_swap`
 */
export function* folioFreeSwap({ kernel }: TaskStruct, folio: number): Task<boolean> {
  return kernel.swap === null ? false : yield* giveUpSlot(kernel.frames, kernel.swap, folio);
}

function* giveUpSlot(frames: FrameTable, swap: SwapArea, folio: number): Task<boolean> {
  if (!frames.hasFlag(folio, FrameFlag.SwapCache)) return false;
  yield swap.change;
  if (frames.hasFlag(folio, FrameFlag.Writeback) || swap.count(swap.slotOf(folio)) > 0) return false;
  swap.removeFromCache(folio);
  frames.clearFlags(folio, FrameFlag.SwapCache);
  frames.setFlags(folio, FrameFlag.Dirty);
  frames.put(folio);
  return true;
}

/** The frame that caches a slot's page, with a reference for the caller; -1 for none. @see `swap_cache_get_folio` */
export function* swapCacheGetFolio(current: TaskStruct, slot: number): Task<number> {
  const { kernel } = current;
  const swap = swapAreaOf(kernel);
  yield swap.change;
  const folio = swap.frameOf(slot);
  if (folio !== -1) kernel.frames.get(folio);
  return folio;
}

/**
 * One swap entry less. With the last, a page that is still in memory gives up its slot, unless it is mapped or in use at
 * the moment; then whoever uses it, or reclaim, does. Does not sleep. @see `free_swap_and_cache_nr`
 */
export function freeSwapAndCache({ kernel }: TaskStruct, slot: number): Task<void> {
  return freeSlotAndCache(kernel.frames, swapAreaOf(kernel), slot);
}

/** The same for those who know no task. */
export function* freeSlotAndCache(frames: FrameTable, swap: SwapArea, slot: number): Task<void> {
  yield swap.change;
  swap.free(slot);
  if (swap.count(slot) > 0) return;
  const folio = swap.frameOf(slot);
  if (folio === -1) return;
  frames.get(folio);
  yield* giveUpUnmapped(frames, swap, folio, swap.full);
  yield frames.refPoint(folio);
  frames.put(folio);
}

/** @see `__try_to_reclaim_swap` with TTRS_UNMAPPED and TTRS_FULL. Needs a reference. */
function* giveUpUnmapped(frames: FrameTable, swap: SwapArea, folio: number, evenMapped: boolean): Task<void> {
  if (!(yield* trylockUnwatched(frames, folio))) return;
  if (evenMapped || !frames.isMapped(folio)) yield* giveUpSlot(frames, swap, folio);
  yield* unlockUnwatched(frames, folio);
}

/** Somebody who unmapped the folio is about to drop his reference: the slot goes too if it can. @see `free_swap_cache` */
export function* freeSwapCache({ kernel }: TaskStruct, folio: number): Task<void> {
  const { frames, swap } = kernel;
  if (swap === null || !frames.hasFlag(folio, FrameFlag.SwapCache) || frames.isMapped(folio)) return;
  yield* giveUpUnmapped(frames, swap, folio, false);
}
