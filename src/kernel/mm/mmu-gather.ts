/**
 * Taking translations away: entries are cleared first, pages and tables collected, and only after the TLB flush are they
 * given back. While anybody is at it, the mm says so (`tlb_flush_pending`); of two that overlap, the one that finishes
 * with the other still there flushes everything, since it may have skipped entries the other had cleared.
 * Left out: batches of tables that are full before the end (`MAX_TABLE_BATCH`), and what is done when there is no memory
 * for a batch.
 * @see Linux mm/mmu_gather.c, include/asm-generic/tlb.h
 */
import { type PagingFormat, pagesPerEntry } from '../../arch/paging-format.ts';
import { PointKind, SchedPoint, StepCost, type Task } from '../../base/task.ts';
import { callRcu } from '../lock/rcu.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { TablePage } from './page-table.ts';
import { freeTable } from './page-table-alloc.ts';
import { removeRmap } from './rmap.ts';
import { freeSwapCache } from './swap-cache.ts';
import { flushTlbRange } from './tlb.ts';

/** MMU_GATHER_BUNDLE pages in the structure itself, then 19 batches of 510. More must be flushed before going on. */
const GATHER_LIMIT = 8 + 19 * 510;

export class MmuGather {
  readonly mm: MmStruct;
  readonly format: PagingFormat;
  /** The whole address space goes: no need to be selective. */
  fullMm: boolean;
  /** The range to flush, in pages; empty while start ≥ end. */
  start = Number.POSITIVE_INFINITY;
  end = 0;
  freedTables = false;
  /** Tables were left that other address spaces go on using: no walker may be in them after the flush. */
  unsharedTables = false;
  /** One of them is now the only other one's, who may do with it as with any (`fully_unshared_tables`). */
  fullyUnsharedTables = false;
  /** The largest level index of a cleared entry; the format's last level is the finest. -1: none. */
  clearedLevel = -1;
  /** Entries of another level were cleared, too. */
  mixedLevels = false;
  /** Of a VMA whose pages nobody counts (VM_PFNMAP, VM_MIXEDMAP): see `tlbFreeVmas` (`vma_pfn`). */
  vmaPfn = false;
  /** Pages whose pte's reference is dropped after the flush. */
  readonly pages: number[] = [];
  readonly tables: TablePage[] = [];
  /** Dirty file pages that stay mapped, in the eyes of others, until the flush (`delayed_rmap`). */
  readonly delayedRmaps: number[] = [];
  /** Just before `tlb_flush_pending` changes. */
  readonly pending: SchedPoint;

  constructor(mm: MmStruct, fullMm: boolean) {
    this.mm = mm;
    this.format = mm.kernel.arch.format;
    this.fullMm = fullMm;
    if (mm.context === null) throw new Error(`${mm.name} has no page tables`);
    this.pending = new SchedPoint(PointKind.Write, mm.context, 'tlb_flush_pending', StepCost.AtomicUpdate);
  }

  /** Must the gather be flushed before more pages are added? */
  get full(): boolean {
    return this.pages.length >= GATHER_LIMIT;
  }

  /** An entry of `level` at `page` was cleared or lost rights (`tlb_remove_tlb_entry`, `tlb_flush_pte_range`). */
  noteEntry(page: number, level: number): void {
    const pages = pagesPerEntry(this.format, level);
    if (page < this.start) this.start = page;
    if (page + pages > this.end) this.end = page + pages;
    if (this.clearedLevel !== -1 && level !== this.clearedLevel) this.mixedLevels = true;
    if (level > this.clearedLevel) this.clearedLevel = level;
  }

  /** A page that no pte maps any more; the reference of the pte goes with it (`__tlb_remove_page`). */
  addPage(frame: number): void {
    this.pages.push(frame);
  }

  /** A table that no entry points to any more; it was below an entry of `level` (`pte_free_tlb` …). */
  addTable(table: TablePage, page: number): void {
    this.tables.push(table);
    this.freedTables = true;
    this.noteEntry(page, table.level - 1);
  }

