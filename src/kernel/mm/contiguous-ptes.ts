/**
 * Where the kernel makes and breaks up runs of contiguous ptes, on an architecture that has them. A run needs a folio
 * that holds all of its pages, so that single pages never form one; `inRun` and `endsRun` say so without a step.
 * Left out: setting, write-protecting and clearing a whole run at once (`set_ptes`, `wrprotect_ptes`,
 * `clear_full_ptes` of a batch): ptes change one by one here, so the first of them breaks the run up.
 * @see Linux arch/arm64/include/asm/pgtable.h, `set_ptes`, `ptep_get_and_clear`, `wrprotect_ptes`,
 * `ptep_set_access_flags`; arch/arm64/mm/contpte.c
 */
import type { FlushLeaves, PteTable } from '../../arch/contiguous-entries.ts';
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { type PageTables, pteIndex, type TablePage } from './page-table.ts';
import { flushTlbRange } from './tlb.ts';

function viewOf(pageTables: PageTables, table: TablePage): PteTable {
  return {
    setEntry: table.setEntry,
    read(index: number, out: Halves): void {
      pageTables.read(table, index);
      out.hi = pageTables.hi;
      out.lo = pageTables.lo;
    },
    write(index: number, { hi, lo }: Readonly<Halves>): void {
      pageTables.write(table, index, hi, lo);
    },
  };
}

const flushOf =
  (current: TaskStruct, mm: MmStruct): FlushLeaves =>
  (startPage, endPage) =>
    flushTlbRange(current, mm, startPage, endPage, mm.kernel.arch.format.pageShift, false);

/** Is the entry one of a run? Reads it, where there are runs at all. Needs the table's lock, as all below. */
export function inRun({ arch, pageTables }: Kernel, table: TablePage, index: number): boolean {
  if (arch.contiguousEntries === null) return false;
  pageTables.read(table, index);
  return (pageTables.flags(table.level) & EntryFlag.Cont) !== 0;
}

/** Before the pte of `page`, for which `inRun` is true, changes alone (`contpte_try_unfold`). */
export function* unfoldRun(current: TaskStruct, mm: MmStruct, table: TablePage, page: number): Task<void> {
  const { arch, pageTables } = mm.kernel;
  const index = pteIndex(pageTables, page);
  yield* need(arch.contiguousEntries).tryUnfold(viewOf(pageTables, table), index, page, flushOf(current, mm));
}

/**
 * May the pte of `page` be the last that was missing of a run? Only the last page of an aligned run is asked for its folio.
 */
export function endsRun({ arch, frames }: Kernel, page: number, frame: number): boolean {
  const { contiguousEntries } = arch;
  if (contiguousEntries === null) return false;
  const last = contiguousEntries.count - 1;
  if (page % contiguousEntries.count !== last || frame % contiguousEntries.count !== last) return false;
  return frames.order(frame) > 0;
}

/** After the pte of `page`, for which `endsRun` is true, was set (`contpte_try_fold`). */
export function* foldRun(
  current: TaskStruct,
  mm: MmStruct,
  table: TablePage,
  page: number,
  frame: number,
): Task<void> {
  const { arch, frames, pageTables } = mm.kernel;
  const index = pteIndex(pageTables, page);
  const folio = { firstFrame: frames.head(frame), frames: 2 ** frames.order(frame) };
  const view = viewOf(pageTables, table);
  yield* need(arch.contiguousEntries).tryFold(view, index, page, folio, flushOf(current, mm));
}

/** `EntryFlag` bits of a pte for which `inRun` is true (`contpte_ptep_get`). */
export function flagsInRun({ arch, pageTables }: Kernel, table: TablePage, index: number): number {
  return need(arch.contiguousEntries).flagsOf(viewOf(pageTables, table), index);
}

/** `ptep_set_access_flags` for a pte for which `inRun` is true, with the flush that it needs. */
export function* setAccessFlagsInRun(
  current: TaskStruct,
  mm: MmStruct,
  table: TablePage,
  page: number,
  set: number,
): Task<boolean> {
  const { arch, pageTables } = mm.kernel;
  const index = pteIndex(pageTables, page);
  const view = viewOf(pageTables, table);
  return yield* need(arch.contiguousEntries).setAccessFlags(view, index, page, set, flushOf(current, mm));
}

function need<T>(entries: T | null): T {
  if (entries === null) throw new Error('a run of contiguous ptes on an architecture without');
  return entries;
}
