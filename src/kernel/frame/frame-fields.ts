/**
 * What is known of each frame, one array per field (Linux's `mem_map`, turned round): flags, what it belongs to, and the
 * objects that schedules name it by. Most flags are the folio's, whichever of its frames is asked; `PER_FRAME_FLAGS` are
 * each frame's own. Counting is `frame-table.ts`.
 * @see Linux include/linux/mm_types.h `struct page`, include/linux/page-flags.h
 */
import { type Footprint, numberKey } from '../../base/footprint.ts';
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';
import type { SpareParts } from '../../hardware/spare-parts.ts';
import { NO_FRAME } from './buddy.ts';
import { FrameFlag, PER_FRAME_FLAGS } from './frame-flags.ts';

/** What a frame belongs to: an anon_vma or an address space. The kernel's mm layer knows which. */
export interface FrameMapping {
  readonly kind: 'anon_vma' | 'address_space';
}

/** Frames of the huge zero folio. */
const HUGE_ZERO_FRAMES = 512;

const INITIAL_CAPACITY = 256;
/** Keys of footprints: what is known of a frame. */
const FRAME_SPACE = 3;

function grown<A extends Int32Array | Float64Array | Uint8Array>(old: A, bigger: A): A {
  bigger.set(old);
  return bigger;
}

/** The numbers of each frame, side by side: what is kept for the next board. */
class FrameArrays {
  refcounts = new Int32Array(INITIAL_CAPACITY);
  mapcounts = new Int32Array(INITIAL_CAPACITY);
  pincounts = new Int32Array(INITIAL_CAPACITY);
  flagWords = new Int32Array(INITIAL_CAPACITY);
  orders = new Uint8Array(INITIAL_CAPACITY);
  indexes = new Float64Array(INITIAL_CAPACITY);

  /** Makes room for so many frames, if there is not. */
  grow(capacity: number): void {
    if (capacity <= this.orders.length) return;
    this.refcounts = grown(this.refcounts, new Int32Array(capacity));
    this.mapcounts = grown(this.mapcounts, new Int32Array(capacity));
    this.pincounts = grown(this.pincounts, new Int32Array(capacity));
    this.flagWords = grown(this.flagWords, new Int32Array(capacity));
    this.orders = grown(this.orders, new Uint8Array(capacity));
    this.indexes = grown(this.indexes, new Float64Array(capacity));
  }

  renew(): void {
    this.refcounts.fill(0);
    this.mapcounts.fill(0);
    this.pincounts.fill(0);
    this.flagWords.fill(0);
    this.orders.fill(0);
    this.indexes.fill(0);
  }
}

const newArrays = (): FrameArrays => new FrameArrays();
const renewArrays = (arrays: FrameArrays): void => arrays.renew();

export abstract class FrameFields {
  readonly firstFrame: number;
  /** The frame that read faults of untouched anonymous memory map. Never pinned, never writable. */
  abstract readonly zeroFrame: number;
  /** First frame of the huge zero folio while there is one, else -1. What is said of the zero page holds for it too. */
  hugeZeroFrame = NO_FRAME;
  readonly #arrays: FrameArrays;
  /** Entries of the arrays below that are in use; they grow with the highest frame ever handed out. */
  protected capacity = INITIAL_CAPACITY;
  protected refcounts: Int32Array;
  /** Page-table entries that map the frame (Linux's `_mapcount` + 1). */
  protected mapcounts: Int32Array;
  /** Of folios of more than one frame (`_pincount`). */
  protected pincounts: Int32Array;
  protected flagWords: Int32Array;
  protected orders: Uint8Array;
  protected indexes: Float64Array;
  protected readonly mappings: (FrameMapping | null)[] = [];
  /** One for each frame that was named, null for the others; and how many there are. */
  protected readonly points: (SchedPoint | null)[] = [];
  protected pointCount = 0;
  /** By name. */
  #folioLocks: Map<string, SharedObject> | null = null;

  /** Told of what steps look at and change of a frame; null: nobody ever asks. */
  protected readonly footprint: Footprint | null;

  protected constructor(firstFrame: number, parts: SpareParts, footprint: Footprint | null) {
    this.footprint = footprint;
    this.firstFrame = firstFrame;
    const arrays = parts.take('fields of frames', newArrays, renewArrays);
    this.#arrays = arrays;
    this.refcounts = arrays.refcounts;
    this.mapcounts = arrays.mapcounts;
    this.pincounts = arrays.pincounts;
    this.flagWords = arrays.flagWords;
    this.orders = arrays.orders;
    this.indexes = arrays.indexes;
  }

  /** The first frame of the folio that `frame` belongs to (`page_folio`). */
  head(frame: number): number {
    const at = this.at(frame);
    if (((this.flagWords[at] as number) & FrameFlag.Tail) === 0) return frame;
    return (this.indexes[at] as number) + this.firstFrame;
  }

  /** log2 of the folio's number of frames. */
  order(frame: number): number {
    return this.orders[this.at(this.head(frame))] as number;
  }

