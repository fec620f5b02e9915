/**
 * Freeing the page tables that only unmapped VMAs used: those whose whole span lies between the neighbours that stay.
 * Nobody but the caller may be able to reach the range: the VMAs are out of the tree.
 * @see Linux mm/memory.c, `free_pgtables`, `free_pgd_range` … `free_pte_range`
 */
import { pagesPerEntry, tableIndex } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { unlinkAnonVmas } from './anon-vma.ts';
import { unlinkFileVmas } from './i-mmap.ts';
import type { MmStruct } from './mm.ts';
import { type MmuGather, tlbFreeVmas } from './mmu-gather.ts';
import { entryEnd, type TablePage } from './page-table.ts';
import { rootTable } from './page-table-alloc.ts';
import type { VmArea } from './vma.ts';
import { vmaStartWrite } from './vma-lock.ts';

const TABLE_BYTES = 4096;
/** No VMA stays above: the end of all tables, also where user space ends a page before its last table does. */
export const USER_PGTABLES_CEILING = 2 ** 52;

/**
 * @param vmas detached, ascending; their ptes are gone
 * @param floor end of the VMA below that stays, 0 when there is none; a page number
 * @param ceiling start of the VMA above that stays, or USER_PGTABLES_CEILING
 * @param writeLock mmap_lock is held for writing and the VMAs are not write-locked yet
 */
export function* freePgtables(
  current: TaskStruct,
  mm: MmStruct,
  gather: MmuGather,
  vmas: readonly VmArea[],
  floor: number,
  ceiling: number,
  writeLock = false,
): Task<void> {
  yield* tlbFreeVmas(current, gather);
  if (mm.pgd === -1) return;
  const pmdPages = pagesPerEntry(gather.format, gather.format.levels.length - 2);
  for (let at = 0; at < vmas.length; ) {
    const from = at;
    const first = vmas[at] as VmArea;
    let last = first;
    // VMAs close to each other share tables: one pass for all of them.
    for (at++; at < vmas.length && (vmas[at] as VmArea).start <= last.end + pmdPages; at++) {
      last = vmas[at] as VmArea;
    }
    yield* hideFromRmap(current, vmas.slice(from, at), writeLock);
    const limit = at < vmas.length ? (vmas[at] as VmArea).start : ceiling;
    yield* freePgdRange(current, mm, gather, first.start, last.end, floor, limit);
  }
}

/** Whoever comes by the rmap must not find VMAs whose tables are going. */
function* hideFromRmap(current: TaskStruct, vmas: readonly VmArea[], writeLock: boolean): Task<void> {
  for (const vma of vmas) {
    if (writeLock) yield* vmaStartWrite(current, vma.mm, vma);
    yield* unlinkAnonVmas(current, vma);
  }
  yield* unlinkFileVmas(current, vmas);
}

function roundDown(page: number, span: number): number {
  return page - (page % span);
}

/** Tables of [start, end), as far as nothing outside [floor, ceiling) is in them. @see `free_pgd_range` */
export function* freePgdRange(
  current: TaskStruct,
  mm: MmStruct,
  gather: MmuGather,
  start: number,
  end: number,
  floor: number,
  ceiling: number,
): Task<void> {
  const pmdPages = pagesPerEntry(gather.format, gather.format.levels.length - 2);
  let from = roundDown(start, pmdPages);
  if (from < floor) from += pmdPages;
  const limit = roundDown(ceiling, pmdPages);
  let to = end;
  if (to > limit) to = roundDown(to - 1, pmdPages);
  if (from >= to) return;
  const table = rootTable(mm);
  yield* freeBelow({ current, mm, gather, floor, ceiling }, table, from, to);
}

interface FreeScope {
  readonly current: TaskStruct;
  readonly mm: MmStruct;
  readonly gather: MmuGather;
  readonly floor: number;
  readonly ceiling: number;
}

/** Frees tables below the entries of `table` that [start, end) covers, deepest first. */
function* freeBelow(scope: FreeScope, table: TablePage, start: number, end: number): Task<void> {
  const { pageTables } = scope.mm.kernel;
  const { format, lastLevel } = pageTables;
  for (let page = start; page < end; ) {
    const next = entryEnd(format, page, end, table.level);
    const index = tableIndex(format, page, table.level);
    pageTables.read(table, index);
    if (format.isTable(pageTables.hi, pageTables.lo, table.level)) {
      const child = pageTables.tableAt(pageTables.frame(table.level));
      if (child.level < lastLevel) yield* freeBelow(scope, child, page, next);
      yield* freeChild(scope, table, index, child, page, next);
    }
    page = next;
  }
}

/** Frees one table if all it spans lies between floor and ceiling. */
function* freeChild(
  scope: FreeScope,
  table: TablePage,
  index: number,
  child: TablePage,
  start: number,
  end: number,
): Task<void> {
  const { mm, gather, floor, ceiling } = scope;
  const span = pagesPerEntry(gather.format, table.level);
  const from = roundDown(start, span);
  if (from < floor) return;
  // Pages from the last needed one up to the table's end must belong to nobody.
  if (end > roundDown(ceiling, span)) return;
  yield table.setEntry;
  mm.kernel.pageTables.write(table, index, 0, 0);
  gather.addTable(child, from);
  mm.pgtablesBytes -= TABLE_BYTES;
}
