/**
 * Moving what a range of pages maps to another range of the same address space: whole tables where source and target
 * lie alike, single entries otherwise. The old range's translations are flushed while the locks of both tables are
 * held: once a lock is free, somebody may unmap the page at its new place and free it, and nothing would then remove
 * what TLBs still hold for the old one (CVE-2018-18281).
 * Left out: soft-dirty tracking.
 * @see Linux mm/mremap.c, `move_page_tables`, `move_ptes`, `move_normal_pmd`, `try_realign_addr`
 */
import { EntryFlag, pagesPerEntry, tableIndex } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { SINGLE_DEPTH_NESTING } from '../lock/lock-classes.ts';
import type { TaskStruct } from '../task-struct.ts';
import { endsRun, foldRun, inRun, unfoldRun } from './contiguous-ptes.ts';
import { moveHugetlbPageTables } from './hugetlb/move.ts';
import type { MmStruct } from './mm.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { type PageTables, pteIndex, type TablePage } from './page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable, tableAlloc } from './page-table-alloc.ts';
import { flushTlbBatchedPending } from './reclaim/tlb-batch.ts';
import { dropRmapLocks, takeRmapLocks } from './rmap-locks.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from './swap-entry.ts';
import { moveHugePmd } from './thp/move-huge-pmd.ts';
import { splitHugePmd } from './thp/split-pmd.ts';
import { flushTlbRange } from './tlb.ts';
import { vmaHasUffdWithoutEventRemap } from './userfaultfd/events.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB } from './vma-flags.ts';

/** From where to where (`struct pagetable_move_control`). Pages. */
export interface PageTableMove {
  readonly old: VmArea;
  readonly new: VmArea;
  readonly oldPage: number;
  readonly newPage: number;
  readonly pages: number;
  /** A walk of the rmap might see neither the old nor the new entry: its locks are taken. */
  readonly needRmapLocks: boolean;
  /** Inside one VMA, downwards (exec). */
  readonly forStack: boolean;
}

/** Where the move is. */
class MoveCursor {
  readonly current: TaskStruct;
  readonly mm: MmStruct;
  readonly pageTables: PageTables;
  readonly root: TablePage;
  readonly move: PageTableMove;
  readonly end: number;
  /** Without a remap event, the moved range is not registered with userfaultfd: its marks must not go along. */
  readonly clearUffdWp: boolean;
  oldPage: number;
  newPage: number;
  /** With `kernel.bugs.mremapStaleTlb`: entries have moved whose translations are still to be flushed (`need_flush`). */
  needFlush = false;

  constructor(current: TaskStruct, move: PageTableMove) {
    this.current = current;
    this.mm = move.old.mm;
    this.pageTables = this.mm.kernel.pageTables;
    this.root = rootTable(this.mm);
    this.move = move;
    this.end = move.oldPage + move.pages;
    this.clearUffdWp = vmaHasUffdWithoutEventRemap(move.old);
    this.oldPage = move.oldPage;
    this.newPage = move.newPage;
  }

  /** May whole tables move? Not past marks that must be taken out, on the way or on the way back. */
  get movesTables(): boolean {
    return !this.clearUffdWp && this.move.new.userfaultfd === null;
  }

  /** Pages up to where an entry of `level` ends, on either side, or the range does. @see `get_extent` */
  extent(level: number): number {
    const span = pagesPerEntry(this.pageTables.format, level);
    const left = this.end - this.oldPage;
    return Math.min(left, span - (this.oldPage % span), span - (this.newPage % span));
  }

  /** Reads the entry of `level` of the old page; false when there is none. */
  readOld(level: number): boolean {
    const { pageTables } = this;
    const table = pageTables.lookup(this.root, this.oldPage, level);
    if (table === null) return false;
    pageTables.read(table, tableIndex(pageTables.format, this.oldPage, level));
    return !pageTables.format.isNone(pageTables.hi, pageTables.lo);
  }
}

/**
 * Moves the entries. Needs mmap_lock for writing and both VMAs write-locked; nothing may be mapped in the new range.
 * Returns the pages moved: fewer than asked for when there is no memory for tables.
 */
export function* movePageTables(current: TaskStruct, move: PageTableMove): Task<number> {
  if (move.pages === 0) return 0;
  if ((move.old.flags & VM_HUGETLB) !== 0) return yield* moveHugetlbPageTables(current, move);
  const range = mmuNotifierRange(move.old.mm, move.oldPage, move.oldPage + move.pages, 'unmap');
  yield* mmuNotifierStart(current, range);
  const cursor = new MoveCursor(current, move);
  realign(cursor);
  while (cursor.oldPage < cursor.end) {
    const pages = yield* moveNext(cursor);
    if (pages === 0) break;
    cursor.oldPage += pages;
    cursor.newPage += pages;
  }
  if (cursor.needFlush) yield* flushOld(current, cursor.mm, move.oldPage, cursor.oldPage);
  yield* mmuNotifierEnd(current, range);
  return Math.max(0, cursor.oldPage - move.oldPage);
}

