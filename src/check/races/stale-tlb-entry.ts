/**
 * Finds translations that outlive what should have ended them. When an entry loses rights or its page, each CPU is asked
 * whether its TLB has more: that is a debt, which a flush pays. It is overdue when a flush of its range returns, when the
 * task that made it goes back to its program, and when its frame goes back to the allocator. Who throws away or unmaps a page
 * that another task has cleared before, and comes back to his program, owes the flush as well. A copy on write may not be
 * seen before the page that it replaces is flushed everywhere, and a page of a file counts as mapped, unless it is locked, while
 * somebody may still write to it by an entry that was dirty.
 * An entry of an address space that the CPU flushes before it runs there again is none. Left out: what the Dirty state of a
 * cached entry allows, and Accessed.
 */

import { EntryFlag } from '../../arch/paging-format.ts';
import type { TranslationVisitor } from '../../arch/tlb-view.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type EntryState, isVisible, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'stale-tlb-entry';
const DIRTY = EntryFlag.Write | EntryFlag.Dirty;
const RIGHTS = EntryFlag.Write | EntryFlag.Exec | EntryFlag.User;

export const staleTlbEntry: CheckDefinition = {
  name: NAME,
  rule: 'No TLB holds more than the tables allow when a flush or a call returns, a copy replaces a page, or one is freed.',
  source:
    'Linux Documentation/core-api/cachetlb.rst; mm/mmu_gather.c, `tlb_finish_mmu`; mm/memory.c, `wp_page_copy`; CVE-2018-18281, CVE-2022-39188',
  attach(watch) {
    const debts = new TlbDebts(watch);
    watch.onRun(() => debts.forget());
    watch.onTableChange((change) => debts.changed(change));
    watch.onFrames({ freed: (frame, order) => debts.freed(frame, order) });
    watch.onKernel({
      flushBegins: (current) => debts.flushBegins(current),
      flushEnds: (current, mm, start, end) => debts.flushEnds(current, mm, start, end),
      discards: (current, mm, start, end) => debts.takesAway(current, mm, start, end, false),
      left: (current) => debts.left(current),
    });
    watch.onVmas({
      treeChanges: (mm, vma, change, start, end) => {
        if (change === 'remove' && vma.detached) debts.takesAway(watch.stepping(), mm, start, end, true);
      },
    });
    watch.onReferences({
      mapped: (frame, entries) => {
        if (entries < 0) debts.unmapped(frame);
      },
    });
    watch.onReplacement((change, frame, cached) => {
      if (cached) debts.replaced(change, frame);
    });
  },
};

/** A translation that some CPU may still use and no table has any more. */
interface Debt {
  readonly id: number;
  readonly mm: MmStruct;
  readonly page: number;
  readonly pages: number;
  readonly frame: number;
  /** Rights that are gone; 0: all of it. */
  rights: number;
  /** Rights that there were. */
  readonly had: number;
  readonly task: TaskStruct | null;
  /** Who writes by it does not look at the tables. */
  readonly dirty: boolean;
  /** A table was taken out with what it maps: others do not wait for the lock that is held meanwhile. */
  readonly withTable: boolean;
}

/** Pages that a call takes away when others may have cleared their entries already. */
interface TakenAway {
  readonly mm: MmStruct;
  readonly start: number;
  readonly end: number;
  /** By unmapping them: what is mapped again by the end was merged. */
  readonly unmapped: boolean;
  /** How many debts there had been. */
  readonly made: number;
}

const NOTHING: readonly TakenAway[] = [];

const nameOf = (frame: number): string => `frame 0x${frame.toString(16)}`;

