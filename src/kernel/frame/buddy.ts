/**
 * The buddy allocator of one contiguous range of frames: blocks of 2^0 … 2^10 frames, aligned to their size, split
 * when a smaller one is needed and joined with their buddy when both are free. The same calls give the same frames:
 * the block freed last is handed out first, and of a block that is split, the lower half. Memory that was never used
 * lies above a mark and costs nothing, so that making an allocator costs the same for any amount of memory.
 * Left out: zones, migrate types, per-CPU lists, watermarks, reclaim.
 * @see Linux mm/page_alloc.c, `__rmqueue_smallest`, `expand`, `__free_one_page`
 */

/** The largest block has 2^MAX_PAGE_ORDER frames (Linux's name and value: 4 MiB). */
export const MAX_PAGE_ORDER = 10;

/** No frame: allocation failed. */
export const NO_FRAME = -1;

const NOT_FREE = -1;
const INITIAL_CAPACITY = 256;

export class BuddyAllocator {
  readonly firstFrame: number;
  readonly frameCount: number;
  /** Frames that are free, used before or not. */
  freeFrames: number;
  /** Index of the first frame that was never in a list; everything from here on is free. */
  #mark = 0;
  /** Per order, index of the free block to hand out next; -1 for none. */
  readonly #lists = new Int32Array(MAX_PAGE_ORDER + 1).fill(-1);
  /** By index of a block's first frame: its order while it is in a list. */
  #freeOrder = new Int8Array(INITIAL_CAPACITY).fill(NOT_FREE);
  #next = new Int32Array(INITIAL_CAPACITY);
  #previous = new Int32Array(INITIAL_CAPACITY);

  /** Frames `firstFrame` … `firstFrame + frameCount - 1`, all free. At most 2^31 - 1 frames. */
  constructor(firstFrame: number, frameCount: number) {
    if (frameCount < 1 || frameCount > 0x7fff_ffff) throw new RangeError(`${frameCount} frames`);
    this.firstFrame = firstFrame;
    this.frameCount = frameCount;
    this.freeFrames = frameCount;
  }

  /** As it was made: all frames are free. */
  renew(): void {
    this.freeFrames = this.frameCount;
    this.#mark = 0;
    this.#lists.fill(-1);
    this.#freeOrder.fill(NOT_FREE);
  }