/**
 * Begins at the start of the first pte table when nothing else is in it, so that it can move as a whole.
 * @see `can_realign_addr`
 */
function realign(cursor: MoveCursor): void {
  const { move, pageTables } = cursor;
  const span = pagesPerEntry(pageTables.format, pageTables.lastLevel - 1);
  const beyond = move.oldPage % span;
  if (beyond === 0 || beyond !== move.newPage % span || move.pages < span - beyond) return;
  if (!canAlignDown(move, move.old, move.oldPage, move.oldPage - beyond)) return;
  if (!canAlignDown(move, move.new, move.newPage, move.newPage - beyond)) return;
  cursor.oldPage -= beyond;
  cursor.newPage -= beyond;
}

function canAlignDown(move: PageTableMove, vma: VmArea, page: number, aligned: number): boolean {
  if (!move.forStack && vma.start !== page) return false;
  if (move.forStack && aligned >= vma.start) return true;
  return vma.mm.vmas.findIntersection(aligned, vma.start) === null;
}

/** What the next table entry covers, as a whole or pte by pte. Pages done, also of a hole; 0 without memory. */
function* moveNext(cursor: MoveCursor): Task<number> {
  const pmd = cursor.pageTables.lastLevel - 1;
  const above = yield* moveAtLevel(cursor, pmd - 1);
  if (above >= 0) return above;
  const whole = yield* moveAtLevel(cursor, pmd);
  return whole >= 0 ? whole : yield* moveByPtes(cursor, pmd);
}

/**
 * The part that one entry of `level` covers, if there is nothing in it or all of it moves at once: pages done, 0 without
 * memory for the tables above the target; -1 when one must look further down.
 */
function* moveAtLevel(cursor: MoveCursor, level: number): Task<number> {
  const extent = cursor.extent(level);
  if (!cursor.readOld(level)) return extent;
  const target = yield* tableAlloc(cursor.current, cursor.mm, cursor.newPage, level);
  if (target === null) return 0;
  if (extent < pagesPerEntry(cursor.pageTables.format, level)) return -1;
  return (yield* moveWhole(cursor, target, level)) ? extent : -1;
}

/** An entry of `level` as it is: a huge page, or the table below it. */
function* moveWhole(cursor: MoveCursor, target: TablePage, level: number): Task<boolean> {
  const { current, move, pageTables, oldPage, newPage } = cursor;
  if (!cursor.readOld(level)) return false;
  const table = pageTables.format.isTable(pageTables.hi, pageTables.lo, level);
  // A walk of the rmap would find neither end of a table that is on its way.
  const locked = table || move.needRmapLocks;
  if (locked) yield* takeRmapLocks(current, move.old);
  const moved = table
    ? yield* moveTable(cursor, target, level)
    : yield* moveHugePmd(current, move.old, oldPage, newPage, target);
  if (locked) yield* dropRmapLocks(current, move.old);
  return moved;
}

/** A huge page that cannot move as one is split. */
function* moveByPtes(cursor: MoveCursor, pmd: number): Task<number> {
  const { current, move, pageTables } = cursor;
  const extent = cursor.extent(pmd);
  for (;;) {
    if (!cursor.readOld(pmd)) return extent;
    if (!pageTables.format.isTable(pageTables.hi, pageTables.lo, pmd)) {
      yield* splitHugePmd(current, move.old, cursor.oldPage);
    } else {
      if ((yield* pteAlloc(current, cursor.mm, cursor.newPage)) === null) return 0;
      if (yield* movePtes(cursor, extent)) return extent;
    }
  }
}

/**
 * Hangs the table below the old entry of `level` under the new one. False, and nothing done, when that is not possible.
 * @see `move_normal_pmd`, `move_normal_pud`
 */