  resetRange(): void {
    this.start = this.fullMm ? 0 : Number.POSITIVE_INFINITY;
    this.end = this.fullMm ? Number.POSITIVE_INFINITY : 0;
    this.freedTables = false;
    this.clearedLevel = -1;
    this.mixedLevels = false;
  }
}

/** `tlb_gather_mmu`, or with `fullMm` `tlb_gather_mmu_fullmm`. */
export function* tlbGatherMmu(_current: TaskStruct, mm: MmStruct, fullMm = false): Task<MmuGather> {
  const gather = new MmuGather(mm, fullMm);
  gather.resetRange();
  yield gather.pending;
  mm.tlbFlushPending++;
  return gather;
}

/** Flushes what was collected, keeping the pages for later. @see `tlb_flush_mmu_tlbonly` */
export function* tlbFlushMmuTlbOnly(current: TaskStruct, gather: MmuGather): Task<void> {
  const { mm, format } = gather;
  if (gather.clearedLevel < 0 && !gather.freedTables) return;
  const level = format.levels[gather.clearedLevel < 0 ? format.levels.length - 1 : gather.clearedLevel];
  const shift = level?.shift ?? format.pageShift;
  const end = Math.min(gather.end, mm.taskSizePages);
  yield* flushTlbRange(current, mm, gather.start, end, shift, gather.freedTables, gather.mixedLevels);
  gather.resetRange();
}

/** The rmap removals that waited for the flush; the ptl is still held. @see `tlb_flush_rmaps` */
export function tlbFlushRmaps(gather: MmuGather): void {
  const { frames } = gather.mm.kernel;
  for (const frame of gather.delayedRmaps) removeRmap(frames, frame, gather.mm);
  gather.delayedRmaps.length = 0;
}

/**
 * Before the VMAs of the gather are hidden from the rmap. What a driver maps by number is kept by no reference: when the
 * driver finds no mapping of it any more it goes its ways, so no TLB may have it by then (CVE-2022-39188).
 * @see `tlb_free_vmas`
 */
export function* tlbFreeVmas(current: TaskStruct, gather: MmuGather): Task<void> {
  if (gather.fullMm || !gather.vmaPfn || gather.mm.kernel.bugs.pfnmapStaleTlb) return;
  yield* tlbFlushMmuTlbOnly(current, gather);
  gather.vmaPfn = false;
}

/**
 * Tables outlive the RCU sections of those who found them before they were taken out. Interrupts that are off count as
 * such a section, which is what lockless walkers rely on. @see `tlb_table_flush`, `tlb_remove_table_free`
 */
function freeTables(gather: MmuGather): void {
  if (gather.tables.length === 0) return;
  const { kernel } = gather.mm;
  const batch = gather.tables.splice(0);
  callRcu(kernel, () => {
    for (const table of batch) freeTable(kernel, table);
  });
}

/** Flushes, then frees tables and pages. @see `tlb_flush_mmu` */
export function* tlbFlushMmu(current: TaskStruct, gather: MmuGather): Task<void> {
  const { kernel } = gather.mm;
  yield* tlbFlushMmuTlbOnly(current, gather);
  freeTables(gather);
  for (const frame of gather.pages) {
    // `free_pages_and_swap_cache`.
    if (kernel.swap !== null) yield* freeSwapCache(current, kernel.frames.head(frame));
    yield kernel.frames.refPoint(frame);
    kernel.frames.put(frame);
  }
  gather.pages.length = 0;
}

/** @see `tlb_finish_mmu` */
export function* tlbFinishMmu(current: TaskStruct, gather: MmuGather): Task<void> {
  const { mm } = gather;
  yield gather.pending;
  if (mm.tlbFlushPending > 1 && !mm.kernel.bugs.nestedTlbGather) {
    gather.fullMm = true;
    gather.resetRange();
    gather.freedTables = true;
  }
  yield* tlbFlushMmu(current, gather);
  yield gather.pending;
  mm.tlbFlushPending--;
}
