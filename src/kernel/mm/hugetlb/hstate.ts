/**
 * The pools of huge pages: for each size a number of pages taken from the allocator when the kernel starts, and how
 * many of them are free and how many promised. A page whose last reference goes comes back to its pool. A kernel
 * without huge pages has pools of no page, which cost nothing.
 * Left out: surplus pages (`nr_overcommit_hugepages` is 0, so there are never any), changing the size of a pool, NUMA
 * nodes, subpools (the min_size and size options of a mount), control groups, sizes of contiguous entries (arm64 64 KiB
 * and 32 MiB), the spinlock `hugetlb_lock`: what it covers is one step here.
 * @see Linux mm/hugetlb.c, `hugetlb_hstate_alloc_pages`, `hugetlb_acct_memory`, `dequeue_hugetlb_folio_vma`,
 * `free_huge_folio`; include/linux/hugetlb.h, `struct hstate`
 */
import { type PagingFormat, pagesPerEntry } from '../../../arch/paging-format.ts';
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../../base/task.ts';
import { ENOMEM } from '../../errno.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import { RwSemaphore } from '../../lock/rwsem.ts';

/** One size of huge pages and its pool. Counts are pages of this size. */
export class Hstate extends SharedObject {
  /** The page-table level whose entry maps one page. */
  readonly level: number;
  /** Small pages of one page (`pages_per_huge_page`). */
  readonly pages: number;
  /** log2 of `pages` (`order`). */
  readonly order: number;
  /** log2 of its bytes (`huge_page_shift`). */
  readonly shift: number;
  /** Pages of the pool, free and in use. */
  nrHugePages = 0;
  freeHugePages = 0;
  /**
   * Free pages that mappings have been promised and have not faulted in yet. As in 6.18 (where it is unsigned and wraps) it
   * is too low, even negative, while a fork's child still uses a page that the owner of its promise has unmapped: that
   * counts as a promise made again when it is unmapped, and as one only when it is free.
   */
  resvHugePages = 0;
  /** Always 0: the pool does not grow on demand. */
  readonly surplusHugePages = 0;
  /** Just before a counter of the pool changes. */
  readonly change: SchedPoint;
  readonly #frames: FrameTable;
  readonly #free: number[] = [];
  /** Pages in use whose release gives the promise back that they used up (`HPG_restore_reserve`). */
  #restoreReserve: Set<number> | null = null;

  constructor(frames: FrameTable, format: PagingFormat, level: number) {
    super(`hugetlb ${format.levels[level]?.name}`);
    this.level = level;
    this.pages = pagesPerEntry(format, level);
    this.order = Math.log2(this.pages);
    this.shift = this.order + format.pageShift;
    this.change = new SchedPoint(PointKind.Write, this, 'hugetlb_lock', StepCost.AtomicUpdate);
    this.#frames = frames;
  }

  /** Takes up to `count` pages from the allocator, as the boot parameter hugepages= does. */
  grow(count: number): void {
    const taken: number[] = [];
    while (taken.length < count) {
      const frame = this.#frames.allocateHugetlb(this.order);
      if (frame === NO_FRAME) break;
      taken.push(frame);
    }
    for (const frame of taken.reverse()) this.#free.push(frame);
    this.nrHugePages += taken.length;
    this.freeHugePages += taken.length;
  }

  /** Free pages that nobody was promised (`available_huge_pages`). */
  get availableHugePages(): number {
    return this.freeHugePages - this.resvHugePages;
  }

  /** Promises `delta` more pages, or takes promises back. 0, or -ENOMEM when not so many are free. */
  acctMemory(delta: number): number {
    if (delta > 0 && this.resvHugePages + delta > this.freeHugePages) return -ENOMEM;
    this.resvHugePages += delta;
    return 0;
  }

  /**
   * A page with one reference, its content anything; `NO_FRAME` when there is none.
   * @param reserved the caller was promised one; it is marked so that giving it back makes the promise again
   */
  dequeue(reserved: boolean): number {
    if (!reserved && this.availableHugePages <= 0) return NO_FRAME;
    const frame = this.#free.pop();
    if (frame === undefined) return NO_FRAME;
    this.freeHugePages--;
    if (reserved) {
      this.acctMemory(-1);
      this.setRestoreReserve(frame);
    }
    this.#frames.useHugetlb(frame);
    return frame;
  }

  /** The last reference of a page is gone: `FrameTable` calls this. */
  enqueue(frame: number): void {
    if (this.#restoreReserve?.delete(frame) === true) this.resvHugePages++;
    this.freeHugePages++;
    this.#free.push(frame);
  }

  /** Pages in use whose release makes a promise again. */
  get restoring(): number {
    return this.#restoreReserve?.size ?? 0;
  }

  restoresReserve(frame: number): boolean {
    return this.#restoreReserve?.has(frame) === true;
  }

  setRestoreReserve(frame: number): void {
    this.#restoreReserve ??= new Set();
    this.#restoreReserve.add(frame);
  }

  clearRestoreReserve(frame: number): void {
    this.#restoreReserve?.delete(frame);
  }
}

/** How many pages each pool begins with. */
export interface HugetlbPoolSizes {
  readonly hugepages2M: number;
  readonly hugepages1G: number;
}

/** Fault mutexes for each CPU; their number is rounded up to a power of two. */
const MUTEXES_PER_CPU = 8;

/** The pools of a machine, and the mutexes that faults take. */
export class HugetlbPools {
  /** From the smallest size; the first is the default one. */
  readonly hstates: readonly Hstate[];
  readonly #mutexes: (RwSemaphore | undefined)[];

  constructor(frames: FrameTable, format: PagingFormat, sizes: HugetlbPoolSizes, cpus: number) {
    const pmd = new Hstate(frames, format, format.levels.length - 2);
    const pudLevel = format.levels.length - 3;
    const pud = format.levels[pudLevel]?.leafAllowed === true ? new Hstate(frames, format, pudLevel) : null;
    this.hstates = pud === null ? [pmd] : [pmd, pud];
    this.#mutexes = new Array<undefined>(2 ** Math.ceil(Math.log2(MUTEXES_PER_CPU * cpus)));
    // The largest first, while memory is in one piece.
    pud?.grow(sizes.hugepages1G);
    pmd.grow(sizes.hugepages2M);
    if (sizes.hugepages1G + sizes.hugepages2M === 0) return;
    frames.freeHugetlb = (frame, order) => this.#ofOrder(order).enqueue(frame);
  }

  /** The size asked for by log2 of its bytes; 0 is the default size. Null: there is none (`hstate_sizelog`). */
  ofShift(shift: number): Hstate | null {
    if (shift === 0) return this.hstates[0] as Hstate;
    return this.hstates.find((hstate) => hstate.shift === shift) ?? null;
  }

  #ofOrder(order: number): Hstate {
    const hstate = this.hstates.find((each) => each.order === order);
    if (hstate === undefined) throw new Error(`no huge pages of order ${order}`);
    return hstate;
  }

  /**
   * The mutex under which the page at `index` (in huge pages) of the `object`-th file is faulted in: one of a few, as
   * in a hash table. Held for writing.
   */
  faultMutex(object: number, index: number): RwSemaphore {
    const at = (object * 31 + index) % this.#mutexes.length;
    let mutex = this.#mutexes[at];
    if (mutex === undefined) {
      mutex = new RwSemaphore(`hugetlb_fault_mutex ${at}`);
      this.#mutexes[at] = mutex;
    }
    return mutex;
  }

  /** Those that were ever needed. */
  faultMutexes(): RwSemaphore[] {
    return this.#mutexes.filter((mutex) => mutex !== undefined);
  }
}