  /** A block of 2^order frames: its first frame, aligned to its size; `NO_FRAME` when there is none. */
  allocate(order: number): number {
    if (order < 0 || order > MAX_PAGE_ORDER) throw new RangeError(`order ${order}`);
    for (;;) {
      for (let from = order; from <= MAX_PAGE_ORDER; from++) {
        const index = this.#lists[from] as number;
        if (index !== -1) {
          this.#unlink(index, from);
          this.#giveBackUpperHalves(index, from, order);
          this.freeFrames -= 2 ** order;
          return this.firstFrame + index;
        }
      }
      if (!this.#raiseMark()) return NO_FRAME;
    }
  }

  /**
   * A block of any order, aligned to its size, as a machine that has just started can give: one larger than the lists
   * know comes from memory that was never used, and what is skipped for its alignment goes to the lists. Larger blocks
   * are not given back. `NO_FRAME` when there is none.
   * @see Linux mm/page_alloc.c, `alloc_contig_pages`; mm/cma.c
   */
  allocateContiguous(order: number): number {
    if (order <= MAX_PAGE_ORDER) return this.allocate(order);
    const size = 2 ** order;
    const first = Math.ceil((this.firstFrame + this.#mark) / size) * size - this.firstFrame;
    if (first + size > this.frameCount) return NO_FRAME;
    while (this.#mark < first) this.#raiseMark();
    this.#mark += size;
    this.#grow();
    this.freeFrames -= size;
    return this.firstFrame + first;
  }

  /**
   * Gives a block back: its first frame and order as allocated, or any aligned part of it.
   * @throws Error when a part of it is free already
   */
  free(frame: number, order: number): void {
    let index = frame - this.firstFrame;
    let size = 2 ** order;
    if (index < 0 || index + size > this.#mark || frame % size !== 0) {
      throw new Error(`0x${frame.toString(16)} order ${order} is no block of this allocator`);
    }
    if (this.isFree(frame)) throw new Error(`frame 0x${frame.toString(16)} is freed twice`);
    this.freeFrames += size;
    let joined = order;
    while (joined < MAX_PAGE_ORDER) {
      const buddy = ((this.firstFrame + index) / size) % 2 === 0 ? index + size : index - size;
      if (buddy < 0 || buddy >= this.#mark || this.#freeOrder[buddy] !== joined) break;
      this.#unlink(buddy, joined);
      if (buddy < index) index = buddy;
      size *= 2;
      joined++;
    }
    this.#link(index, joined);
  }

  /** Is the frame in no allocated block? */
  isFree(frame: number): boolean {
    const index = frame - this.firstFrame;
    if (index < 0 || index >= this.frameCount) return false;
    if (index >= this.#mark) return true;
    for (let order = 0; order <= MAX_PAGE_ORDER; order++) {
      const size = 2 ** order;
      const head = index - (frame % size);
      if (head >= 0 && this.#freeOrder[head] === order) return true;
    }
    return false;
  }

  /** Free blocks per order, the unused memory above the mark not counted (as in /proc/buddyinfo). */
  freeBlocks(): number[] {
    const counts: number[] = [];
    for (let order = 0; order <= MAX_PAGE_ORDER; order++) {
      let count = 0;
      for (let index = this.#lists[order] as number; index !== -1; index = this.#next[index] as number)
        count++;
      counts.push(count);
    }
    return counts;
  }

  /** Frames above the mark: free and never handed out. */
  get untouchedFrames(): number {
    return this.frameCount - this.#mark;
  }

  #giveBackUpperHalves(index: number, from: number, order: number): void {
    for (let half = from - 1; half >= order; half--) this.#link(index + 2 ** half, half);
  }

  /** Moves the next aligned block of unused memory into the lists; false when there is none left. */
  #raiseMark(): boolean {
    const left = this.frameCount - this.#mark;
    if (left === 0) return false;
    const frame = this.firstFrame + this.#mark;
    let order = 0;
    let size = 1;
    while (order < MAX_PAGE_ORDER && frame % (2 * size) === 0 && 2 * size <= left) {
      order++;
      size *= 2;
    }
    const index = this.#mark;
    this.#mark += size;
    this.#grow();
    this.#link(index, order);
    return true;
  }

  #grow(): void {
    let capacity = this.#freeOrder.length;
    if (capacity >= this.#mark) return;
    while (capacity < this.#mark) capacity *= 2;
    const old = this.#freeOrder;
    this.#freeOrder = new Int8Array(capacity).fill(NOT_FREE, old.length);
    this.#freeOrder.set(old);
    const { buffer: next } = this.#next;
    this.#next = new Int32Array(capacity);
    this.#next.set(new Int32Array(next));
    const { buffer: previous } = this.#previous;
    this.#previous = new Int32Array(capacity);
    this.#previous.set(new Int32Array(previous));
  }

  #link(index: number, order: number): void {
    const head = this.#lists[order] as number;
    this.#freeOrder[index] = order;
    this.#next[index] = head;
    this.#previous[index] = -1;
    if (head !== -1) this.#previous[head] = index;
    this.#lists[order] = index;
  }

  #unlink(index: number, order: number): void {
    const next = this.#next[index] as number;
    const previous = this.#previous[index] as number;
    this.#freeOrder[index] = NOT_FREE;
    if (next !== -1) this.#previous[next] = previous;
    if (previous === -1) this.#lists[order] = next;
    else this.#next[previous] = next;
  }
}
