/**
 * Every frame of memory that the kernel manages: allocating it, references, pins. A frame goes back to the
 * allocator in the very step in which its reference count reaches 0; a count that would become negative is our mistake and
 * throws, one that becomes too large wraps around as Linux's does, and nobody gets a reference any more.
 * A block of more than one frame (order > 0) is one folio: references and pins are counted at its first frame, map
 * counts per frame and for the whole.
 * Left out: NUMA nodes, memory control groups; the table covers one contiguous range of frames.
 * @see Linux include/linux/mm_types.h `struct page`, include/linux/page_ref.h, mm/gup.c `try_grab_folio`
 */
import { hashText } from '../../base/footprint.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { SpareParts } from '../../hardware/spare-parts.ts';
import { NO_FRAME } from './buddy.ts';
import { FrameFlag, PER_FRAME_FLAGS } from './frame-flags.ts';
import { FrameMapCounts } from './frame-map-counts.ts';
import { LruLists } from './lru-lists.ts';
import { type Zone, type ZoneSizes, Zones } from './zones.ts';

/** A pin counts as this many references on a folio of one frame. @see include/linux/mm.h */
export const GUP_PIN_COUNTING_BIAS = 1024;

/** Told of every allocation and free; changes nothing. */
export interface FrameObserver {
  allocated(frame: number, order: number): void;
  freed(frame: number, order: number): void;
}

export interface FrameTableInit extends ZoneSizes {
  readonly memory: PhysicalMemory;
  readonly firstFrame: number;
  readonly frameCount: number;
  /** Fill freed frames with 0xaa (`page_poison=1`), so that a read through a stale translation is seen as such. */
  readonly poisonFreed?: boolean;
  /** Where parts come from that an earlier board had; default: all are new. */
  readonly parts?: SpareParts;
}

const renewLists = (lru: LruLists): void => lru.renew();

/** Points kept of frames that are free: a schedule names few frames, a large process has many. */
const MOST_POINTS = 4096;
/** Free frames with which an allocation cannot fail. */
const MANY_FREE = 4096;
/** Key of footprints. The schedule's failing allocation is at an object of this name. */
const ALLOCATOR = hashText('allocator');
/** @see Linux include/linux/poison.h, `PAGE_POISON` */
const PAGE_POISON = 0xaa;

export class FrameTable extends FrameMapCounts {
  readonly frameCount: number;
  readonly #zones: Zones;
  /** Pins taken and given back so far by GUP, each as often as pages were handed out (NR_FOLL_PIN_ACQUIRED, _RELEASED). */
  pinsAcquired = 0;
  pinsReleased = 0;
  override readonly zeroFrame: number;
  /** First frames of large anonymous folios of which a part is mapped no more: worth splitting when memory is short. */
  get deferredSplit(): Set<number> {
    this.#deferredSplit ??= new Set();
    return this.#deferredSplit;
  }
  #deferredSplit: Set<number> | null = null;
  /** The lists of reclaim; a folio that is freed leaves its list. */
  readonly lru: LruLists;
  observer: FrameObserver | null = null;
  /** Somebody looks at how much is in use, or fails allocations: their order counts. */
  scarce = false;
  /** The next allocation fails, as if there were no memory. */
  failsNext = false;
  /** Told of a huge page whose last reference is gone; its pool sets it (`free_huge_folio`). */
  freeHugetlb: ((frame: number, order: number) => void) | null = null;
  readonly #memory: PhysicalMemory;
  readonly #poison: Uint8Array | null;

  /** Takes one frame at once, for the zero page. */
  constructor(init: FrameTableInit) {
    const { parts = new SpareParts() } = init;
    super(init.firstFrame, parts, init.memory.footprint);
    this.frameCount = init.frameCount;
    this.#memory = init.memory;
    this.#poison = init.poisonFreed === true ? new Uint8Array(4096).fill(PAGE_POISON) : null;
    this.#zones = new Zones(init.firstFrame, init.frameCount, init, parts);
    this.lru = parts.take('lru lists', () => new LruLists(init.firstFrame), renewLists);
    this.zeroFrame = this.allocateZeroed();
    this.flagWords[this.zeroFrame - this.firstFrame] =
      FrameFlag.Zero | FrameFlag.Reserved | FrameFlag.Uptodate;
  }

