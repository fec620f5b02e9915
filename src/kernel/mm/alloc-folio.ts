/**
 * Pages for user space: every anonymous page, copy and page of shared memory comes from here. When memory is used up to
 * the limit, the allocation first makes room itself (direct reclaim); it fails when there is nothing that could go.
 * Left out: watermarks (the last page is handed out like any other), zones, memory cgroups, kswapd.
 * @see Linux mm/page_alloc.c, `__alloc_frozen_pages_slowpath`; include/linux/gfp.h, `vma_alloc_folio`
 */
import type { Task } from '../../base/task.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { VmArea } from './vma.ts';

/** Frames that must go before 2^order more may be in use. */
function framesOverLimit({ frames, config }: Kernel, order: number): number {
  if (config.frameLimit === 0) return 0;
  return frames.frameCount - frames.freeFrames + 2 ** order - config.frameLimit;
}

function takeFrame(kernel: Kernel, vma: VmArea | null, order: number, zeroed: boolean): number {
  const { frames, pageTags } = kernel;
  if (!zeroed) return frames.allocate(order);
  const frame = frames.allocateZeroed(order);
  if (frame === NO_FRAME || vma === null || pageTags === null) return frame;
  for (let i = 0; i < 2 ** order; i++) pageTags.prepareZeroed(frame + i, vma.flagsHigh);
  return frame;
}

/**
 * A folio of 2^order frames with one reference; its first frame, or `NO_FRAME` (-1). May sleep: no spinlock is held.
 * @param vma where it will be mapped: memory tags of a zeroed page are cleared if the VMA has tags. Null: page cache
 * @param zeroed filled with zeros; else it holds anything, and the caller fills all of it
 */
// biome-ignore lint/correctness/useYield: reclaim comes next
export function* allocUserFolio(
  current: TaskStruct,
  vma: VmArea | null,
  order: number,
  zeroed: boolean,
): Task<number> {
  const { kernel } = current;
  return framesOverLimit(kernel, order) <= 0 ? takeFrame(kernel, vma, order, zeroed) : NO_FRAME;
}
