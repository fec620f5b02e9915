/**
 * Pages for user space: every anonymous page, copy and page of shared memory comes from here. When memory is used up to
 * the limit, the allocation first makes room itself (direct reclaim); it fails when there is nothing that could go.
 * They may lie in any part of memory (GFP_HIGHUSER_MOVABLE), unless the task is pinning pages for long.
 * Left out: watermarks (the last page is handed out like any other), memory cgroups, kswapd; reclaim looks at all parts of
 * memory, whichever is wanted.
 * @see Linux mm/page_alloc.c, `__alloc_frozen_pages_slowpath`; include/linux/gfp.h, `vma_alloc_folio`;
 * arch/arm64/mm/fault.c, `vma_alloc_zeroed_movable_folio`
 */
import type { Task } from '../../base/task.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { tryToFreePages } from './reclaim/direct.ts';
import type { VmArea } from './vma.ts';

/** Larger folios are worth no reclaim: the caller has a way without (`PAGE_ALLOC_COSTLY_ORDER`). */
const PAGE_ALLOC_COSTLY_ORDER = 3;
/** Attempts without any progress before an allocation gives up. @see Linux mm/internal.h, `MAX_RECLAIM_RETRIES` */
const MAX_RECLAIM_RETRIES = 16;

/** Frames that must go before 2^order more may be in use. */
function framesOverLimit({ frames, config }: Kernel, order: number): number {
  if (config.frameLimit === 0) return 0;
  return frames.frameCount - frames.freeFrames + 2 ** order - config.frameLimit;
}

function takeFrame(
  current: TaskStruct,
  vma: VmArea | null,
  order: number,
  zeroed: boolean,
  anywhere: boolean,
): number {
  const { frames, pageTags } = current.kernel;
  const movable = anywhere && !current.memallocPin;
  if (!zeroed) return frames.allocate(order, movable);
  const frame = frames.allocateZeroed(order, movable);
  if (frame === NO_FRAME || vma === null || pageTags === null) return frame;
  for (let i = 0; i < 2 ** order; i++) pageTags.prepareZeroed(frame + i, vma.flagsHigh);
  return frame;
}

/**
 * A folio of 2^order frames with one reference; its first frame, or `NO_FRAME` (-1). May sleep: no spinlock is held.
 * @param vma where it will be mapped: memory tags of a zeroed page are cleared if the VMA has tags. Null: page cache
 * @param zeroed filled with zeros; else it holds anything, and the caller fills all of it
 * @param movable false: the owner will not have it moved (GFP_HIGHUSER)
 */
export function* allocUserFolio(
  current: TaskStruct,
  vma: VmArea | null,
  order: number,
  zeroed: boolean,
  movable = true,
): Task<number> {
  const { kernel } = current;
  if (framesOverLimit(kernel, order) <= 0) {
    const frame = takeFrame(current, vma, order, zeroed, movable);
    if (frame !== NO_FRAME) return frame;
  }
  return order > PAGE_ALLOC_COSTLY_ORDER
    ? NO_FRAME
    : yield* allocSlowly(current, vma, order, zeroed, movable);
}

function* allocSlowly(
  current: TaskStruct,
  vma: VmArea | null,
  order: number,
  zeroed: boolean,
  movable: boolean,
): Task<number> {
  const { kernel } = current;
  for (let failures = 0; failures < MAX_RECLAIM_RETRIES; ) {
    const wanted = Math.max(framesOverLimit(kernel, order), 2 ** order);
    const outcome = yield* tryToFreePages(current, wanted);
    if (framesOverLimit(kernel, order) <= 0) {
      const frame = takeFrame(current, vma, order, zeroed, movable);
      if (frame !== NO_FRAME) return frame;
    }
    if (outcome.reclaimed > 0) failures = 0;
    else if (outcome.contended) failures++;
    else return NO_FRAME;
  }
  return NO_FRAME;
}
