/**
 * Which part of memory a block of frames comes from. At the top of memory may lie a part that must stay movable
 * (ZONE_MOVABLE), below it an area that only movable memory may use until a driver wants all of it (CMA); the rest is for
 * everything. Pages of user space go to the movable part first, then to the rest, and to CMA when that has more free frames
 * than half of what is free, or nothing else is left. What the kernel itself needs never goes to either.
 * Left out: NUMA nodes, DMA zones, other migrate types, watermarks, allocating the area itself (`cma_alloc`).
 * @see Linux mm/page_alloc.c, `__rmqueue`; include/linux/mmzone.h, `enum zone_type`, `enum migratetype`; mm/cma.c
 */
import type { SpareParts } from '../../hardware/spare-parts.ts';
import { BuddyAllocator, NO_FRAME } from './buddy.ts';

/** `normal` memory may be pinned for long. */
export type Zone = 'normal' | 'cma' | 'movable';

export interface ZoneSizes {
  /** Frames of ZONE_MOVABLE (kernelcore=, movablecore=); default none. */
  readonly movableFrames?: number;
  /** Frames of the CMA area (cma=); default none. */
  readonly cmaFrames?: number;
}

const renewAllocator = (allocator: BuddyAllocator): void => allocator.renew();

export class Zones {
  readonly normal: BuddyAllocator;
  readonly cma: BuddyAllocator | null;
  readonly movable: BuddyAllocator | null;
  /** First frame that is not `normal`. */
  readonly #normalEnd: number;
  readonly #cmaEnd: number;

  /** @throws RangeError when no frame is left for the kernel */
  constructor(
    firstFrame: number,
    frameCount: number,
    { movableFrames = 0, cmaFrames = 0 }: ZoneSizes,
    parts: SpareParts,
  ) {
    const allocator = (first: number, count: number): BuddyAllocator =>
      parts.take('buddy allocator', () => new BuddyAllocator(first, count), renewAllocator);
    const normal = frameCount - movableFrames - cmaFrames;
    this.#normalEnd = firstFrame + normal;
    this.#cmaEnd = this.#normalEnd + cmaFrames;
    this.normal = allocator(firstFrame, normal);
    this.cma = cmaFrames === 0 ? null : allocator(this.#normalEnd, cmaFrames);
    this.movable = movableFrames === 0 ? null : allocator(this.#cmaEnd, movableFrames);
  }

  /** Frames that are free. */
  get freeFrames(): number {
    return this.normal.freeFrames + (this.cma?.freeFrames ?? 0) + (this.movable?.freeFrames ?? 0);
  }

  zoneOf(frame: number): Zone {
    if (frame < this.#normalEnd) return 'normal';
    return frame < this.#cmaEnd ? 'cma' : 'movable';
  }

  /** The first frame of a block of 2^order, or `NO_FRAME`. @param movable __GFP_MOVABLE: it may lie in any part */
  allocate(order: number, movable: boolean): number {
    if (!movable || (this.movable === null && this.cma === null)) return this.normal.allocate(order);
    const frame = this.movable?.allocate(order) ?? NO_FRAME;
    return frame === NO_FRAME ? this.#allocateNormalOrCma(order) : frame;
  }

  #allocateNormalOrCma(order: number): number {
    const { normal, cma } = this;
    if (cma === null) return normal.allocate(order);
    const [first, second] = cma.freeFrames > normal.freeFrames ? [cma, normal] : [normal, cma];
    const frame = first.allocate(order);
    return frame === NO_FRAME ? second.allocate(order) : frame;
  }

  free(frame: number, order: number): void {
    const zone = this.zoneOf(frame);
    const buddy = zone === 'normal' ? this.normal : zone === 'cma' ? this.cma : this.movable;
    buddy?.free(frame, order);
  }
}
