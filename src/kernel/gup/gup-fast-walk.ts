/**
 * The lockless walk of gup-fast: entries are read one by one while other CPUs change them. A page counts only if, after
 * its reference was taken, the pmd and the pte that led to it are what they were before. Tables stay in memory because
 * interrupts are off: whoever takes one out waits for that, by an RCU grace period or by interrupts of its own.
 * Each read of an entry is a point, and so is each change of a count. The walk is no task but gives its points one after
 * another, for the task that has closed the interrupts to yield: a point that comes from a task inside costs much more.
 *
 *     for (let point = walk.begin(start, end); point !== null; point = walk.next()) yield point;
 *
 * @see Linux mm/gup.c, `gup_fast_pgd_range` … `gup_fast_pte_range`, `gup_fast_pmd_leaf`, `try_grab_folio_fast`
 */
import { EntryFlag, pagesPerEntry, tableIndex } from '../../arch/paging-format.ts';
import type { SchedPoint } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { MmStruct } from '../mm/mm.ts';
import { entryEnd, type TablePage } from '../mm/page-table.ts';
import { rootTable } from '../mm/page-table-alloc.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_LONGTERM, FOLL_PIN, FOLL_REMOTE, type PageArray } from './foll-flags.ts';
import { isEntryPermitted, isFolioAllowed } from './gup-fast-checks.ts';
import { gupMustUnshare } from './must-unshare.ts';

/** What the step after a point does. */
const Step = {
  /** Reads the entry of the page in one table after another. */
  Descend: 0,
  /** Takes the references. */
  Get: 1,
  /** Makes pins of them. */
  Pin: 2,
  /** Reads the pmd again, then the leaf. */
  RecheckUpper: 3,
  RecheckLeaf: 4,
  /** Gives the references back: something has changed. */
  Drop: 5,
} as const;
type Step = (typeof Step)[keyof typeof Step];

export class FastWalk {
  /** Pages taken so far. */
  taken = 0;
  readonly #current: TaskStruct;
  readonly #root: TablePage;
  readonly #gupFlags: number;
  readonly #pages: PageArray;
  #page = 0;
  #end = 0;
  #step: Step = Step.Descend;
  /** The entry read last, and the table that it is in. */
  #table: TablePage;
  #index = 0;
  #hi = 0;
  #lo = 0;
  #flags = 0;
  /** The table above it and the entry there, as read on the way down. */
  #upper: TablePage;
  #upperIndex = 0;
  #upperHi = 0;
  #upperLo = 0;
  /** First of the frames that the leaf gives, how many, and the first of their folio. */
  #frame = 0;
  #count = 0;
  #head = 0;

  /** @param gupFlags with FOLL_GET or FOLL_PIN @param pages the first slots are filled */
  constructor(current: TaskStruct, mm: MmStruct, gupFlags: number, pages: PageArray) {
    this.#current = current;
    this.#gupFlags = gupFlags;
    this.#pages = pages;
    this.#root = rootTable(mm);
    this.#table = this.#root;
    this.#upper = this.#root;
  }

  /** The first point of a walk that takes pages from `start` to `end` until one cannot be had. Interrupts must be off. */
  begin(start: number, end: number): SchedPoint {
    this.taken = 0;
    this.#page = start;
    this.#end = end;
    return this.#fromTheTop();
  }

  /** Makes the step after the last point. The next point, or null: the walk is over. */
  next(): SchedPoint | null {
    switch (this.#step) {
      case Step.Descend:
        return this.#descend();
      case Step.Get:
        return this.#get();
      case Step.Pin:
        return this.#pin();
      case Step.RecheckUpper:
        return this.#recheckUpper();
      case Step.RecheckLeaf:
        return this.#recheckLeaf();
      default:
        this.#giveBack();
        return null;
    }
  }

  /** Were not all of the pages to be had? */
  get isShort(): boolean {
    return this.#page < this.#end;
  }

  /** Was nothing there when the walk stopped, or something that must not be touched without a fault? */
  get isAbsent(): boolean {
    return (this.#flags & (EntryFlag.Present | EntryFlag.Protnone)) !== EntryFlag.Present;
  }

  // --- the steps, in their order ---

  #fromTheTop(): SchedPoint {
    this.#table = this.#root;
    this.#step = Step.Descend;
    return this.#table.readEntry;
  }

