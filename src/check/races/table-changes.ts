/**
 * Every change of a page-table entry, told in words of what it maps: where in which address space, what was there, what
 * comes. It is decoded once for all checks. A table's place follows from the upper entry that was made to point to it.
 * Left out: tables that stand in two address spaces (hugetlb shares them) have the place of the first.
 */
import { EntryFlag, type PagingFormat, pagesPerEntry } from '../../arch/paging-format.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { PageTables, TablePage } from '../../kernel/mm/page-table.ts';

/** What an entry is. */
export const EntryKind = {
  None: 0,
  Table: 1,
  /** A page, also one that the hardware does not see (protnone, a huge page that is being split). */
  Leaf: 2,
  /** Neither none nor present: swap, migration, a marker. */
  Swap: 3,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** One side of a change. */
export interface EntryState {
  kind: EntryKind;
  /** `EntryFlag` bits of a leaf or a swap entry. */
  flags: number;
  /** The first frame of a leaf; a table's own. -1 for none. */
  frame: number;
}

/** Where a table is used. */
export interface TablePlace {
  /** Null for a table that no address space leads to yet. */
  mm: MmStruct | null;
  /** First page that it maps. */
  base: number;
  /** Leaves in it. */
  leaves: number;
}

/** One change, just before it is made. The same object every time. */
export interface TableChange {
  table: TablePage;
  index: number;
  place: TablePlace;
  /** First page that the entry maps, and how many. Meaningless while the table has no place. */
  page: number;
  pages: number;
  readonly old: EntryState;
  readonly next: EntryState;
}

export type ChangeListener = (change: TableChange) => void;

const NOWHERE = -1;

export class TableChanges {
  #pageTables: PageTables;
  #format: PagingFormat;
  #places = new Map<TablePage, TablePlace>();
  readonly #listeners: ChangeListener[] = [];
  readonly #change: TableChange;
  #pages: readonly number[];

  constructor(kernel: Kernel) {
    this.#pageTables = kernel.pageTables;
    this.#format = kernel.arch.format;
    this.#pages = this.#format.levels.map((_, level) => pagesPerEntry(this.#format, level));
    this.#change = {
      table: null as never,
      index: 0,
      place: { mm: null, base: NOWHERE, leaves: 0 },
      page: 0,
      pages: 0,
      old: { kind: EntryKind.None, flags: 0, frame: -1 },
      next: { kind: EntryKind.None, flags: 0, frame: -1 },
    };
  }

  /** There are no tables yet, in another kernel. */
  begin({ pageTables, arch }: Kernel): void {
    this.#places = new Map();
    this.#pageTables = pageTables;
    if (arch.format === this.#format) return;
    this.#format = arch.format;
    this.#pages = arch.format.levels.map((_, level) => pagesPerEntry(arch.format, level));
  }

  onChange(listener: ChangeListener): void {
    this.#listeners.push(listener);
  }

  /** Where the table is used; undefined for one that is not in use. */
  placeOf(table: TablePage): TablePlace | undefined {
    return this.#places.get(table);
  }

  added(table: TablePage): void {
    const isRoot = table.level === 0;
    this.#places.set(table, { mm: isRoot ? table.owner : null, base: isRoot ? 0 : NOWHERE, leaves: 0 });
  }

  removed(table: TablePage): void {
    this.#places.delete(table);
  }

  written(table: TablePage, index: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    const place = this.#places.get(table);
    if (place === undefined) return;
    const change = this.#change;
    const { level } = table;
    change.table = table;
    change.index = index;
    change.place = place;
    change.pages = this.#pages[level] as number;
    change.page = place.base + index * change.pages;
    this.#decode(oldHi, oldLo, level, change.old);
    this.#decode(hi, lo, level, change.next);
    if (change.old.kind === EntryKind.Leaf) place.leaves--;
    if (change.next.kind === EntryKind.Leaf) place.leaves++;
    for (const listener of this.#listeners) listener(change);
    if (change.next.kind === EntryKind.Table) this.#link(change.next.frame, place, change.page);
    else if (change.old.kind === EntryKind.Table) this.#unlink(change.old.frame);
  }

  /** The table in `frame` is used from `page` on from now. */
  #link(frame: number, upper: TablePlace, page: number): void {
    const table = this.#pageTables.tableAt(frame);
    const place = this.#places.get(table);
    if (place === undefined || table.sharers > 0) return;
    place.mm = upper.mm;
    place.base = page;
  }

  /** Nothing leads to the table any more: it is put by, or about to be freed, and its entries are its holder's alone. */
  #unlink(frame: number): void {
    const place = this.#places.get(this.#pageTables.tableAt(frame));
    if (place !== undefined) place.mm = null;
  }

  #decode(hi: number, lo: number, level: number, state: EntryState): void {
    const format = this.#format;
    state.flags = 0;
    state.frame = -1;
    if (format.isNone(hi, lo)) {
      state.kind = EntryKind.None;
      return;
    }
    if (format.isTable(hi, lo, level)) {
      state.kind = EntryKind.Table;
      state.frame = format.frameOf(hi, lo, level);
      return;
    }
    state.flags = format.flagsOf(hi, lo, level);
    if ((state.flags & EntryFlag.Present) === 0) {
      state.kind = EntryKind.Swap;
      return;
    }
    state.kind = EntryKind.Leaf;
    state.frame = format.frameOf(hi, lo, level);
  }
}

/** Can the hardware use the leaf? */
export function isVisible({ kind, flags }: EntryState): boolean {
  return kind === EntryKind.Leaf && (flags & (EntryFlag.Protnone | EntryFlag.Invalid)) === 0;
}
