/**
 * Adding tables where a walk finds none, and taking a pte table's lock. A new table is filled with zeros before the
 * entry that points to it is written; whoever loses the race for that entry gives its page back.
 * Left out: charging tables to a memory cgroup.
 * @see Linux mm/memory.c, `__p4d_alloc` … `__pte_alloc`; mm/pgtable-generic.c, `pte_offset_map_lock`
 */
import { tableIndex } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { Kernel } from '../kernel.ts';
import { rcuReadLock, rcuReadUnlock } from '../lock/rcu.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { TablePage } from './page-table.ts';

const PAGE_BYTES = 4096;

/** The root table of an mm. */
export function rootTable(mm: MmStruct): TablePage {
  return mm.kernel.pageTables.tableAt(mm.pgd);
}

/** Tables from the pmd level down have locks of their own; those above share the mm's. */
function sharedLockOf(kernel: Kernel, mm: MmStruct, level: number) {
  return level >= kernel.pageTables.lastLevel - 1 ? null : mm.pageTableLock;
}

/** A zeroed page for a table of `level`, not linked yet; null when there is no memory. */
export function allocateTable(kernel: Kernel, mm: MmStruct, level: number): TablePage | null {
  const frame = kernel.frames.allocateZeroed();
  if (frame === NO_FRAME) return null;
  kernel.frames.setFlags(frame, FrameFlag.PageTable);
  const name = kernel.arch.format.levels[level]?.name ?? 'table';
  const table = new TablePage(frame, level, name, sharedLockOf(kernel, mm, level), mm);
  kernel.pageTables.add(table);
  mm.pgtablesBytes += PAGE_BYTES;
  return table;
}

/** The same once memory has run out: user pages make room. May sleep. */
function* allocateTableSlowly(current: TaskStruct, mm: MmStruct, level: number): Task<TablePage | null> {
  const { directReclaim } = mm.kernel;
  if (directReclaim === null) return null;
  for (;;) {
    const { reclaimed } = yield* directReclaim(current, 1);
    const table = allocateTable(mm.kernel, mm, level);
    if (table !== null || reclaimed === 0) return table;
  }
}

/** Gives a table's page back to the allocator. No entry may point to it and no TLB may hold anything of it. */
export function freeTable(kernel: Kernel, table: TablePage): void {
  kernel.pageTables.remove(table);
  kernel.frames.put(table.frame);
}

/**
 * Puts a new table below entry `index` of `upper`, unless somebody was faster.
 * False when there is no memory.
 */
function* addTable(current: TaskStruct, mm: MmStruct, upper: TablePage, index: number): Task<boolean> {
  const { kernel } = mm;
  const { pageTables } = kernel;
  const level = upper.level + 1;
  const table = allocateTable(kernel, mm, level) ?? (yield* allocateTableSlowly(current, mm, level));
  if (table === null) return false;
  yield* upper.lock.lock(current);
  pageTables.read(upper, index);
  const lost = !pageTables.format.isNone(pageTables.hi, pageTables.lo);
  if (!lost) {
    const entry: Halves = { hi: 0, lo: 0 };
    pageTables.format.packTable(table.frame, upper.level, entry);
    yield upper.setEntry;
    pageTables.write(upper, index, entry.hi, entry.lo);
  }
  yield* upper.lock.unlock(current);
  if (lost) {
    mm.pgtablesBytes -= PAGE_BYTES;
    freeTable(kernel, table);
  }
  return true;
}

/**
 * The table of `level` that covers `page`, with all tables on the way; null without memory. When a leaf is in the way, as
 * somebody else was faster with a huge page, the table that holds the leaf. Needs mmap_lock or a VMA lock.
 */
export function* tableAlloc(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  level: number,
): Task<TablePage | null> {
  const { pageTables } = mm.kernel;
  const { format } = pageTables;
  let table = rootTable(mm);
  while (table.level < level) {
    const index = tableIndex(format, page, table.level);
    pageTables.read(table, index);
    if (format.isNone(pageTables.hi, pageTables.lo)) {
      if (!(yield* addTable(current, mm, table, index))) return null;
      pageTables.read(table, index);
    }
    if (!format.isTable(pageTables.hi, pageTables.lo, table.level)) return table;
    table = pageTables.tableAt(pageTables.frame(table.level));
  }
  return table;
}

/**
 * Sees to a pte table for `page` (`pte_alloc`); null without memory. It may be gone, or a huge page be there, when its lock
 * is taken: `pteOffsetMapLock` says so.
 */
export function pteAlloc(current: TaskStruct, mm: MmStruct, page: number): Task<TablePage | null> {
  return tableAlloc(current, mm, page, mm.kernel.pageTables.lastLevel);
}

/**
 * Finds the pte table of `page` and takes its lock; null when there is none, or a huge page instead. Until the lock is
 * let go an RCU section keeps the table from being freed. The upper entry is read again under the lock, since a collapse
 * or the freeing of empty tables may have taken the table out meanwhile.
 * @param subclass for lockdep: `SINGLE_DEPTH_NESTING` where another table's lock is held already
 */
export function* pteOffsetMapLock(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  subclass = 0,
): Task<TablePage | null> {
  const { pageTables } = mm.kernel;
  const root = rootTable(mm);
  rcuReadLock(current);
  for (;;) {
    const table = pageTables.lookup(root, page, pageTables.lastLevel);
    if (table === null) {
      rcuReadUnlock(current);
      return null;
    }
    const { lock } = table;
    lock.begin(current, subclass);
    yield lock.lockPoint;
    if (!lock.take(current)) yield* lock.spin(current);
    if (pageTables.lookup(root, page, pageTables.lastLevel) === table) return table;
    yield* table.lock.unlock(current);
  }
}

/** Lets the lock of `pteOffsetMapLock` go, and the table. */
export function* pteUnmapUnlock(current: TaskStruct, table: TablePage): Task<void> {
  yield table.lock.unlockPoint;
  pteUnmap(current, table);
}

/** The step after the lock's `unlockPoint`, for callers that have yielded there. */
export function pteUnmap(current: TaskStruct, table: TablePage): void {
  table.lock.release(current);
  rcuReadUnlock(current);
}