  #descend(): SchedPoint | null {
    const { pageTables } = this.#current.kernel;
    const { format } = pageTables;
    const { level } = this.#table;
    const index = tableIndex(format, this.#page, level);
    pageTables.read(this.#table, index);
    const { hi, lo } = pageTables;
    if (format.isTable(hi, lo, level)) {
      this.#upper = this.#table;
      this.#upperIndex = index;
      this.#upperHi = hi;
      this.#upperLo = lo;
      this.#table = pageTables.tableAt(format.frameOf(hi, lo, level));
      return this.#table.readEntry;
    }
    if ((this.#gupFlags & FOLL_REMOTE) !== 0) this.#current.kernel.remoteCounters.walks++;
    this.#index = index;
    this.#hi = hi;
    this.#lo = lo;
    this.#flags = format.flagsOf(hi, lo, level);
    return this.#select();
  }

  /** Decides by the entry alone. A zero page has no count, whether its entry is special or not. */
  #select(): SchedPoint | null {
    const { frames, pageTables } = this.#current.kernel;
    if (!isEntryPermitted(this.#current, this.#flags, this.#gupFlags)) return null;
    const { level } = this.#table;
    this.#frame = pageTables.format.frameOf(this.#hi, this.#lo, level);
    if (frames.isZeroFrame(this.#frame)) return null;
    this.#count = 1;
    if (!this.#isPte) {
      this.#frame += this.#page % pagesPerEntry(pageTables.format, level);
      this.#count = entryEnd(pageTables.format, this.#page, this.#end, level) - this.#page;
    }
    return this.#beforeGet();
  }

  #beforeGet(): SchedPoint {
    const { frames } = this.#current.kernel;
    this.#head = frames.head(this.#frame);
    this.#step = Step.Get;
    return frames.refPoint(this.#head);
  }

  /** @see `try_get_folio` */
  #get(): SchedPoint | null {
    const { frames } = this.#current.kernel;
    const head = this.#head;
    // What has become a later frame of a folio has no count of its own, and one that is free has 0.
    if (frames.head(head) !== head || !frames.tryGet(head)) return null;
    // The frame may be another folio's by now.
    if (frames.head(this.#frame) !== head) {
      frames.put(head);
      return this.#beforeGet();
    }
    for (let i = 1; i < this.#count; i++) frames.get(head);
    if ((this.#gupFlags & FOLL_PIN) === 0) return this.#beforeRecheck();
    this.#step = Step.Pin;
    return frames.refPoint(head);
  }

  /** The reference comes first in Linux, too; for a pin that is to last the folio must not lie where it has to be movable. */
  #pin(): SchedPoint | null {
    const { frames } = this.#current.kernel;
    const allowed = (this.#gupFlags & FOLL_LONGTERM) === 0 || frames.isLongtermPinnable(this.#head);
    if (allowed) frames.tryPin(this.#head, this.#count);
    for (let i = 0; i < this.#count; i++) frames.put(this.#head);
    return allowed ? this.#beforeRecheck() : null;
  }

  /** The pmd above a pte may have changed without it. */
  #beforeRecheck(): SchedPoint {
    const upper = this.#isPte && !this.#current.kernel.bugs.gupFastThpCollapse;
    this.#step = upper ? Step.RecheckUpper : Step.RecheckLeaf;
    return upper ? this.#upper.readEntry : this.#table.readEntry;
  }

  #recheckUpper(): SchedPoint {
    const { pageTables } = this.#current.kernel;
    if (!pageTables.same(this.#upper, this.#upperIndex, this.#upperHi, this.#upperLo))
      return this.#beforeDrop();
    this.#step = Step.RecheckLeaf;
    return this.#table.readEntry;
  }

  #recheckLeaf(): SchedPoint | null {
    const { pageTables } = this.#current.kernel;
    const same = pageTables.same(this.#table, this.#index, this.#hi, this.#lo);
    return same && this.#mayGive() ? this.#give() : this.#beforeDrop();
  }

  /** With the reference held and the entries seen again. */
  #mayGive(): boolean {
    const { frames } = this.#current.kernel;
    if (!isFolioAllowed(frames, this.#head, this.#gupFlags)) return false;
    // Of a huge page it is the first frame that says whether it is exclusive.
    const asked = this.#isPte ? this.#frame : this.#head;
    return (this.#flags & EntryFlag.Write) !== 0 || !gupMustUnshare(frames, null, this.#gupFlags, asked);
  }

  /** On to the next page, if one is wanted: in the same table, or from the top. */
  #give(): SchedPoint | null {
    this.#current.kernel.frames.setFlags(this.#head, FrameFlag.Referenced);
    for (let i = 0; i < this.#count; i++) this.#pages[this.taken + i] = this.#frame + i;
    this.taken += this.#count;
    this.#page += this.#count;
    if (this.#page >= this.#end) return null;
    const { format } = this.#current.kernel.pageTables;
    if (!this.#isPte || tableIndex(format, this.#page, this.#table.level) === 0) return this.#fromTheTop();
    this.#step = Step.Descend;
    return this.#table.readEntry;
  }

  #beforeDrop(): SchedPoint {
    this.#step = Step.Drop;
    return this.#current.kernel.frames.refPoint(this.#head);
  }

  #giveBack(): void {
    const { frames } = this.#current.kernel;
    if ((this.#gupFlags & FOLL_PIN) !== 0) frames.unpin(this.#head, this.#count);
    else for (let i = 0; i < this.#count; i++) frames.put(this.#head);
  }

  get #isPte(): boolean {
    return this.#table.level === this.#current.kernel.pageTables.lastLevel;
  }
}
