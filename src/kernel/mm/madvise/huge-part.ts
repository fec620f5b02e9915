/**
 * What MADV_FREE, MADV_COLD and MADV_PAGEOUT do with a large folio: it is advised as a whole, or if the range covers only a
 * part of it, or only a part is mapped there, split first. One that another mm maps too is left alone.
 * @see Linux mm/huge_memory.c, `madvise_free_huge_pmd`; mm/madvise.c, `madvise_cold_or_pageout_pte_range`,
 * `madvise_free_pte_range`, `madvise_folio_pte_batch`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioLock, folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import type { MmuGather } from '../mmu-gather.ts';
import { isWholeHugePage, PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { rootTable } from '../page-table-alloc.ts';
import { pmdIndex, pmdTransHugeLock } from '../thp/huge-pmd.ts';
import { splitFolio } from '../thp/split-folio.ts';
import type { VmArea } from '../vma.ts';
import { HugeVerdict, type PageTableVisitor, walkPageTables } from '../walk-page-tables.ts';

/** How the advice treats a huge page that one pmd maps. */
export interface HugeAdvice {
  /** EntryFlag bits that the pmd loses. */
  readonly clear: number;
  /** Whoever has the folio locked is waited for when it must be split; else it is left alone, split or not. */
  readonly waits: boolean;
  /** What becomes of the folio; the pmd is locked. */
  readonly advise: (folio: number) => void;
}

/** Pages [page, end) of the VMA are mapped by one pmd. */
export function* adviseHugePage(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  end: number,
  gather: MmuGather,
  advice: HugeAdvice,
): Task<HugeVerdict> {
  const { frames, pageTables } = current.kernel;
  const table = yield* pmdTransHugeLock(current, vma.mm, page);
  if (table === null) return HugeVerdict.LookAgain;
  const folio = pageTables.frame(table.level);
  const whole = isWholeHugePage(pageTables, page, end);
  let goesOn = !frames.isZeroFrame(folio) && !frames.maybeMappedShared(folio);
  if (goesOn && !advice.waits) goesOn = yield* folioTrylock(current, folio);
  if (goesOn && whole) {
    yield* adviseWhole(table, page, folio, gather, advice);
    if (!advice.waits) yield* folioUnlock(current, folio);
  } else if (goesOn) frames.get(folio);
  yield* table.lock.unlock(current);
  if (!goesOn || whole) return HugeVerdict.Done;
  if (advice.waits) yield* folioLock(current, folio);
  yield* splitAndPut(current, folio);
  const still = pageTables.pmdKind(rootTable(vma.mm), page) === PmdKind.Huge;
  return still ? HugeVerdict.Done : HugeVerdict.LookAgain;
}

/** With the pmd's lock held. */
function* adviseWhole(
  table: TablePage,
  page: number,
  folio: number,
  gather: MmuGather,
  { clear, advise }: HugeAdvice,
): Task<void> {
  const { frames, pageTables } = gather.mm.kernel;
  const index = pmdIndex(pageTables, page);
  pageTables.read(table, index);
  if ((pageTables.flags(table.level) & clear) !== 0) {
    yield table.setEntry;
    pageTables.change(table, index, 0, clear);
    gather.noteEntry(page, table.level);
  }
  yield frames.refPoint(folio);
  advise(folio);
}

/** Splits a locked folio; lock and reference go. 0 or an error of `splitFolio`. */
function* splitAndPut(current: TaskStruct, folio: number): Task<number> {
  const { frames } = current.kernel;
  const error = yield* splitFolio(current, folio);
  yield* folioUnlock(current, folio);
  yield frames.refPoint(folio);
  frames.put(folio);
  return error;
}

/** Where a walk has stopped to have a folio split, which it has locked and taken a reference of. */
interface StoppedAt {
  readonly folio: number;
  readonly page: number;
}

/** No result of Linux's: the walk is to go on after a split. */
export const STOPPED = 1;

/** A visitor that stops at ptes of large folios. */
export class SplittingVisitor {
  protected readonly current: TaskStruct;
  #stopped: StoppedAt | null = null;

  constructor(current: TaskStruct) {
    this.current = current;
  }

  /**
   * The pte of `page`, before `end` in the locked table, maps the first of so many pages that are to be advised together:
   * 1, or all of a large folio; 0 when this page is to be left alone; -1 when the visit is to end with `STOPPED`.
   */
  *pagesTogether(table: TablePage, page: number, end: number, frame: number): Task<number> {
    const { frames } = this.current.kernel;
    if (!frames.isLarge(frame)) return 1;
    const pages = 2 ** frames.order(frame);
    if (frames.head(frame) === frame && mapsAll(this.current, table, page, end, frame)) return pages;
    if (frames.maybeMappedShared(frame) || !(yield* folioTrylock(this.current, frame))) return 0;
    frames.get(frame);
    this.#stopped = { folio: frame, page };
    return -1;
  }

  /** Where to go on after what the walk stopped for has been split, or could not be; null: it did not stop. */
  *splitStopped(): Task<number | null> {
    if (this.#stopped === null) return null;
    const { folio, page } = this.#stopped;
    this.#stopped = null;
    return (yield* splitAndPut(this.current, folio)) === 0 ? page : page + 1;
  }
}

/** Do the ptes from that of `page` on map all pages of the folio that begins with `head`? */
function mapsAll(
  { kernel: { frames, pageTables } }: TaskStruct,
  table: TablePage,
  page: number,
  end: number,
  head: number,
): boolean {
  const pages = 2 ** frames.order(head);
  if (page + pages > end) return false;
  for (let i = 0; i < pages; i++) {
    pageTables.read(table, pteIndex(pageTables, page + i));
    if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) return false;
    if (pageTables.frame(table.level) !== head + i) return false;
  }
  return true;
}

/** Walks [start, end) of the VMA, splitting on the way what the visitor stops at. */
export function* walkSplitting(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  visitor: SplittingVisitor & PageTableVisitor,
): Task<void> {
  for (let page: number | null = start; page !== null && page < end; ) {
    yield* walkPageTables(current, vma, page, end, visitor);
    page = yield* visitor.splitStopped();
  }
}