  /** `FrameFlag` bits of the frame, and of its folio. */
  flags(frame: number): number {
    const own = this.flagWords[this.at(frame)] as number;
    if ((own & FrameFlag.Tail) === 0) return own;
    this.#read(this.indexes[this.at(frame)] as number);
    const head = this.flagWords[this.indexes[this.at(frame)] as number] as number;
    return (own & PER_FRAME_FLAGS) | (head & ~(PER_FRAME_FLAGS | FrameFlag.Head));
  }

  /** Is any of these flags set? */
  hasFlag(frame: number, flag: number): boolean {
    return (this.flags(frame) & flag) !== 0;
  }

  setFlags(frame: number, flags: number): void {
    const at = this.changed(frame);
    const own = this.flagWords[at] as number;
    if ((own & FrameFlag.Tail) === 0) {
      this.flagWords[at] = own | flags;
      return;
    }
    const head = this.indexes[at] as number;
    this.changed(head + this.firstFrame);
    this.flagWords[at] = own | (flags & PER_FRAME_FLAGS);
    this.flagWords[head] = (this.flagWords[head] as number) | (flags & ~PER_FRAME_FLAGS);
  }

  clearFlags(frame: number, flags: number): void {
    const at = this.changed(frame);
    const own = this.flagWords[at] as number;
    if ((own & FrameFlag.Tail) === 0) {
      this.flagWords[at] = own & ~flags;
      return;
    }
    const head = this.indexes[at] as number;
    this.changed(head + this.firstFrame);
    this.flagWords[at] = own & ~(flags & PER_FRAME_FLAGS);
    this.flagWords[head] = (this.flagWords[head] as number) & ~(flags & ~PER_FRAME_FLAGS);
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
    return this.mappings[this.at(this.head(frame))] ?? null;
  }

  /** Offset in its mapping, in pages (`folio->index`). */
  index(frame: number): number {
    const head = this.head(frame);
    return (this.indexes[this.at(head)] as number) + (frame - head);
  }

  setMapping(frame: number, mapping: FrameMapping | null, index: number): void {
    const at = this.changed(this.head(frame));
    this.mappings[at] = mapping;
    this.indexes[at] = index;
  }

  /** Just before a reference or map count of the frame changes where another CPU may look. Made on first use. */
  refPoint(frame: number): SchedPoint {
    const head = this.head(frame);
    return this.points[head - this.firstFrame] ?? this.#addPoint(head);
  }

  #addPoint(head: number): SchedPoint {
    const object = new SharedObject(`frame 0x${head.toString(16)}`);
    const point = new SchedPoint(PointKind.Write, object, 'page_ref', StepCost.AtomicUpdate);
    this.points[head - this.firstFrame] = point;
    this.pointCount++;
    return point;
  }

  /** Of a frame that is free. */
  protected forgetPoint(at: number): void {
    if ((this.points[at] ?? null) === null) return;
    this.points[at] = null;
    this.pointCount--;
  }

  /** The folio's lock as lockdep knows it; huge pages of a pool have other places in the order. Made on first use. */
  folioLock(frame: number): SharedObject {
    const head = this.head(frame);
    const pooled = this.hasFlag(head, FrameFlag.Hugetlb);
    const kind = this.hasFlag(head, FrameFlag.Anon) ? 'hugetlb anon_folio_lock' : 'hugetlb folio_lock';
    const name = `${pooled ? kind : 'folio_lock'} 0x${head.toString(16)}`;
    this.#folioLocks ??= new Map();
    let lock = this.#folioLocks.get(name);
    if (lock === undefined) {
      lock = new SharedObject(name);
      this.#folioLocks.set(name, lock);
    }
    return lock;
  }

  /** The lock under the names that a huge page may have been locked by: a new one becomes anonymous while it is locked. */
  *folioLocksOf(frame: number): Iterable<SharedObject> {
    const number = this.head(frame).toString(16);
    for (const kind of ['folio_lock', 'hugetlb folio_lock', 'hugetlb anon_folio_lock']) {
      const lock = this.#folioLocks?.get(`${kind} 0x${number}`);
      if (lock !== undefined) yield lock;
    }
  }

  protected at(frame: number): number {
    const at = frame - this.firstFrame;
    if (at < 0 || at >= this.capacity) throw new Error(`frame 0x${frame.toString(16)} was never handed out`);
    this.#read(at);
    return at;
  }

  #read(at: number): void {
    if (this.footprint?.enabled === true) this.footprint.read(numberKey(FRAME_SPACE, at));
  }

  /** As `at`, of a frame of which something is about to change. */
  protected changed(frame: number): number {
    const at = this.at(frame);
    if (this.footprint?.enabled === true) this.footprint.write(numberKey(FRAME_SPACE, at));
    return at;
  }

  protected grow(needed: number): void {
    if (needed <= this.capacity) return;
    let capacity = this.capacity;
    while (capacity < needed) capacity *= 2;
    const arrays = this.#arrays;
    arrays.grow(capacity);
    this.refcounts = arrays.refcounts;
    this.mapcounts = arrays.mapcounts;
    this.pincounts = arrays.pincounts;
    this.flagWords = arrays.flagWords;
    this.orders = arrays.orders;
    this.indexes = arrays.indexes;
    // Kept without holes: an array with large ones is looked up in as a map is.
    while (this.points.length < capacity) this.points.push(null);
    this.capacity = capacity;
  }
}
