/**
 * Every frame of memory that the kernel manages: reference count, map count, flags, what it belongs to. One array per
 * field (Linux's `mem_map`, turned round). A frame goes back to the buddy allocator in the very step in which its
 * reference count reaches 0; a count that would become negative is our mistake and throws.
 * A block of more than one frame (order > 0) is one folio: references and pins are counted at its first frame, map
 * counts per frame and for the whole. Most flags are the folio's, whichever of its frames is asked; `PER_FRAME_FLAGS`
 * are each frame's own.
 * Left out: NUMA nodes and zones, memory control groups; the table covers one contiguous range of frames.
 * @see Linux include/linux/mm_types.h `struct page`, include/linux/page_ref.h, mm/gup.c `try_grab_folio`
 */
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { BuddyAllocator, NO_FRAME } from './buddy.ts';
import { FrameFlag, PER_FRAME_FLAGS } from './frame-flags.ts';
import { LargeMapcount } from './large-mapcount.ts';
import { LruLists } from './lru-lists.ts';

/** A pin counts as this many references on a folio of one frame. @see include/linux/mm.h */
export const GUP_PIN_COUNTING_BIAS = 1024;

/** What a frame belongs to: an anon_vma or an address space. The kernel's mm layer knows which. */
export interface FrameMapping {
  readonly kind: 'anon_vma' | 'address_space';
}

/** Told of every allocation and free; changes nothing. */
export interface FrameObserver {
  allocated(frame: number, order: number): void;
  freed(frame: number, order: number): void;
}

export interface FrameTableInit {
  readonly memory: PhysicalMemory;
  readonly firstFrame: number;
  readonly frameCount: number;
  /** Fill freed frames with 0xaa (`page_poison=1`), so that a read through a stale translation is seen as such. */
  readonly poisonFreed?: boolean;
}

/** Frames of the huge zero folio. */
const HUGE_ZERO_FRAMES = 512;

const INITIAL_CAPACITY = 256;
/** Points kept of frames that are free: a schedule names few frames, a large process has many. */
const MOST_POINTS = 4096;
/** @see Linux include/linux/poison.h, `PAGE_POISON` */
const PAGE_POISON = 0xaa;

function grown<A extends Int32Array | Float64Array | Uint8Array>(old: A, bigger: A): A {
  bigger.set(old);
  return bigger;
}

export class FrameTable {
  readonly firstFrame: number;
  readonly frameCount: number;
  readonly buddy: BuddyAllocator;
  /** The frame that read faults of untouched anonymous memory map. Never pinned, never writable. */
  readonly zeroFrame: number;
  /** First frame of the huge zero folio while there is one, else -1. What is said of the zero page holds for it too. */
  hugeZeroFrame = NO_FRAME;
  /** First frames of large anonymous folios of which a part is mapped no more: worth splitting when memory is short. */
  readonly deferredSplit = new Set<number>();
  /** The lists of reclaim; a folio that is freed leaves its list. */
  readonly lru: LruLists;
  observer: FrameObserver | null = null;
  /** Told of a huge page whose last reference is gone; its pool sets it (`free_huge_folio`). */
  freeHugetlb: ((frame: number, order: number) => void) | null = null;
  readonly #memory: PhysicalMemory;
  readonly #poison: Uint8Array | null;
  /** Entries of the arrays below; they grow with the highest frame ever handed out. */
  #capacity = INITIAL_CAPACITY;
  #refcount = new Int32Array(INITIAL_CAPACITY);
  /** Page-table entries that map the frame (Linux's `_mapcount` + 1). */
  #mapcount = new Int32Array(INITIAL_CAPACITY);
  /** Of folios of more than one frame (`_pincount`). */
  #pincount = new Int32Array(INITIAL_CAPACITY);
  #flags = new Int32Array(INITIAL_CAPACITY);
  #order = new Uint8Array(INITIAL_CAPACITY);
  #index = new Float64Array(INITIAL_CAPACITY);
  readonly #mapping: (FrameMapping | null)[] = [];
  /** Of folios of more than one frame, by index of the first. */
  readonly #large = new Map<number, LargeMapcount>();
  readonly #points = new Map<number, SchedPoint>();
  /** By first frame; of huge pages by its negative. */
  readonly #folioLocks = new Map<number, SharedObject>();

