/**
 * The page cache of one object: a file, or the unlinked file behind shared anonymous memory. Pages by index, with
 * whether they hold data of the file yet, and the object's size.
 * Left out: tags, write-back, swap of shmem pages, readahead state, the rmap of mappings (`i_mmap`).
 * @see Linux include/linux/fs.h, `struct address_space`, and mm/shmem.c
 */
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';
import type { FrameTable } from './frame-table.ts';

export class AddressSpace extends SharedObject {
  readonly kind = 'address_space';
  /** Size of the object in bytes; an access to a page that begins at or above it gives SIGBUS. */
  sizeBytes: number;
  /** Lives in memory only (tmpfs, memfd, shared anonymous): its pages count as shmem and are never written back. */
  readonly shmem: boolean;
  /** Open files of it; with the last one an unlinked object goes away. */
  openFiles = 0;
  /** Frame by index, in no particular order. */
  readonly #pages = new Map<number, number>();
  /** Just before a page is added or removed (`i_pages` lock). */
  readonly change: SchedPoint;

  constructor(name: string, sizeBytes: number, shmem: boolean) {
    super(name);
    this.sizeBytes = sizeBytes;
    this.shmem = shmem;
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

  /** Indexes of cached pages, ascending. */
  indexes(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  /**
   * Puts a frame into the cache at `index`; the cache takes over one reference, which the caller has.
   * @see mm/shmem.c, `shmem_add_to_page_cache`
   */
  add(frames: FrameTable, index: number, frame: number): void {
    if (this.#pages.has(index)) throw new Error(`${this.name} has a page ${index} already`);
    this.#pages.set(index, frame);
    frames.setMapping(frame, this, index);
  }

  /** Takes page `index` out of the cache and drops the cache's reference. Nothing when it is not cached. */
  remove(frames: FrameTable, index: number): void {
    const frame = this.#pages.get(index);
    if (frame === undefined) return;
    this.#pages.delete(index);
    frames.setMapping(frame, null, 0);
    frames.put(frame);
  }

  /**
   * Drops every page from `firstIndex` on; ptes that map them must be gone.
   * @see mm/truncate.c, `truncate_inode_pages_range`
   */
  truncate(frames: FrameTable, firstIndex: number): void {
    for (const index of this.indexes()) {
      if (index >= firstIndex) this.remove(frames, index);
    }
  }
}
