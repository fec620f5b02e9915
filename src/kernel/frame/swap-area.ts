/**
 * One swap area, in memory: slots of a page each, how often each is referred to (by swap entries in page tables, and by
 * the page cache of shared memory), what lies in it, and which frame holds the same page at the moment (the swap cache).
 * A slot is free again when nobody refers to it and no frame caches it. Slot 0 would be the header of the area and is
 * never handed out. Everything here is one step; callers yield at `change` first (Linux: the lock of the slot's cluster).
 * Left out: several areas and priorities, clusters, readahead, swapoff, counts that do not fit and continue elsewhere.
 * @see Linux mm/swapfile.c, `folio_alloc_swap`, `swap_duplicate`, `swap_free`; mm/swap_state.c
 */
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';

/** No slot. */
export const NO_SLOT = 0;

/** What a slot holds of a page. */
interface SlotContents {
  /** Null: all bytes are 0 (`zeromap`). */
  readonly bytes: Uint8Array | null;
  /** Its memory tags, one a granule; null when the page had none of its own. */
  readonly tags: Uint8Array | null;
}

export class SwapArea extends SharedObject {
  /** Slots that can be handed out: 1 … `slotCount`. */
  readonly slotCount: number;
  /** Just before a count, the free slots or the swap cache change. */
  readonly change: SchedPoint;
  /** Slots that nobody has. */
  freeSlots: number;
  /** Next slot to try. */
  #cursor = 1;
  readonly #counts: Int32Array;
  readonly #contents = new Map<number, SlotContents>();
  /** The swap cache: frame by slot, and back. */
  readonly #frames = new Map<number, number>();
  readonly #slots = new Map<number, number>();

  /** @param pages size of the area: slots that can be used */
  constructor(pages: number) {
    super('swap');
    this.slotCount = pages;
    this.freeSlots = pages;
    this.#counts = new Int32Array(pages + 1);
    this.change = new SchedPoint(PointKind.Write, this, 'swap_cluster', StepCost.AtomicUpdate);
  }

  /** More than half of the area is used: pages in memory give their slots back (`vm_swap_full`). */
  get full(): boolean {
    return this.freeSlots * 2 < this.slotCount;
  }

  /** Swap entries that refer to the slot (`swap_count`). */
  count(slot: number): number {
    return this.#counts[slot] as number;
  }

  /** The frame that caches the slot's page, -1 for none. */
  frameOf(slot: number): number {
    return this.#frames.get(slot) ?? -1;
  }

  /** The slot whose page the frame caches; `NO_SLOT` when it is not in the swap cache. */
  slotOf(frame: number): number {
    return this.#slots.get(frame) ?? NO_SLOT;
  }

  /** Frames in the swap cache. */
  get cachedFrames(): number {
    return this.#slots.size;
  }

  /** A free slot for the page in `frame`, which caches it from now on; `NO_SLOT` when the area is full. */
  allocate(frame: number): number {
    if (this.freeSlots === 0) return NO_SLOT;
    let slot = this.#cursor;
    while (this.#counts[slot] !== 0 || this.#frames.has(slot)) slot = slot === this.slotCount ? 1 : slot + 1;
    this.#cursor = slot === this.slotCount ? 1 : slot + 1;
    this.freeSlots--;
    this.#cache(slot, frame);
    return slot;
  }

  /** The frame caches a slot that is in use. The cache holds a reference of the frame, which the caller has taken. */
  addToCache(slot: number, frame: number): void {
    if (this.count(slot) === 0) throw new Error(`swap slot ${slot} is cached and not in use`);
    this.#cache(slot, frame);
  }

  /** The frame caches its slot no longer. Its reference is the caller's to drop. */
  removeFromCache(frame: number): void {
    const slot = this.slotOf(frame);
    if (slot === NO_SLOT) throw new Error(`frame 0x${frame.toString(16)} is not in the swap cache`);
    this.#slots.delete(frame);
    this.#frames.delete(slot);
    this.#freeIfUnused(slot);
  }

  /** One more reference (`swap_duplicate`). The slot is in use. */
  duplicate(slot: number): void {
    if (this.count(slot) === 0 && !this.#frames.has(slot)) throw new Error(`swap slot ${slot} is not in use`);
    this.#counts[slot] = this.count(slot) + 1;
  }

  /** One reference less (`swap_free`). */
  free(slot: number): void {
    const left = this.count(slot) - 1;
    if (left < 0) throw new Error(`swap slot ${slot} is freed once too often`);
    this.#counts[slot] = left;
    this.#freeIfUnused(slot);
  }

  /** Stores a page. Bytes and tags are kept, not copied. */
  store(slot: number, bytes: Uint8Array | null, tags: Uint8Array | null): void {
    if (!this.#frames.has(slot)) throw new Error(`swap slot ${slot} is written and not cached`);
    this.#contents.set(slot, { bytes, tags });
  }

  /** What was stored last. */
  contents(slot: number): SlotContents {
    const found = this.#contents.get(slot);
    if (found === undefined) throw new Error(`swap slot ${slot} was never written`);
    return found;
  }

  /** The tags that were stored with the page; null when there are none, or it was not written yet. */
  tagsOf(slot: number): Uint8Array | null {
    return this.#contents.get(slot)?.tags ?? null;
  }

  #cache(slot: number, frame: number): void {
    if (this.#frames.has(slot) || this.#slots.has(frame))
      throw new Error(`swap slot ${slot} is cached twice`);
    this.#frames.set(slot, frame);
    this.#slots.set(frame, slot);
  }

  #freeIfUnused(slot: number): void {
    if (this.#counts[slot] !== 0 || this.#frames.has(slot)) return;
    this.#contents.delete(slot);
    this.freeSlots++;
  }
}