  /** Takes one frame at once, for the zero page. */
  constructor(init: FrameTableInit) {
    this.firstFrame = init.firstFrame;
    this.frameCount = init.frameCount;
    this.#memory = init.memory;
    this.#poison = init.poisonFreed === true ? new Uint8Array(4096).fill(PAGE_POISON) : null;
    this.buddy = new BuddyAllocator(init.firstFrame, init.frameCount);
    this.lru = new LruLists(init.firstFrame);
    this.zeroFrame = this.allocateZeroed();
    this.#flags[this.zeroFrame - this.firstFrame] = FrameFlag.Zero | FrameFlag.Reserved | FrameFlag.Uptodate;
  }

  /** Frames that are free. */
  get freeFrames(): number {
    return this.buddy.freeFrames;
  }

  /** Does the table manage this frame? */
  owns(frame: number): boolean {
    return frame >= this.firstFrame && frame < this.firstFrame + this.frameCount;
  }

  /** First frames of all folios with a reference, ascending. */
  foliosInUse(): number[] {
    const found: number[] = [];
    for (let at = 0; at < this.#capacity; at++)
      if (this.#refcount[at] !== 0) found.push(at + this.firstFrame);
    return found;
  }

  // --- allocation ---

  /**
   * A block of 2^order frames with one reference, no flags and no mapping; its first frame, or `NO_FRAME` (-1) when
   * there is no memory. The frame may hold anything: what user space sees comes from `allocateZeroed` or is copied
   * over whole.
   */
  allocate(order = 0): number {
    const frame = this.buddy.allocate(order);
    if (frame === NO_FRAME) return NO_FRAME;
    const at = frame - this.firstFrame;
    const count = 2 ** order;
    this.#grow(at + count);
    this.#refcount[at] = 1;
    this.#order[at] = order;
    this.#flags[at] = order > 0 ? FrameFlag.Head : 0;
    this.#mapping[at] = null;
    for (let tail = 1; tail < count; tail++) {
      this.#flags[at + tail] = FrameFlag.Tail;
      this.#index[at + tail] = at;
    }
    if (order > 0) this.#large.set(at, new LargeMapcount());
    this.observer?.allocated(frame, order);
    return frame;
  }

  /** `allocate`, filled with zeros (`__GFP_ZERO`). */
  allocateZeroed(order = 0): number {
    const frame = this.allocate(order);
    if (frame === NO_FRAME) return NO_FRAME;
    for (let i = 0; i < 2 ** order; i++) this.#memory.zeroFrame(frame + i);
    return frame;
  }

  /**
   * A block of 2^order frames, however large, for a pool of huge pages; `NO_FRAME` when there is none. It has no
   * reference until `useHugetlb`.
   */
  allocateHugetlb(order: number): number {
    const frame = this.buddy.allocateContiguous(order);
    if (frame === NO_FRAME) return NO_FRAME;
    const at = frame - this.firstFrame;
    this.#grow(at + 2 ** order);
    this.#order[at] = order;
    this.#resetHugetlb(at, 2 ** order);
    this.observer?.allocated(frame, order);
    return frame;
  }

  /** A huge page leaves its pool, with one reference. */
  useHugetlb(frame: number): void {
    const at = this.#at(frame);
    if (this.#refcount[at] !== 0 || !this.hasFlag(frame, FrameFlag.Hugetlb)) {
      throw new Error(`frame 0x${frame.toString(16)} is no free huge page`);
    }
    this.#refcount[at] = 1;
    this.#large.set(at, new LargeMapcount());
    this.observer?.allocated(frame, this.#order[at] as number);
  }

  #resetHugetlb(at: number, count: number): void {
    this.#flags[at] = FrameFlag.Head | FrameFlag.Hugetlb;
    this.#mapping[at] = null;
    this.#flags.fill(FrameFlag.Tail, at + 1, at + count);
    this.#index.fill(at, at + 1, at + count);
  }

  // --- references ---

  /** The first frame of the folio that `frame` belongs to (`page_folio`). */
  head(frame: number): number {
    const at = this.#at(frame);
    if (((this.#flags[at] as number) & FrameFlag.Tail) === 0) return frame;
    return (this.#index[at] as number) + this.firstFrame;
  }

  /** log2 of the folio's number of frames. */
  order(frame: number): number {
    return this.#order[this.#at(this.head(frame))] as number;
  }

  /** `folio_ref_count`; a free frame has 0. */
  refcount(frame: number): number {
    return this.#refcount[this.#at(this.head(frame))] as number;
  }

  /** `folio_get`: one more reference, which needs one that is held. Where others can see it, yield at `refPoint` first. */
  get(frame: number): void {
    const at = this.#at(this.head(frame));
    if ((this.#refcount[at] as number) <= 0) {
      throw new Error(`reference taken on free frame 0x${frame.toString(16)}`);
    }
    this.#refcount[at] = (this.#refcount[at] as number) + 1;
  }

  /** `folio_try_get`: like `get`, but false when the frame is free. */
  tryGet(frame: number): boolean {
    if (this.refcount(frame) <= 0) return false;
    this.get(frame);
    return true;
  }

  /** `folio_put`: one reference less; true when it was the last and the folio is free now. */
  put(frame: number): boolean {
    return this.#drop(this.head(frame), 1);
  }

  /** Just before a reference or map count of the frame changes where another CPU may look. Made on first use. */
  refPoint(frame: number): SchedPoint {
    const head = this.head(frame);
    let point = this.#points.get(head);
    if (point === undefined) {
      const object = new SharedObject(`frame 0x${head.toString(16)}`);
      point = new SchedPoint(PointKind.Write, object, 'page_ref', StepCost.AtomicUpdate);
      this.#points.set(head, point);
    }
    return point;
  }

  /** The folio's lock as lockdep knows it; huge pages of a pool have a place of their own in the order. Made on first use. */
  folioLock(frame: number): SharedObject {
    const head = this.head(frame);
    const hugetlb = this.hasFlag(head, FrameFlag.Hugetlb);
    const key = hugetlb ? -head : head;
    let lock = this.#folioLocks.get(key);
    if (lock === undefined) {
      lock = new SharedObject(`${hugetlb ? 'hugetlb ' : ''}folio_lock 0x${head.toString(16)}`);
      this.#folioLocks.set(key, lock);
    }
    return lock;
  }

  // --- pins ---

  /**
   * FOLL_PIN: a reference that says "this page's data is being used". False when the folio is free.
   * @see Linux mm/gup.c, `try_grab_folio`
   */
  tryPin(frame: number): boolean {
    const head = this.head(frame);
    if (this.isZeroFrame(head)) return true;
    const at = this.#at(head);
    if ((this.#refcount[at] as number) <= 0) return false;
    if ((this.#order[at] as number) > 0) {
      this.#refcount[at] = (this.#refcount[at] as number) + 1;
      this.#pincount[at] = (this.#pincount[at] as number) + 1;
    } else {
      this.#refcount[at] = (this.#refcount[at] as number) + GUP_PIN_COUNTING_BIAS;
    }
    return true;
  }

  /** Takes a pin off; true when the folio is free now. @see Linux mm/gup.c, `gup_put_folio` */
  unpin(frame: number): boolean {
    const head = this.head(frame);
    if (this.isZeroFrame(head)) return false;
    const at = this.#at(head);
    if ((this.#order[at] as number) === 0) {
      if ((this.#refcount[at] as number) < GUP_PIN_COUNTING_BIAS) {
        throw new Error(`frame 0x${frame.toString(16)} is unpinned without a pin`);
      }
      return this.#drop(head, GUP_PIN_COUNTING_BIAS);
    }
    const pins = (this.#pincount[at] as number) - 1;
    if (pins < 0) throw new Error(`frame 0x${frame.toString(16)} is unpinned without a pin`);
    this.#pincount[at] = pins;
    return this.#drop(head, 1);
  }

  /** May the folio be pinned? Never false when it is; true for a small folio with 1024 plain references. */
  maybeDmaPinned(frame: number): boolean {
    const at = this.#at(this.head(frame));
    if ((this.#order[at] as number) > 0) return (this.#pincount[at] as number) > 0;
    return (this.#refcount[at] as number) >= GUP_PIN_COUNTING_BIAS;
  }

  // --- mappings in page tables ---

  /** Page-table entries that map this frame, alone or with all of its folio (`folio_precise_page_mapcount`). */
  mapcount(frame: number): number {
    const at = this.#at(frame);
    const alone = this.#mapcount[at] as number;
    if (((this.#flags[at] as number) & (FrameFlag.Head | FrameFlag.Tail)) === 0) return alone;
    return alone + this.large(frame).entire;
  }

  /** Map counts of the folio of more than one frame that `frame` belongs to. */
  large(frame: number): LargeMapcount {
    const large = this.#large.get(this.#at(this.head(frame)));
    if (large === undefined) throw new Error(`frame 0x${frame.toString(16)} is no large folio's`);
    return large;
  }

  /** Is the frame one of a folio of more than one (`folio_test_large`)? */
  isLarge(frame: number): boolean {
    return this.hasFlag(frame, FrameFlag.Head | FrameFlag.Tail);
  }

  /** All entries that map the folio or a part of it (`folio_mapcount`). */
  folioMapcount(frame: number): number {
    return this.isLarge(frame) ? this.large(frame).total : this.mapcount(frame);
  }

  /** Does an entry map the folio, or any page of it (`folio_mapped`)? */
  isMapped(frame: number): boolean {
    return this.folioMapcount(frame) > 0;
  }

  /**
   * May the folio be mapped by more than one mm? False is certain. @see include/linux/mm.h, `folio_maybe_mapped_shared`
   */
  maybeMappedShared(frame: number): boolean {
    if (!this.isLarge(frame)) return this.mapcount(frame) > 1;
    const large = this.large(frame);
    return large.total > 1 && large.maybeMappedShared;
  }

  /**
   * One more pte maps the frame; it holds a reference of its own. Not for the zero page.
   * @param mm whose pte it is; of a large folio it must be known
   */
  addMap(frame: number, mm: object | null = null): void {
    const at = this.#at(frame);
    if (this.isZeroFrame(frame)) throw new Error('the zero page has no map count');
    const count = (this.#mapcount[at] as number) + 1;
    this.#mapcount[at] = count;
    if (!this.isLarge(frame)) return;
    if (mm === null)
      throw new Error(`a page of a large folio, frame 0x${frame.toString(16)}, mapped by no mm`);
    const large = this.large(frame);
    if (count === 1) large.pagesMapped++;
    large.add(mm, 1);
  }

  /** One pte less maps the frame. */
  removeMap(frame: number, mm: object | null = null): void {
    const at = this.#at(frame);
    const count = (this.#mapcount[at] as number) - 1;
    if (count < 0) throw new Error(`frame 0x${frame.toString(16)} is unmapped more often than mapped`);
    this.#mapcount[at] = count;
    if (!this.isLarge(frame)) return;
    if (mm === null)
      throw new Error(`a page of a large folio, frame 0x${frame.toString(16)}, unmapped by no mm`);
    const large = this.large(frame);
    if (count === 0) large.pagesMapped--;
    large.remove(mm, 1);
  }

  /** One more entry above the last level maps the whole folio. */
  addEntireMap(head: number, mm: object): void {
    const large = this.large(head);
    large.entire++;
    large.add(mm, 1);
  }

  /** One entry less maps the whole folio. */
  removeEntireMap(head: number, mm: object): void {
    const large = this.large(head);
    large.remove(mm, 1);
    large.entire--;
    if (large.entire < 0) throw new Error(`frame 0x${head.toString(16)} is unmapped more often than mapped`);
  }

  /**
   * Makes each frame of a large folio a folio of its own, of the same mapping, with `references` each. Nothing may map
   * it, and nobody but the caller have a reference. @see Linux mm/huge_memory.c, `__split_unmapped_folio`
   */
  splitLarge(head: number, references: number): void {
    const at = this.#at(head);
    const count = 2 ** (this.#order[at] as number);
    const index = this.#index[at] as number;
    const folioFlags = (this.#flags[at] as number) & ~PER_FRAME_FLAGS;
    if (this.large(head).total !== 0) throw new Error(`frame 0x${head.toString(16)} is split while mapped`);
    if (this.maybeDmaPinned(head)) throw new Error(`frame 0x${head.toString(16)} is split while pinned`);
    this.#large.delete(at);
    this.deferredSplit.delete(head);
    if (this.lru.listOf(head) !== -1) this.lru.split(head, count);
    for (let i = 0; i < count; i++) {
      const own = (this.#flags[at + i] as number) & PER_FRAME_FLAGS & ~(FrameFlag.Head | FrameFlag.Tail);
      this.#flags[at + i] = own | folioFlags;
      this.#refcount[at + i] = references;
      this.#order[at + i] = 0;
      this.#mapping[at + i] = this.#mapping[at] ?? null;
      this.#index[at + i] = index + i;
    }
  }

  // --- flags and owner ---

  /** `FrameFlag` bits of the frame, and of its folio. */
  flags(frame: number): number {
    const own = this.#flags[this.#at(frame)] as number;
    if ((own & FrameFlag.Tail) === 0) return own;
    const head = this.#flags[this.#index[this.#at(frame)] as number] as number;
    return (own & PER_FRAME_FLAGS) | (head & ~(PER_FRAME_FLAGS | FrameFlag.Head));
  }

  /** Is any of these flags set? */
  hasFlag(frame: number, flag: number): boolean {
    return (this.flags(frame) & flag) !== 0;
  }

  setFlags(frame: number, flags: number): void {
    const at = this.#at(frame);
    const own = this.#flags[at] as number;
    if ((own & FrameFlag.Tail) === 0) {
      this.#flags[at] = own | flags;
      return;
    }
    const head = this.#index[at] as number;
    this.#flags[at] = own | (flags & PER_FRAME_FLAGS);
    this.#flags[head] = (this.#flags[head] as number) | (flags & ~PER_FRAME_FLAGS);
  }

  clearFlags(frame: number, flags: number): void {
    const at = this.#at(frame);
    const own = this.#flags[at] as number;
    if ((own & FrameFlag.Tail) === 0) {
      this.#flags[at] = own & ~flags;
      return;
    }
    const head = this.#index[at] as number;
    this.#flags[at] = own & ~(flags & PER_FRAME_FLAGS);
    this.#flags[head] = (this.#flags[head] as number) & ~(flags & ~PER_FRAME_FLAGS);
  }

  /** The zero page, or one of the huge zero folio. */
  isZeroFrame(frame: number): boolean {
    return frame === this.zeroFrame || this.isHugeZero(frame);
  }

  isHugeZero(frame: number): boolean {
    const { hugeZeroFrame } = this;
    return hugeZeroFrame !== NO_FRAME && frame >= hugeZeroFrame && frame < hugeZeroFrame + HUGE_ZERO_FRAMES;
  }

  /** What the folio belongs to (`folio->mapping`). */
  mapping(frame: number): FrameMapping | null {
    return this.#mapping[this.#at(this.head(frame))] ?? null;
  }

  /** Offset in its mapping, in pages (`folio->index`). */
  index(frame: number): number {
    const head = this.head(frame);
    return (this.#index[this.#at(head)] as number) + (frame - head);
  }

  setMapping(frame: number, mapping: FrameMapping | null, index: number): void {
    const at = this.#at(this.head(frame));
    this.#mapping[at] = mapping;
    this.#index[at] = index;
  }

  // --- inside ---

  #at(frame: number): number {
    const at = frame - this.firstFrame;
    if (at < 0 || at >= this.#capacity) throw new Error(`frame 0x${frame.toString(16)} was never handed out`);
    return at;
  }

  #drop(head: number, references: number): boolean {
    const at = this.#at(head);
    const left = (this.#refcount[at] as number) - references;
    if (left < 0) throw new Error(`reference count of frame 0x${head.toString(16)} falls to ${left}`);
    if (left === 0) this.#free(head, at);
    else this.#refcount[at] = left;
    return left === 0;
  }

  #free(head: number, at: number): void {
    const order = this.#order[at] as number;
    const count = 2 ** order;
    if (((this.#flags[at] as number) & FrameFlag.Reserved) !== 0) {
      throw new Error(`reserved frame 0x${head.toString(16)} is freed`);
    }
    const hugetlb = ((this.#flags[at] as number) & FrameFlag.Hugetlb) !== 0;
    if (((this.#flags[at] as number) & FrameFlag.Lru) !== 0) this.lru.remove(head, count);
    if (order > 0 && this.#large.get(at)?.entire !== 0) {
      throw new Error(`frame 0x${head.toString(16)} is freed while it is mapped whole`);
    }
    this.#large.delete(at);
    this.deferredSplit.delete(head);
    if (this.#points.size > MOST_POINTS) this.#points.delete(head);
    for (let i = 0; i < count; i++) {
      if ((this.#mapcount[at + i] as number) !== 0) {
        throw new Error(
          `frame 0x${(head + i).toString(16)} is freed while ${this.mapcount(head + i)} entries map it`,
        );
      }
      this.#flags[at + i] = 0;
      if (this.#poison !== null) this.#memory.writeBytes(head + i, 0, this.#poison);
      else this.#memory.releaseFrame(head + i);
    }
    if ((this.#pincount[at] as number) !== 0)
      throw new Error(`frame 0x${head.toString(16)} is freed while pinned`);
    this.#refcount[at] = 0;
    if (hugetlb) {
      this.#resetHugetlb(at, count);
      this.freeHugetlb?.(head, order);
    } else {
      this.#order[at] = 0;
      this.#mapping[at] = null;
      this.buddy.free(head, order);
    }
    this.observer?.freed(head, order);
  }

  #grow(needed: number): void {
    if (needed <= this.#capacity) return;
    let capacity = this.#capacity;
    while (capacity < needed) capacity *= 2;
    this.#refcount = grown(this.#refcount, new Int32Array(capacity));
    this.#mapcount = grown(this.#mapcount, new Int32Array(capacity));
    this.#pincount = grown(this.#pincount, new Int32Array(capacity));
    this.#flags = grown(this.#flags, new Int32Array(capacity));
    this.#order = grown(this.#order, new Uint8Array(capacity));
    this.#index = grown(this.#index, new Float64Array(capacity));
    this.#capacity = capacity;
  }
}