class TlbDebts {
  readonly #watch: Watch;
  /** By frame; mostly empty. */
  #debts = new Map<number, Debt[]>();
  #made = 0;
  /** For each flush under way, how many debts there had been when it began. */
  #flushes = new Map<TaskStruct, number>();
  #taken = new Map<TaskStruct, TakenAway[]>();
  // What a CPU is asked for, and its answer: `#visit` is made once.
  #frame = 0;
  #rights = 0;
  #holder = -1;

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#debts = new Map();
    this.#flushes = new Map();
    this.#taken = new Map();
    this.#made = 0;
  }

  /** Just before the change: the TLBs hold nothing yet that it brings. */
  changed(change: TableChange): void {
    const { old, next, place } = change;
    if (place.mm === null || place.mm.context === null) return;
    if (this.#debts.size > 0 && isVisible(next)) this.#settle(change);
    if (old.kind === EntryKind.Table) {
      if (next.kind !== EntryKind.Table) this.#unlinked(change);
      return;
    }
    if (isVisible(old)) this.#lost(place.mm, change.page, change.pages, old, next, false);
  }

  #lost(
    mm: MmStruct,
    page: number,
    pages: number,
    old: EntryState,
    next: EntryState,
    withTable: boolean,
  ): void {
    const kept = isVisible(next) && next.frame === old.frame;
    const rights = kept ? old.flags & ~next.flags & RIGHTS : 0;
    if (kept && rights === 0) return;
    if (this.#holderOf(mm, page, old.frame, rights) < 0) return;
    const debt: Debt = {
      id: ++this.#made,
      mm,
      page,
      pages,
      frame: old.frame,
      rights,
      had: old.flags & RIGHTS,
      task: this.#watch.stepping(),
      dirty: (old.flags & DIRTY) === DIRTY,
      withTable,
    };
    const debts = this.#debts.get(old.frame);
    if (debts === undefined) this.#debts.set(old.frame, [debt]);
    else debts.push(debt);
  }

  /** A table is taken out with what it maps: it moves, or is another address space's as well. */
  #unlinked({ table, old, place, page, pages }: TableChange): void {
    const { pageTables } = this.#watch.kernel;
    const below = pageTables.tableAt(old.frame);
    if (below.level !== pageTables.lastLevel || this.#watch.tableChanges().placeOf(below)?.leaves === 0)
      return;
    const { mm } = place;
    if (mm === null || table.owner === null) return;
    const { hi, lo } = pageTables;
    const state: EntryState = { kind: EntryKind.Leaf, flags: 0, frame: 0 };
    const none: EntryState = { kind: EntryKind.None, flags: 0, frame: -1 };
    for (let index = 0; index < pages; index++) {
      pageTables.read(below, index);
      state.flags = pageTables.flags(below.level);
      if ((state.flags & EntryFlag.Present) === 0) continue;
      state.frame = pageTables.frame(below.level);
      if (isVisible(state)) this.#lost(mm, page + index, 1, state, none, true);
    }
    pageTables.hi = hi;
    pageTables.lo = lo;
  }

  /** The page is there again: of what a TLB has kept, what goes beyond the new entry is still owed. */
  #settle({ next, place, page }: TableChange): void {
    const debts = this.#debts.get(next.frame);
    if (debts === undefined) return;
    this.#keep(next.frame, debts, (debt) => {
      if (debt.mm !== place.mm || debt.page !== page) return true;
      debt.rights = debt.had & ~next.flags;
      return debt.rights !== 0;
    });
  }

  #keep(frame: number, debts: readonly Debt[], isKept: (debt: Debt) => boolean): void {
    const kept = debts.filter(isKept);
    if (kept.length === 0) this.#debts.delete(frame);
    else if (kept.length < debts.length) this.#debts.set(frame, kept);
  }

  flushBegins(current: TaskStruct): void {
    if (this.#debts.size > 0) this.#flushes.set(current, this.#made);
  }

  flushEnds(current: TaskStruct, mm: MmStruct, start: number, end: number): void {
    const made = this.#flushes.get(current) ?? 0;
    if (made === 0) return;
    this.#flushes.delete(current);
    const isDue = (debt: Debt): boolean =>
      debt.id <= made && debt.mm === mm && debt.page < end && debt.page + debt.pages > start;
    this.#collect(isDue, `after a flush by ${current.name}`);
  }

  /** Looks at pages of which others may have cleared the entries, and will pass them over. */
  takesAway(current: TaskStruct | null, mm: MmStruct, start: number, end: number, unmapped: boolean): void {
    if (current === null || this.#debts.size === 0) return;
    const range = { mm, start, end, unmapped, made: this.#made };
    const ranges = this.#taken.get(current);
    if (ranges === undefined) this.#taken.set(current, [range]);
    else ranges.push(range);
  }

  left(current: TaskStruct): void {
    const ranges = this.#taken.get(current) ?? NOTHING;
    if (ranges !== NOTHING) this.#taken.delete(current);
    if (this.#debts.size === 0) return;
    const isDue = (debt: Debt): boolean =>
      debt.task === current || ranges.some((range) => this.#isPassedOver(debt, range));
    this.#collect(isDue, `as ${current.name} goes back to its program`);
  }

  #isPassedOver(debt: Debt, { mm, start, end, unmapped, made }: TakenAway): boolean {
    if (debt.mm !== mm || debt.rights !== 0 || debt.withTable || debt.id > made) return false;
    if (debt.page >= end || debt.page + debt.pages <= start) return false;
    return !unmapped || this.#watch.unwatched(() => mm.vmas.lookup(debt.page) === null);
  }

  /** An entry less counts: who writes the page back will not find it. Under the lock of the folio nobody does meanwhile. */
  unmapped(frame: number): void {
    const debts = this.#debts.get(frame);
    if (debts === undefined) return;
    const { frames } = this.#watch.kernel;
    if (frames.hasFlag(frame, FrameFlag.Anon) || frames.hasFlag(frames.head(frame), FrameFlag.Locked)) return;
    const task = this.#watch.stepping();
    for (const debt of debts) {
      // A huge page of a file is no longer counted before the flush (`zap_huge_pmd`).
      if (debt.task !== task || debt.rights !== 0 || !debt.dirty || debt.pages > 1) continue;
      this.#look(debt, 'when its map count falls, though the entry was dirty');
    }
  }

  /** Just before the other page is seen. */
  replaced({ place: { mm }, page, next }: TableChange, frame: number): void {
    if (mm === null) return;
    const cpu = this.#holderOf(mm, page, frame, 0);
    if (cpu < 0) return;
    const where = `page 0x${page.toString(16)} of ${mm.name}`;
    const text = `cpu ${cpu} still translates ${where} to ${nameOf(frame)} when ${nameOf(next.frame)} takes its place`;
    this.#watch.report(NAME, text, [nameOf(frame), nameOf(next.frame)]);
  }

  freed(head: number, order: number): void {
    if (this.#debts.size === 0) return;
    for (let frame = head; frame < head + 2 ** order; frame++) {
      if (this.#debts.has(frame)) this.#collect((debt) => debt.frame === frame, 'when the frame is freed');
    }
  }

  #collect(isDue: (debt: Debt) => boolean, when: string): void {
    for (const [frame, debts] of this.#debts) {
      for (const debt of debts) if (isDue(debt)) this.#look(debt, when);
      this.#keep(frame, debts, (debt) => !isDue(debt));
    }
  }

  #look({ mm, page, frame, rights }: Debt, when: string): void {
    const cpu = this.#holderOf(mm, page, frame, rights);
    if (cpu < 0) return;
    const what = rights === 0 ? '' : ` with rights that were taken away (${describeRights(rights)})`;
    const where = `page 0x${page.toString(16)} of ${mm.name}`;
    this.#watch.report(NAME, `cpu ${cpu} still translates ${where} to ${nameOf(frame)}${what} ${when}`, [
      nameOf(frame),
    ]);
  }

  /** A CPU that translates the page to the frame, with any of `rights` if there are some; -1: none. */
  #holderOf(mm: MmStruct, page: number, frame: number, rights: number): number {
    const { tlbView, kernel } = this.#watch;
    const { context } = mm;
    if (context === null || mm.pgd < 0) return -1;
    this.#frame = frame;
    this.#rights = rights;
    this.#holder = -1;
    const { cpus } = kernel.machine;
    for (let cpu = 0; cpu < cpus.length; cpu++) tlbView.visitTranslations(cpu, context, page, this.#visit);
    return this.#holder;
  }

  readonly #visit: TranslationVisitor = (cpu, frame, flags) => {
    if (frame !== this.#frame || (this.#rights !== 0 && (flags & this.#rights) === 0)) return;
    this.#holder = cpu;
  };
}

function describeRights(rights: number): string {
  const names: string[] = [];
  if ((rights & EntryFlag.Write) !== 0) names.push('writing');
  if ((rights & EntryFlag.Exec) !== 0) names.push('execution');
  if ((rights & EntryFlag.User) !== 0) names.push('user access');
  return names.join(', ');
}
