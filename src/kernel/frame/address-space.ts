/**
 * The page cache of one object, and the rest of its inode: a file, or the unlinked file behind shared anonymous memory.
 * Pages by index, the object's size, its seals, and the mappings of it.
 * Left out: tags, write-back, readahead state, times, owner and mode.
 * @see Linux include/linux/fs.h, `struct address_space`, `struct inode`; mm/shmem.c, `struct shmem_inode_info`
 */
import { type IntervalNode, IntervalTree } from '../../base/interval-tree.ts';
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import type { FrameTable } from './frame-table.ts';
import type { SwapArea } from './swap-area.ts';

/** What a file of huge pages (hugetlbfs) has beside its page cache; the mm layer knows what it is. */
export interface HugeObject {
  /** Small pages of one of its pages. */
  readonly pages: number;
  /** The last open file of it is closed: its pages and what was promised of them go. */
  evict(): void;
}

/** What a file of secret memory has beside its page cache. @see mm/secretmem.c */
export interface SecretObject {
  /** Keeps faults and a new size apart (`mapping->invalidate_lock`). */
  readonly invalidateLock: RwSemaphore;
  /** A page has left the cache (`free_folio`). */
  freeFolio(frame: number): void;
}

/** A hole that is being made: faults of its pages wait until it is there. @see mm/shmem.c, `struct shmem_falloc` */
export interface PunchedHole {
  /** Pages, the second one exclusive. */
  readonly first: number;
  readonly end: number;
}

/** Pages that fallocate has reserved so far and may have to give back. @see mm/shmem.c, `struct shmem_falloc` */
export interface Reservation {
  /** Pages, the second one exclusive. */
  readonly first: number;
  next: number;
  /** New pages among them, and how often reclaim wanted one of them. */
  fresh: number;
  wanted: number;
}

export class AddressSpace extends SharedObject {
  readonly kind = 'address_space';
  /** Size of the object in bytes; an access to a page that begins at or above it gives SIGBUS. */
  sizeBytes: number;
  /** Lives in memory only (tmpfs, memfd, shared anonymous): its pages count as shmem and are never written back. */
  readonly shmem: boolean;
  /** Open files of it; with the last one an unlinked object goes away. */
  openFiles = 0;
  /** Names of it (`i_nlink`): an object that has one outlives its open files. */
  links = 0;
  /** May it be executed (any of the mode's x bits)? */
  executable = true;
  /** On the kernel's own mount of tmpfs (memfd, shared anonymous memory), to which `shmem_enabled` applies. */
  internalMount = true;
  /** The page after the last that fallocate has reserved, maybe beyond the size: a split keeps those (`fallocend`). */
  fallocEnd = 0;
  /** F_SEAL_* bits: what must not be done to the object any more. */
  seals = 0;
  /** One write, truncation or fallocate at a time (`i_rwsem`). */
  readonly iRwsem: RwSemaphore;
  /** VMAs that map the object, by the pages of it that they cover; their nodes are `IMmapNode` of the mm layer. */
  readonly iMmap = new IntervalTree<IntervalNode>();
  /** For writing where `iMmap` changes, for reading where it is walked (`i_mmap_rwsem`). */
  readonly iMmapRwsem: RwSemaphore;
  /** Shared mappings that are writable or may be made so (`i_mmap_writable`); below 0 none may come any more. */
  iMmapWritable = 0;
  /** Set while fallocate punches a hole. */
  hole: PunchedHole | null = null;
  /** Set while fallocate reserves pages. */
  reservation: Reservation | null = null;
  /** Set on a file of huge pages: pages are cached under the index of their first small page. */
  huge: HugeObject | null = null;
  /** Set on a file of secret memory (memfd_secret). */
  secret: SecretObject | null = null;
  /** Where pages of it went that are in swap; null while none ever did. */
  swap: SwapArea | null = null;
  /** Frame by index, in no particular order. */
  readonly #pages = new Map<number, number>();
  /** Swap slot by index, of pages that are in swap: an index is here or in `#pages`, never in both. */
  readonly #swapped = new Map<number, number>();
  /** Just before a page is added or removed (`i_pages` lock). */
  readonly change: SchedPoint;

  constructor(name: string, sizeBytes: number, shmem: boolean) {
    super(name);
    this.sizeBytes = sizeBytes;
    this.shmem = shmem;
    this.iRwsem = new RwSemaphore(`i_rwsem ${name}`);
    this.iMmapRwsem = new RwSemaphore(`i_mmap_rwsem ${name}`);
    this.change = new SchedPoint(PointKind.Write, this, 'i_pages', StepCost.AtomicUpdate);
  }