  /** Frames that are free. */
  get freeFrames(): number {
    return this.#zones.freeFrames;
  }

  /** The part of memory that the frame lies in. */
  zoneOf(frame: number): Zone {
    return this.#zones.zoneOf(frame);
  }

  /**
   * May the folio be pinned for long where it lies? Not in memory that must stay movable. The zero page may, and is never
   * really pinned. @see Linux include/linux/mm.h, `folio_is_longterm_pinnable`
   */
  isLongtermPinnable(frame: number): boolean {
    return this.#zones.zoneOf(frame) === 'normal' || this.isZeroFrame(frame);
  }

  /** Does the table manage this frame? */
  owns(frame: number): boolean {
    return frame >= this.firstFrame && frame < this.firstFrame + this.frameCount;
  }

  /** First frames of all folios with a reference, ascending. */
  foliosInUse(): number[] {
    const found: number[] = [];
    for (let at = 0; at < this.capacity; at++) if (this.refcounts[at] !== 0) found.push(at + this.firstFrame);
    return found;
  }

  // --- allocation ---

  /**
   * A block of 2^order frames with one reference, no flags and no mapping; its first frame, or `NO_FRAME` (-1) when
   * there is no memory. The frame may hold anything: what user space sees comes from `allocateZeroed` or is copied
   * over whole.
   * @param movable for user space: the kernel can move it, so it may lie in any part of memory
   */
  allocate(order = 0, movable = false): number {
    this.#noteAllocation(false);
    const frame = this.failsNext ? NO_FRAME : this.#zones.allocate(order, movable);
    if (frame === NO_FRAME) {
      this.failsNext = false;
      return NO_FRAME;
    }
    const at = frame - this.firstFrame;
    const count = 2 ** order;
    this.grow(at + count);
    this.changed(frame);
    this.refcounts[at] = 1;
    this.orders[at] = order;
    this.flagWords[at] = order > 0 ? FrameFlag.Head : 0;
    this.mappings[at] = null;
    for (let tail = 1; tail < count; tail++) {
      this.flagWords[at + tail] = FrameFlag.Tail;
      this.indexes[at + tail] = at;
    }
    if (order > 0) this.setLarge(at);
    this.observer?.allocated(frame, order);
    return frame;
  }

  /** `allocate`, filled with zeros (`__GFP_ZERO`). */
  allocateZeroed(order = 0, movable = false): number {
    const frame = this.allocate(order, movable);
    if (frame === NO_FRAME) return NO_FRAME;
    for (let i = 0; i < 2 ** order; i++) this.#memory.zeroFrame(frame + i);
    return frame;
  }

  /**
   * A block of 2^order frames, however large, for a pool of huge pages; `NO_FRAME` when there is none. It has no
   * reference until `useHugetlb`. Never from a part that must stay movable, so that pins of pool pages may last.
   */
  allocateHugetlb(order: number): number {
    const frame = this.#zones.normal.allocateContiguous(order);
    if (frame === NO_FRAME) return NO_FRAME;
    const at = frame - this.firstFrame;
    this.grow(at + 2 ** order);
    this.orders[at] = order;
    this.#resetHugetlb(at, 2 ** order);
    this.observer?.allocated(frame, order);
    return frame;
  }

  /** A huge page leaves its pool, with one reference. */
  useHugetlb(frame: number): void {
    const at = this.changed(frame);
    if (this.refcounts[at] !== 0 || !this.hasFlag(frame, FrameFlag.Hugetlb)) {
      throw new Error(`frame 0x${frame.toString(16)} is no free huge page`);
    }
    this.refcounts[at] = 1;
    this.setLarge(at);
    this.observer?.allocated(frame, this.orders[at] as number);
  }

