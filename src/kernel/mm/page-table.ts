/**
 * Page tables in memory: reading and writing entries, the lock of each table, walking down and allocating what is
 * missing. Every change of an entry that the hardware may see is one atomic step, as the MMU may set Accessed and Dirty
 * at any time. Whoever holds on to a table across a point without its lock is in an RCU section, which tables that were
 * taken out outlast (`tlbFlushMmu`); and a task that has waited for a table's lock looks at the upper entry again.
 * @see Linux mm/memory.c `__pte_alloc`, mm/pgtable-generic.c `__pte_offset_map_lock`, include/linux/pgtable.h
 */
import { EntryFlag, type PagingFormat, pagesPerEntry, tableIndex } from '../../arch/paging-format.ts';
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { SpinLock } from '../lock/spinlock.ts';
import type { MmStruct } from './mm.ts';
import type { PageTags } from './page-tags.ts';

/** One page-table page. Entries are in physical memory; here is what Linux keeps in its `struct ptdesc`. */
export class TablePage extends SharedObject {
  readonly frame: number;
  /** Index into the format's levels. */
  readonly level: number;
  /** The split lock of a pmd or pte table; tables above use the mm's `page_table_lock`, given here as well. */
  readonly lock: SpinLock;
  /** Just before an entry changes. */
  readonly setEntry: SchedPoint;
  /** Just before an entry is read without its lock. */
  readonly readEntry: SchedPoint;
  /** Whose tables it was allocated for; another address space may use it, too (`sharers`). */
  readonly owner: MmStruct | null;
  /** The table went back to the allocator. */
  freed = false;
  /**
   * Of a pmd table: pte tables put by for the huge pages below it, one for each (`pmd_huge_pte`), oldest first. A split
   * must not fail for want of memory.
   */
  readonly deposited: TablePage[] = [];
  /** Of a pmd table of huge pages: further address spaces that use it (`pt_share_count`). */
  sharers = 0;

  constructor(
    frame: number,
    level: number,
    name: string,
    sharedLock: SpinLock | null,
    owner: MmStruct | null = null,
  ) {
    super(`${name}@${frame.toString(16)}`);
    this.frame = frame;
    this.level = level;
    this.owner = owner;
    this.lock = sharedLock ?? new SpinLock(`ptl ${this.name}`);
    this.setEntry = new SchedPoint(PointKind.Write, this, 'set_pte_at', StepCost.AtomicUpdate);
    this.readEntry = new SchedPoint(PointKind.Read, this, 'ptep_get', StepCost.SharedLoad);
  }
}

/** What the pmd of a page is (`pmd_none`, a table of ptes, `pmd_trans_huge`). */
export const PmdKind = {
  /** Nothing; or a table above is missing. */
  None: 0,
  Table: 1,
  /** A leaf. In a hugetlb VMA of hugetlb, else of a transparent huge page; `EntryFlag.Invalid` while it is being split. */
  Huge: 2,
} as const;
export type PmdKind = (typeof PmdKind)[keyof typeof PmdKind];

/** Told of tables and of every entry that software writes, for checks. */
export interface TableWatcher {
  added(table: TablePage): void;
  removed(table: TablePage): void;
  /** Just before entry `index` changes. */
  written(table: TablePage, index: number, oldHi: number, oldLo: number, hi: number, lo: number): void;
  /** Entry `index` of a table that went back to the allocator is read, or written. */
  usedAfterFree?(table: TablePage, index: number, write: boolean): void;
}

/** Tables found without the map. A power of two. */
const RECENT = 256;

/** All page-table pages of a machine. `hi` and `lo` hold the entry read last. */
export class PageTables implements Halves {
  readonly format: PagingFormat;
  /** The level of ptes. */
  readonly lastLevel: number;
  hi = 0;
  lo = 0;
  /** Entries written so far, in all tables: while it stays the same, they map the same. */
  writes = 0;
  watcher: TableWatcher | null = null;
  readonly #memory: PhysicalMemory;
  readonly #pageTags: PageTags | null;
  readonly #tables = new Map<number, TablePage>();
  /** Tables asked for last, by the end of their frame's number: most of a walk would be look-ups in the map. */
  readonly #recent: (TablePage | null | undefined)[] = [];
  /** Scratch for entries that are being made. */
  readonly #made: Halves = { hi: 0, lo: 0 };

  /** @param pageTags told of every frame before a leaf maps it, where memory has tags */
  constructor(memory: PhysicalMemory, format: PagingFormat, pageTags: PageTags | null = null) {
    this.#memory = memory;
    this.#pageTags = pageTags;
    this.format = format;
    this.lastLevel = format.levels.length - 1;
  }