  /** Pages that the object's size covers, rounded up. */
  get sizePages(): number {
    return Math.ceil(this.sizeBytes / 4096);
  }

  /** Cached pages (`nrpages`). */
  get pageCount(): number {
    return this.#pages.size;
  }

  /** The frame of page `index`, -1 when it is not cached. */
  frameAt(index: number): number {
    return this.#pages.get(index) ?? -1;
  }

  /** Indexes of cached pages from `first` to before `end`, ascending. */
  indexes(first = 0, end = Number.POSITIVE_INFINITY): number[] {
    const found: number[] = [];
    if (end - first < this.#pages.size) {
      for (let index = first; index < end; index++) if (this.#pages.has(index)) found.push(index);
      return found;
    }
    for (const index of this.#pages.keys()) if (index >= first && index < end) found.push(index);
    return found.sort((a, b) => a - b);
  }

  /**
   * Puts a frame into the cache at `index`; the cache takes over one reference, which the caller has.
   * @see mm/shmem.c, `shmem_add_to_page_cache`
   */
  add(frames: FrameTable, index: number, frame: number): void {
    if (this.#pages.has(index) || this.#swapped.has(index))
      throw new Error(`${this.name} has a page ${index} already`);
    this.#pages.set(index, frame);
    frames.setMapping(frame, this, index);
  }

  /**
   * Puts a folio of several frames into the cache, from `index` on, in place of what is cached there, whose references
   * the caller gets. The cache has one reference for each of its pages; the first is taken over from the caller.
   */
  addLarge(frames: FrameTable, index: number, head: number): void {
    const pages = 2 ** frames.order(head);
    if (index % pages !== 0) throw new Error(`${this.name} cannot have ${pages} pages as one at ${index}`);
    for (let i = 0; i < pages; i++) {
      if (this.#swapped.has(index + i)) throw new Error(`page ${index + i} of ${this.name} is in swap`);
      this.#pages.set(index + i, head + i);
      if (i > 0) frames.get(head);
    }
    frames.setMapping(head, this, index);
  }

  /** Frames that the page cache handles as one with this one: all of a large folio, but one of a file of huge pages. */
  #cachedTogether(frames: FrameTable, frame: number): number {
    return this.huge === null ? 2 ** frames.order(frame) : 1;
  }

  /** The swap slot in which page `index` lies, 0 when it is not in swap. */
  swapSlotAt(index: number): number {
    return this.#swapped.get(index) ?? 0;
  }

  /** Indexes of pages in swap from `first` to before `end`, ascending. */
  swappedIndexes(first = 0, end = Number.POSITIVE_INFINITY): number[] {
    const found = [...this.#swapped.keys()].filter((index) => index >= first && index < end);
    return found.sort((a, b) => a - b);
  }

  /** Pages in swap (`info->swapped`). */
  get swappedCount(): number {
    return this.#swapped.size;
  }

  /** Page `index` goes to a swap slot: it leaves the cache, whose reference is dropped, and the slot is noted. */
  moveToSwap(frames: FrameTable, index: number, swap: SwapArea, slot: number): void {
    this.remove(frames, index);
    this.swap = swap;
    this.#swapped.set(index, slot);
  }

  /** Page `index` is in swap no longer: it comes back, or is dropped. */
  forgetSwap(index: number): void {
    this.#swapped.delete(index);
  }

  /**
   * Takes the folio of page `index` out of the cache and drops the cache's references. Nothing when it is not cached.
   */
  remove(frames: FrameTable, index: number): void {
    const frame = this.#pages.get(index);
    if (frame === undefined) return;
    const pages = this.#cachedTogether(frames, frame);
    const head = frames.head(frame);
    const first = pages === 1 ? index : index - (frame - head);
    for (let i = 0; i < pages; i++) this.#pages.delete(first + i);
    frames.setMapping(head, null, 0);
    this.secret?.freeFolio(head);
    for (let i = 0; i < pages; i++) frames.put(head);
  }

  /**
   * Drops every page from `firstIndex` on, of an object that nobody can reach any more.
   * @see mm/shmem.c, `shmem_evict_inode`
   */
  truncate(frames: FrameTable, firstIndex: number): void {
    for (const index of this.indexes(firstIndex)) this.remove(frames, index);
  }
}
