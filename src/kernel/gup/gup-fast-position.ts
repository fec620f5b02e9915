/**
 * Where a walk of gup-fast stands: the entry as it was read, the pmd that led to its table, and the folio it maps. What
 * is done here is done in one step; the points are in the walk.
 * @see Linux mm/gup.c, `gup_fast_pte_range`, `gup_fast_pmd_leaf`, `try_get_folio`, `try_grab_folio_fast`
 */
import { EntryFlag, pagesPerEntry, tableIndex } from '../../arch/paging-format.ts';
import type { SchedPoint } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { MmStruct } from '../mm/mm.ts';
import { entryEnd, type TablePage } from '../mm/page-table.ts';
import { rootTable } from '../mm/page-table-alloc.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_LONGTERM, FOLL_PIN, type PageArray } from './foll-flags.ts';
import { isEntryPermitted, isFolioAllowed } from './gup-fast-checks.ts';
import { gupMustUnshare } from './must-unshare.ts';

export class FastPosition {
  readonly #current: TaskStruct;
  readonly #root: TablePage;
  /** The entry read last, and the table that it is in. */
  table: TablePage;
  #index = 0;
  #hi = 0;
  #lo = 0;
  #flags = 0;
  /** The table above it and the entry there, as read on the way down. */
  upper: TablePage;
  #upperIndex = 0;
  #upperHi = 0;
  #upperLo = 0;
  /** First of the frames that are wanted, and first of their folio. */
  #frame = 0;
  #head = 0;

  constructor(current: TaskStruct, mm: MmStruct) {
    this.#current = current;
    this.#root = rootTable(mm);
    this.table = this.#root;
    this.upper = this.#root;
  }

  // --- the way down ---

  restart(): void {
    this.table = this.#root;
  }

  /** Is `page` not the first one, and has its entry in the pte table of the page before? */
  isInTable(page: number): boolean {
    return this.isPte && this.#indexOf(page) !== 0;
  }

  /** Is the entry a pte? Then the pmd above may have changed without it. */
  get isPte(): boolean {
    return this.table.level === this.#current.kernel.pageTables.lastLevel;
  }

  /** Reads the entry of `page`; true, and one level down, when it leads to a table. */
  descend(page: number): boolean {
    const { pageTables } = this.#current.kernel;
    const { level } = this.table;
    this.#index = this.#indexOf(page);
    pageTables.read(this.table, this.#index);
    this.#hi = pageTables.hi;
    this.#lo = pageTables.lo;
    if (!pageTables.format.isTable(this.#hi, this.#lo, level)) return false;
    this.upper = this.table;
    this.#upperIndex = this.#index;
    this.#upperHi = this.#hi;
    this.#upperLo = this.#lo;
    this.table = pageTables.tableAt(pageTables.format.frameOf(this.#hi, this.#lo, level));
    return true;
  }

  // --- the page ---

  /** May the entry be followed? A zero page has no count, whether its entry is special or not. */
  isPermitted(gupFlags: number): boolean {
    const { format } = this.#current.kernel.pageTables;
    this.#flags = format.flagsOf(this.#hi, this.#lo, this.table.level);
    if (!isEntryPermitted(this.#current, this.#flags, gupFlags)) return false;
    this.#frame = format.frameOf(this.#hi, this.#lo, this.table.level);
    return !this.#current.kernel.frames.isZeroFrame(this.#frame);
  }

  /** Was nothing there when the walk stopped, or something that must not be touched without a fault? */
  get isAbsent(): boolean {
    const { format } = this.#current.kernel.pageTables;
    const flags = format.flagsOf(this.#hi, this.#lo, this.table.level);
    return (flags & (EntryFlag.Present | EntryFlag.Protnone)) !== EntryFlag.Present;
  }

  /** The pages from `page` on that the entry maps, before `end`: how many. */
  select(page: number, end: number): number {
    if (this.isPte) return 1;
    const { format } = this.#current.kernel.pageTables;
    this.#frame += page % pagesPerEntry(format, this.table.level);
    return entryEnd(format, page, end, this.table.level) - page;
  }

  /** Just before the folio's count changes. */
  refPoint(): SchedPoint {
    const { frames } = this.#current.kernel;
    this.#head = frames.head(this.#frame);
    return frames.refPoint(this.#head);
  }

  /**
   * `count` references on the folio that the frame belonged to a step ago. 0: it is being freed. -1: it is another folio's
   * frame by now, so look again.
   */
  tryGet(count: number): number {
    const { frames } = this.#current.kernel;
    const head = this.#head;
    // What has become a later frame of a folio has no count of its own.
    if (frames.head(head) !== head || !frames.tryGet(head)) return 0;
    if (frames.head(this.#frame) !== head) {
      frames.put(head);
      return -1;
    }
    for (let i = 1; i < count; i++) frames.get(head);
    return count;
  }

  /**
   * Makes pins of `count` references: in Linux, too, the reference comes first. False, and they are given back, when the pins
   * are to last and the folio lies where it must stay movable.
   */
  toPins(count: number, gupFlags: number): boolean {
    const { frames } = this.#current.kernel;
    const allowed = (gupFlags & FOLL_LONGTERM) === 0 || frames.isLongtermPinnable(this.#head);
    if (allowed) frames.tryPin(this.#head, count);
    for (let i = 0; i < count; i++) frames.put(this.#head);
    return allowed;
  }

  isSame(): boolean {
    return this.#current.kernel.pageTables.same(this.table, this.#index, this.#hi, this.#lo);
  }

  /** Does the pmd still lead to the table? Of a leaf above there is none to ask. */
  isUpperSame(): boolean {
    if (!this.isPte) return true;
    const { pageTables } = this.#current.kernel;
    return pageTables.same(this.upper, this.#upperIndex, this.#upperHi, this.#upperLo);
  }

  /** With the reference held and the entry seen again. */
  mayGive(gupFlags: number): boolean {
    const { frames } = this.#current.kernel;
    if (!isFolioAllowed(frames, this.#head, gupFlags)) return false;
    // Of a huge page it is the first frame that says whether it is exclusive.
    const asked = this.isPte ? this.#frame : this.#head;
    return (this.#flags & EntryFlag.Write) !== 0 || !gupMustUnshare(frames, null, gupFlags, asked);
  }

  /** Gives references or pins back. */
  drop(count: number, gupFlags: number): void {
    const { frames } = this.#current.kernel;
    const pinned = (gupFlags & FOLL_PIN) !== 0;
    for (let i = 0; i < count; i++) {
      if (pinned) frames.unpin(this.#head);
      else frames.put(this.#head);
    }
  }

  give(pages: PageArray, slot: number, count: number): void {
    this.#current.kernel.frames.setFlags(this.#head, FrameFlag.Referenced);
    for (let i = 0; i < count; i++) pages[slot + i] = this.#frame + i;
  }

  #indexOf(page: number): number {
    return tableIndex(this.#current.kernel.pageTables.format, page, this.table.level);
  }
}
