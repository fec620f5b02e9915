/**
 * A file of huge pages: its size of pages, and what is promised of it. Its page cache is an `AddressSpace`, with pages
 * under the index of their first small page.
 * @see Linux fs/hugetlbfs/inode.c, `hugetlbfs_get_inode`, `remove_inode_hugepages`, `hugetlbfs_evict_inode`;
 * mm/hugetlb.c, `hugetlb_reserve_pages`, `hugetlb_unreserve_pages`, `hugetlb_add_to_page_cache`
 */
import { AddressSpace, type HugeObject } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import type { Hstate } from './hstate.ts';
import { ResvMap } from './resv-map.ts';

export class HugetlbInode implements HugeObject {
  readonly hstate: Hstate;
  readonly mapping: AddressSpace;
  /** What shared mappings were promised, and every page that is in the file. */
  readonly resvMap = new ResvMap();
  /** For the table of fault mutexes. */
  readonly serial: number;
  readonly #frames: FrameTable;

  /** An empty file of `sizeBytes`. */
  constructor(frames: FrameTable, hstate: Hstate, name: string, serial: number, sizeBytes: number) {
    this.hstate = hstate;
    this.serial = serial;
    this.mapping = new AddressSpace(name, sizeBytes, false);
    this.mapping.huge = this;
    this.#frames = frames;
  }

  get pages(): number {
    return this.hstate.pages;
  }

  /** Huge pages that the file's size covers; the rest of its bytes belongs to none. */
  get sizeHugePages(): number {
    return Math.floor(this.mapping.sizePages / this.pages);
  }

  /** The first frame of huge page `index`, -1 when it is not there. */
  frameAt(index: number): number {
    return this.mapping.frameAt(index * this.pages);
  }

  /** Puts a page into the file, with a reference of the file's own. @see `hugetlb_add_to_page_cache` */
  add(index: number, frame: number): void {
    this.#frames.get(frame);
    this.mapping.add(this.#frames, index * this.pages, frame);
    this.hstate.clearRestoreReserve(frame);
    this.#frames.setFlags(frame, FrameFlag.Dirty);
  }

  /** Promises [from, to) to a shared mapping, as far as it was not done before: 0 or -ENOMEM. */
  reserveShared(from: number, to: number): number {
    const error = this.hstate.acctMemory(this.resvMap.missing(from, to));
    if (error === 0) this.resvMap.add(from, to);
    return error;
  }

  /** Takes page `index` out of the file, and what was promised of it. The caller has unmapped it. */
  removePage(index: number): void {
    const freed = this.frameAt(index) === -1 ? 0 : 1;
    if (freed === 1) this.mapping.remove(this.#frames, index * this.pages);
    this.unreserve(index, index + 1, freed);
  }

  /**
   * Forgets the promises of [from, to). `freed` pages of the range were in the file, whose promises were used up.
   * @see `hugetlb_unreserve_pages`
   */
  unreserve(from: number, to: number, freed: number): void {
    this.hstate.acctMemory(freed - this.resvMap.delete(from, to));
  }

  evict(): void {
    const indexes = this.mapping.indexes();
    for (const index of indexes) this.mapping.remove(this.#frames, index);
    this.unreserve(0, Number.POSITIVE_INFINITY, indexes.length);
  }
}

/** The file of huge pages behind a page cache; null when its pages are small. */
export function hugetlbInodeOf(mapping: AddressSpace): HugetlbInode | null {
  return mapping.huge instanceof HugetlbInode ? mapping.huge : null;
}