function* moveTable(cursor: MoveCursor, target: TablePage, level: number): Task<boolean> {
  const { current, mm, pageTables, oldPage, newPage } = cursor;
  const { format } = pageTables;
  if (!cursor.movesTables) return false;
  const newIndex = tableIndex(format, newPage, level);
  pageTables.read(target, newIndex);
  // A stack that moves down may leave its own empty table there.
  if (!format.isNone(pageTables.hi, pageTables.lo)) return false;
  const source = pageTables.lookup(cursor.root, oldPage, level);
  if (source === null) return false;
  const oldIndex = tableIndex(format, oldPage, level);
  const nested = source.lock !== target.lock;
  yield* source.lock.lock(current);
  if (nested) yield* target.lock.lock(current, SINGLE_DEPTH_NESTING);
  pageTables.read(source, oldIndex);
  const isTable = format.isTable(pageTables.hi, pageTables.lo, level);
  if (isTable) {
    const entry: Halves = { hi: 0, lo: 0 };
    format.packTable(pageTables.frame(level), level, entry);
    yield source.setEntry;
    pageTables.write(source, oldIndex, 0, 0);
    yield target.setEntry;
    pageTables.write(target, newIndex, entry.hi, entry.lo);
    yield* flushOld(current, mm, oldPage, oldPage + pagesPerEntry(format, level));
  }
  if (nested) yield* target.lock.unlock(current);
  yield* source.lock.unlock(current);
  return isTable;
}

/** Upper levels of the walk may be cached too. Needs both locks. */
function flushOld(current: TaskStruct, mm: MmStruct, start: number, end: number): Task<void> {
  return flushTlbRange(current, mm, start, end, mm.kernel.arch.format.pageShift, true);
}

/**
 * Entry by entry, within one table on either side. False: the source table has gone or become a huge page.
 * @see `move_ptes`
 */
function* movePtes(cursor: MoveCursor, extent: number): Task<boolean> {
  const { current, move } = cursor;
  if (!move.needRmapLocks) return yield* moveLockedPtes(cursor, extent);
  yield* takeRmapLocks(current, move.old);
  const moved = yield* moveLockedPtes(cursor, extent);
  yield* dropRmapLocks(current, move.old);
  return moved;
}

function* moveLockedPtes(cursor: MoveCursor, extent: number): Task<boolean> {
  const { current, mm, pageTables, oldPage, newPage } = cursor;
  const source = yield* pteOffsetMapLock(current, mm, oldPage);
  if (source === null) return false;
  // Holding mmap_lock for writing, nobody else can take this one away again.
  const target = pageTables.lookup(cursor.root, newPage, pageTables.lastLevel);
  if (target === null) {
    yield* pteUnmapUnlock(current, source);
    return false;
  }
  if (target !== source) yield* target.lock.lock(current, SINGLE_DEPTH_NESTING);
  yield* flushTlbBatchedPending(current, mm);
  let flush = false;
  for (let i = 0; i < extent; i++) flush = (yield* movePte(cursor, source, target, i)) || flush;
  if (flush && mm.kernel.bugs.mremapStaleTlb) cursor.needFlush = true;
  else if (flush) yield* flushOld(current, mm, oldPage, oldPage + extent);
  if (target !== source) yield* target.lock.unlock(current);
  yield* pteUnmapUnlock(current, source);
  return true;
}

/** The `i`-th pte from where the cursor is; true when a TLB may hold it. */
function* movePte(cursor: MoveCursor, source: TablePage, target: TablePage, i: number): Task<boolean> {
  const { current, mm, pageTables } = cursor;
  const { format, lastLevel } = pageTables;
  const oldPage = cursor.oldPage + i;
  const newPage = cursor.newPage + i;
  const oldIndex = pteIndex(pageTables, oldPage);
  const newIndex = pteIndex(pageTables, newPage);
  pageTables.read(source, oldIndex);
  if (format.isNone(pageTables.hi, pageTables.lo)) return false;
  const present = (pageTables.flags(lastLevel) & EntryFlag.Present) !== 0;
  if (present && inRun(mm.kernel, source, oldIndex)) yield* unfoldRun(current, mm, source, oldPage);
  yield source.setEntry;
  pageTables.getAndClear(source, oldIndex);
  const entry: Halves = { hi: pageTables.hi, lo: pageTables.lo };
  if (cursor.clearUffdWp && !takeUffdWpOff(pageTables, entry, present)) return present;
  yield target.setEntry;
  if (!present) {
    pageTables.write(target, newIndex, entry.hi, entry.lo);
    return false;
  }
  pageTables.setEntry(target, newIndex, entry.hi, entry.lo);
  const frame = format.frameOf(entry.hi, entry.lo, lastLevel);
  if (endsRun(mm.kernel, newPage, frame)) yield* foldRun(current, mm, target, newPage, frame);
  return true;
}

/** Takes the write-protection mark out of an entry; false when the entry was nothing but the mark. */
function takeUffdWpOff({ format, lastLevel }: PageTables, entry: Halves, present: boolean): boolean {
  const { hi, lo } = entry;
  const marker = !present && format.swapTypeOf(hi, lo) === SWP_PTE_MARKER;
  if (marker && (format.swapOffsetOf(hi, lo) & PTE_MARKER_UFFD_WP) !== 0) return false;
  if (!marker) format.change(hi, lo, lastLevel, 0, EntryFlag.UffdWp, entry);
  return true;
}