  /** The table in `frame`; a frame that holds none is our mistake. */
  tableAt(frame: number): TablePage {
    const recent = this.#recent[frame % RECENT];
    return recent !== undefined && recent !== null && recent.frame === frame ? recent : this.#remember(frame);
  }

  #remember(frame: number): TablePage {
    const table = this.#tables.get(frame);
    if (table === undefined) throw new Error(`frame 0x${frame.toString(16)} holds no page table`);
    this.#recent[frame % RECENT] = table;
    return table;
  }

  /** Tables in use, of all address spaces. */
  get count(): number {
    return this.#tables.size;
  }

  add(table: TablePage): void {
    this.#tables.set(table.frame, table);
    this.watcher?.added(table);
  }

  remove(table: TablePage): void {
    table.freed = true;
    this.#tables.delete(table.frame);
    this.#recent[table.frame % RECENT] = null;
    this.watcher?.removed(table);
  }

  /** Entry `index` of `table`, into `hi` and `lo`. */
  read(table: TablePage, index: number): void {
    const { frame } = table;
    if (table.freed) this.watcher?.usedAfterFree?.(table, index, false);
    const low = ((frame % 0x10_0000) * 0x1000 + index * 8) | 0;
    if (!this.#memory.read64(Math.floor(frame / 0x10_0000), low))
      throw new Error(`no memory at ${table.name}`);
    this.hi = this.#memory.hi;
    this.lo = this.#memory.lo;
  }

  /** Writes entry `index`: one atomic 64-bit store. Yield at `table.setEntry` first. */
  write(table: TablePage, index: number, hi: number, lo: number): void {
    this.writes++;
    const { frame } = table;
    const low = ((frame % 0x10_0000) * 0x1000 + index * 8) | 0;
    if (this.watcher !== null) this.#tell(table, index, hi, lo);
    if (!this.#memory.write64(Math.floor(frame / 0x10_0000), low, hi, lo)) {
      throw new Error(`no memory at ${table.name}`);
    }
  }

  #tell(table: TablePage, index: number, hi: number, lo: number): void {
    const { frame } = table;
    if (table.freed) this.watcher?.usedAfterFree?.(table, index, true);
    this.#memory.read64(Math.floor(frame / 0x10_0000), ((frame % 0x10_0000) * 0x1000 + index * 8) | 0);
    this.watcher?.written(table, index, this.#memory.hi, this.#memory.lo, hi, lo);
  }

  /** Is the entry still what was read before (`pte_same`)? Reads it again. */
  same(table: TablePage, index: number, hi: number, lo: number): boolean {
    this.read(table, index);
    return this.hi === hi && this.lo === lo;
  }

  /** Writes a leaf made of a frame and `EntryFlag` bits (`set_pte_at`); alone it is never one of a run. */
  setLeaf(table: TablePage, index: number, frame: number, flags: number): void {
    this.#syncTags(frame, flags, table.level);
    this.format.pack(frame, flags & ~EntryFlag.Cont, table.level, this.#made);
    this.write(table, index, this.#made.hi, this.#made.lo);
  }

  /** Like `setLeaf`, for one of a run of contiguous ptes that the caller writes whole. Nobody may see the table yet. */
  setLeafOfRun(table: TablePage, index: number, frame: number, flags: number): void {
    this.#syncTags(frame, flags, table.level);
    this.format.pack(frame, flags | EntryFlag.Cont, table.level, this.#made);
    this.write(table, index, this.#made.hi, this.#made.lo);
  }

  /** Writes a leaf that was made before (`set_pte_at`). */
  setEntry(table: TablePage, index: number, hi: number, lo: number): void {
    const { format } = this;
    this.#syncTags(format.frameOf(hi, lo, table.level), format.flagsOf(hi, lo, table.level), table.level);
    this.write(table, index, hi, lo);
  }

  /** Of every frame that a leaf maps. */
  #syncTags(frame: number, flags: number, level: number): void {
    if (this.#pageTags === null) return;
    const frames = level === this.lastLevel ? 1 : pagesPerEntry(this.format, level);
    for (let i = 0; i < frames; i++) this.#pageTags.sync(frame + i, flags);
  }

  /** `ptep_get_and_clear`: the old entry, with what the hardware set last, is in `hi` and `lo`; the entry is none. */
  getAndClear(table: TablePage, index: number): void {
    this.read(table, index);
    this.write(table, index, 0, 0);
  }

  /**
   * Sets and clears flags of a live entry in one atomic step, so that Young and Dirty set by the hardware meanwhile are
   * kept. The new entry is in `hi` and `lo`; true when it differs from the old one.
   */
  change(table: TablePage, index: number, set: number, clear: number): boolean {
    this.read(table, index);
    this.format.change(this.hi, this.lo, table.level, set, clear, this.#made);
    if (this.#made.hi === this.hi && this.#made.lo === this.lo) return false;
    this.hi = this.#made.hi;
    this.lo = this.#made.lo;
    this.write(table, index, this.hi, this.lo);
    return true;
  }

  /** `EntryFlag` bits and frame of the entry read last, which came from a table of `level`. */
  flags(level: number): number {
    return this.format.flagsOf(this.hi, this.lo, level);
  }
  frame(level: number): number {
    return this.format.frameOf(this.hi, this.lo, level);
  }

  /**
   * Walks from `root` to the table of `level` that covers `page`, without locks: a snapshot. Null when a table on the
   * way is missing or a leaf maps the page above.
   */
  lookup(root: TablePage, page: number, level: number): TablePage | null {
    let table = root;
    while (table.level < level) {
      this.read(table, tableIndex(this.format, page, table.level));
      if (!this.format.isTable(this.hi, this.lo, table.level)) return null;
      table = this.tableAt(this.format.frameOf(this.hi, this.lo, table.level));
    }
    return table;
  }

  /** What the pmd that covers `page` is: a snapshot. Unless it is none, the entry is in `hi` and `lo`. */
  pmdKind(root: TablePage, page: number): PmdKind {
    const level = this.lastLevel - 1;
    const table = this.lookup(root, page, level);
    if (table === null) return PmdKind.None;
    this.read(table, tableIndex(this.format, page, level));
    if (this.format.isNone(this.hi, this.lo)) return PmdKind.None;
    return this.format.isTable(this.hi, this.lo, level) ? PmdKind.Table : PmdKind.Huge;
  }

  /**
   * The leaf of `page` as the hardware would find it, pte or huge, into `hi` and `lo`: a snapshot. Its level, -1 when
   * nothing is there.
   */
  lookupLeaf(root: TablePage, page: number): number {
    let table = root;
    for (;;) {
      const { level } = table;
      this.read(table, tableIndex(this.format, page, level));
      if (this.format.isNone(this.hi, this.lo)) return -1;
      if (!this.format.isTable(this.hi, this.lo, level)) return level;
      table = this.tableAt(this.format.frameOf(this.hi, this.lo, level));
    }
  }

  /** The pte of `page`, into `hi` and `lo`: a snapshot. False when there is no pte table. */
  lookupPte(root: TablePage, page: number): boolean {
    const table = this.lookup(root, page, this.lastLevel);
    if (table === null) return false;
    this.read(table, tableIndex(this.format, page, this.lastLevel));
    return true;
  }

  /** Of the leaf that `lookupLeaf` found at `level` for `page`: the frame of just this page. */
  frameInLeaf(page: number, level: number): number {
    return this.frame(level) + (page % pagesPerEntry(this.format, level));
  }
}

/** Index of `page` in its pte table. */
export function pteIndex(pageTables: PageTables, page: number): number {
  return tableIndex(pageTables.format, page, pageTables.lastLevel);
}

/** First page after `page` that another entry of `level` covers, at most `end`: `pmd_addr_end` and its like. */
export function entryEnd(format: PagingFormat, page: number, end: number, level: number): number {
  const pages = pagesPerEntry(format, level);
  const next = (Math.floor(page / pages) + 1) * pages;
  return next < end ? next : end;
}

/** Pages of a huge page (HPAGE_PMD_NR). */
export function hugePages(pageTables: PageTables): number {
  return pagesPerEntry(pageTables.format, pageTables.lastLevel - 1);
}

/** Is [start, end) a whole huge page? */
export function isWholeHugePage(pageTables: PageTables, start: number, end: number): boolean {
  const pages = hugePages(pageTables);
  return end - start === pages && start % pages === 0;
}

/**
 * The pmd of `page` is none: the page up to which the missing entry above leaves a hole, at most `end`. A leaf is no hole:
 * ask `pmdKind` first.
 */
export function endOfHole(pageTables: PageTables, root: TablePage, page: number, end: number): number {
  const { format } = pageTables;
  let level = 1;
  while (pageTables.lookup(root, page, level) !== null) level++;
  // The entry that `lookup` read last is the one that leads nowhere.
  if (!format.isNone(pageTables.hi, pageTables.lo)) throw new Error('a huge page where a hole should be');
  return entryEnd(format, page, end, level - 1);
}