  #resetHugetlb(at: number, count: number): void {
    this.flagWords[at] = FrameFlag.Head | FrameFlag.Hugetlb;
    this.mappings[at] = null;
    this.flagWords.fill(FrameFlag.Tail, at + 1, at + count);
    this.indexes.fill(at, at + 1, at + count);
  }

  // --- references ---

  /** `folio_ref_count`; a free frame has 0. */
  refcount(frame: number): number {
    return this.refcounts[this.at(this.head(frame))] as number;
  }

  /** `folio_get`: one more reference, which needs one that is held. Where others can see it, yield at `refPoint` first. */
  get(frame: number): void {
    const at = this.changed(this.head(frame));
    if ((this.refcounts[at] as number) <= 0) {
      throw new Error(`reference taken on free frame 0x${frame.toString(16)}`);
    }
    this.refcounts[at] = (this.refcounts[at] as number) + 1;
    if (this.watcher !== null) this.watcher.counted(at + this.firstFrame, 1, 0);
  }

  /** `folio_try_get`, `refs` times: like `get`, but false when the frame is free or its count has overflown. */
  tryGet(frame: number, refs = 1): boolean {
    const at = this.changed(this.head(frame));
    const references = this.refcounts[at] as number;
    if (references <= 0) return false;
    this.refcounts[at] = references + refs;
    if (this.watcher !== null) this.watcher.counted(at + this.firstFrame, refs, 0);
    return true;
  }

  /** `folio_put`: one reference less; true when it was the last and the folio is free now. */
  put(frame: number): boolean {
    return this.#drop(this.head(frame), 1, 0);
  }

  // --- pins ---

  /**
   * FOLL_PIN, `pins` times: references that say "this page's data is being used". False when the folio is free, or has
   * more references than can be counted.
   * @see Linux mm/gup.c, `try_grab_folio`
   */
  tryPin(frame: number, pins = 1): boolean {
    const head = this.head(frame);
    if (this.isZeroFrame(head)) return true;
    const at = this.changed(head);
    if ((this.refcounts[at] as number) <= 0) return false;
    this.#addPins(at, pins);
    this.pinsAcquired += pins;
    return true;
  }

  /** A pin more on a folio that is pinned, which no statistics know of. @see Linux mm/gup.c, `folio_add_pin` */
  addPin(frame: number): void {
    const head = this.head(frame);
    if (!this.isZeroFrame(head)) this.#addPins(this.changed(head), 1);
  }

  #addPins(at: number, pins: number): void {
    if ((this.orders[at] as number) > 0) {
      this.refcounts[at] = (this.refcounts[at] as number) + pins;
      this.pincounts[at] = (this.pincounts[at] as number) + pins;
    } else {
      this.refcounts[at] = (this.refcounts[at] as number) + pins * GUP_PIN_COUNTING_BIAS;
    }
    if (this.watcher !== null) this.watcher.counted(at + this.firstFrame, 0, pins);
  }

  /** Takes `pins` pins off; true when the folio is free now. @see Linux mm/gup.c, `gup_put_folio` */
  unpin(frame: number, pins = 1): boolean {
    const head = this.head(frame);
    if (this.isZeroFrame(head)) return false;
    const at = this.changed(head);
    this.pinsReleased += pins;
    if ((this.orders[at] as number) === 0) {
      const references = this.refcounts[at] as number;
      if (references >= 0 && references < pins * GUP_PIN_COUNTING_BIAS) {
        throw new Error(`frame 0x${frame.toString(16)} is unpinned without a pin`);
      }
      return this.#drop(head, pins * GUP_PIN_COUNTING_BIAS, pins);
    }
    const left = (this.pincounts[at] as number) - pins;
    if (left < 0) throw new Error(`frame 0x${frame.toString(16)} is unpinned without a pin`);
    this.pincounts[at] = left;
    return this.#drop(head, pins, pins);
  }

  /** May the folio be pinned? Never false when it is; true for a small folio with 1024 plain references. */
  maybeDmaPinned(frame: number): boolean {
    const at = this.at(this.head(frame));
    if ((this.orders[at] as number) > 0) return (this.pincounts[at] as number) > 0;
    // As unsigned: a count that has wrapped around is that of a page with a great many pins.
    return (this.refcounts[at] as number) >>> 0 >= GUP_PIN_COUNTING_BIAS;
  }

  /**
   * Makes each frame of a large folio a folio of its own, of the same mapping, with `references` each. Nothing may map
   * it, and nobody but the caller have a reference. @see Linux mm/huge_memory.c, `__split_unmapped_folio`
   */
  splitLarge(head: number, references: number): void {
    const at = this.changed(head);
    const count = 2 ** (this.orders[at] as number);
    const index = this.indexes[at] as number;
    const folioFlags = (this.flagWords[at] as number) & ~PER_FRAME_FLAGS;
    if (this.large(head).total !== 0) throw new Error(`frame 0x${head.toString(16)} is split while mapped`);
    if (this.maybeDmaPinned(head)) throw new Error(`frame 0x${head.toString(16)} is split while pinned`);
    this.forgetLarge(at);
    this.#deferredSplit?.delete(head);
    if (this.lru.listOf(head) !== -1) this.lru.split(head, count);
    for (let i = 0; i < count; i++) {
      const own = (this.flagWords[at + i] as number) & PER_FRAME_FLAGS & ~(FrameFlag.Head | FrameFlag.Tail);
      this.flagWords[at + i] = own | folioFlags;
      this.refcounts[at + i] = references;
      this.orders[at + i] = 0;
      this.mappings[at + i] = this.mappings[at] ?? null;
      this.indexes[at + i] = index + i;
    }
  }

  // --- inside ---

  /** `references` off, which were plain ones, or were `pins` pins. */
  #drop(head: number, references: number, pins: number): boolean {
    const at = this.changed(head);
    const before = this.refcounts[at] as number;
    const left = before - references;
    if (before < 0) {
      // It had wrapped around, and goes back the way it came.
      this.refcounts[at] = left;
      if (this.watcher !== null) this.watcher.counted(head, pins === 0 ? -references : 0, -pins);
      return false;
    }
    if (left < 0) throw new Error(`reference count of frame 0x${head.toString(16)} falls to ${left}`);
    this.refcounts[at] = left;
    if (this.watcher !== null) this.watcher.counted(head, pins === 0 ? -references : 0, -pins);
    if (left === 0) this.#free(head, at);
    return left === 0;
  }

  /**
   * Two allocations may change places: each gets another frame, and nothing else is different. An allocation and a free may
   * not, as what is freed is given out next; nor may two allocations when memory is scarce.
   */
  #noteAllocation(freed: boolean): void {
    const { footprint } = this;
    if (footprint?.enabled !== true) return;
    if (freed || this.scarce || this.freeFrames < MANY_FREE) footprint.write(ALLOCATOR);
    else footprint.read(ALLOCATOR);
  }

  #free(head: number, at: number): void {
    this.#noteAllocation(true);
    const order = this.orders[at] as number;
    const count = 2 ** order;
    const hugetlb = ((this.flagWords[at] as number) & FrameFlag.Hugetlb) !== 0;
    this.#checkFree(head, at, order);
    if (((this.flagWords[at] as number) & FrameFlag.Lru) !== 0) this.lru.remove(head, count);
    this.forgetLarge(at);
    this.#deferredSplit?.delete(head);
    if (this.pointCount > MOST_POINTS && (this.points[at] ?? null) !== null) {
      this.points[at] = null;
      this.pointCount--;
    }
    this.flagWords.fill(0, at, at + count);
    for (let i = 0; i < count; i++) {
      if (this.#poison !== null) this.#memory.writeBytes(head + i, 0, this.#poison);
      else this.#memory.releaseFrame(head + i);
    }
    this.refcounts[at] = 0;
    if (hugetlb) {
      this.#resetHugetlb(at, count);
      this.freeHugetlb?.(head, order);
    } else {
      this.orders[at] = 0;
      this.mappings[at] = null;
      this.#zones.free(head, order);
    }
    this.observer?.freed(head, order);
  }

  /** @throws Error when something still refers to the folio */
  #checkFree(head: number, at: number, order: number): void {
    const name = (frame: number): string => `frame 0x${frame.toString(16)}`;
    if (((this.flagWords[at] as number) & FrameFlag.Reserved) !== 0)
      throw new Error(`reserved ${name(head)} is freed`);
    if (((this.flagWords[at] as number) & FrameFlag.Locked) !== 0)
      throw new Error(`${name(head)} is freed while it is locked`);
    if (order > 0 && this.isMappedWhole(at))
      throw new Error(`${name(head)} is freed while it is mapped whole`);
    for (let i = 0; i < 2 ** order; i++) {
      if ((this.mapcounts[at + i] as number) === 0) continue;
      throw new Error(`${name(head + i)} is freed while ${this.mapcount(head + i)} entries map it`);
    }
    if ((this.pincounts[at] as number) !== 0) throw new Error(`${name(head)} is freed while pinned`);
  }
}
