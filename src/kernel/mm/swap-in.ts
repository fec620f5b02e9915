/**
 * Bringing a page back from swap into the swap cache.
 * Left out: readahead of neighbouring slots, large folios.
 * @see Linux mm/swap_state.c, `swap_cache_alloc_folio`, `swapin_readahead`
 */
import type { Task } from '../../base/task.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { allocUserFolio } from './alloc-folio.ts';
import { folioSetLocked } from './fault/folio-lock.ts';
import { folioAddLru } from './reclaim/lru.ts';
import { swapAreaOf, swapCacheGetFolio } from './swap-cache.ts';
import { swapReadFolio } from './swap-io.ts';
import type { VmArea } from './vma.ts';

/** Out of memory; or nobody needs the slot's page any more. */
export const SWAPIN_FAILED = -1;

/**
 * The folio of a slot, with a reference for the caller, in the swap cache when we looked, read if it was not there.
 * The caller locks it and looks again. `SWAPIN_FAILED` without memory, or when the slot is free by now.
 * @param vma whose page it is; null for shared memory
 */
export function* swapin(current: TaskStruct, vma: VmArea | null, slot: number): Task<number> {
  const { kernel } = current;
  const { frames } = kernel;
  const swap = swapAreaOf(kernel);
  for (;;) {
    const cached = yield* swapCacheGetFolio(current, slot);
    if (cached !== -1) return cached;
    if (swap.count(slot) === 0) return SWAPIN_FAILED;
    const folio = yield* allocUserFolio(current, vma, 0, false);
    if (folio === NO_FRAME) return SWAPIN_FAILED;
    yield swap.change;
    if (swap.count(slot) > 0 && swap.frameOf(slot) === -1) {
      folioSetLocked(current, folio);
      frames.setFlags(folio, FrameFlag.SwapBacked | FrameFlag.SwapCache);
      frames.get(folio);
      swap.addToCache(slot, folio);
      folioAddLru(frames, folio);
      yield* swapReadFolio(current, folio);
      return folio;
    }
    frames.put(folio);
  }
}
