/**
 * What one remote access holds and takes on its way, seen at the points it passes: at a point the task holds what it will hold
 * in the step that follows.
 */
import { type SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { SpinLock } from '../../../kernel/lock/spinlock.ts';
import type { MmStruct } from '../../../kernel/mm/mm.ts';
import { TablePage } from '../../../kernel/mm/page-table.ts';
import { VmArea } from '../../../kernel/mm/vma.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { type LineCounts, PointMeter } from '../point-meter.ts';

/** What is held at one point. */
export interface Held {
  readonly mmapLock: 'read' | 'write' | null;
  /** The own lock of a VMA, for reading. */
  readonly vma: boolean;
  readonly tableLock: boolean;
  readonly rcu: boolean;
  readonly interruptsOff: boolean;
}

/** How the entry of a page was relied on when the reference to the page was taken. */
export interface PageTaken {
  readonly held: Held;
  /** Were entries read again between the reference and the copy? */
  readonly lookedAgain: boolean;
}

export class Footprint {
  /** At each copy of bytes. */
  readonly copies: Held[] = [];
  /** Wherever entries are read on the way down: without a lock, or just before the lock of the last table is taken. */
  readonly walks: Held[] = [];
  readonly pages: PageTaken[] = [];
  /** How often the lock of a VMA was taken, and mmap_lock, in whichever mode. */
  vmaLocks = 0;
  mmapLocks = 0;
  /** The sequence of mmap_lock was looked at: before the first copy, after the last. */
  sequenceBefore = false;
  sequenceAfter = false;
  /** The lock of a VMA was held while mmap_lock was waited for or held. */
  bothLocks = false;
  /** Bytes moved when mmap_lock was taken; null: it was not. */
  movedBeforeMmapLock: number | null = null;
  /** Look-ups in the tree of VMAs with mmap_lock held. */
  lookUpsUnderMmapLock = 0;
  readonly #reader: TaskStruct;
  readonly #mm: MmStruct;
  readonly #meter: PointMeter;
  readonly #vmas = new Set<VmArea>();
  readonly #tableLocks = new Set<SpinLock>();
  readonly #bytesBefore: number;
  #last: Held | null = null;
  #lookUps: number;
  #taken: Held | null = null;
  #lookedAgain = false;
  #givenBack = 0;

  constructor(reader: TaskStruct, mm: MmStruct) {
    this.#reader = reader;
    this.#mm = mm;
    this.#meter = new PointMeter(mm);
    this.#lookUps = reader.kernel.remoteCounters.vmaLookups;
    this.#bytesBefore = reader.kernel.remoteCounters.bytes;
  }

  get lines(): Readonly<LineCounts> {
    return this.#meter.lines;
  }

  note(point: SchedPoint): void {
    const { object, operation, cost } = point;
    this.#meter.note(point);
    if (object instanceof VmArea) this.#vmas.add(object);
    if (object instanceof SpinLock) this.#tableLocks.add(object);
    const held = this.#held();
    this.#noteLocks(held, object === this.#mm.mmapLock && cost === StepCost.AtomicUpdate);
    if (operation === 'copy_from_user_page' || operation === 'copy_to_user_page') this.#noteCopy(held);
    else if (operation === 'mmap_lock_speculate') this.#noteSequence();
    else if (operation === 'page_ref') this.#notePage(held);
    else if (object instanceof TablePage && operation === 'ptep_get') this.#noteEntry(held);
    else if (object instanceof SpinLock && operation === 'spin_lock') this.walks.push(held);
    this.#last = held;
  }

  #held(): Held {
    const reader = this.#reader;
    const { mmapLock } = this.#mm;
    return {
      mmapLock: mmapLock.isWrittenBy(reader) ? 'write' : mmapLock.isHeldBy(reader) ? 'read' : null,
      vma: [...this.#vmas].some(({ readers }) => readers.includes(reader)),
      tableLock: [...this.#tableLocks].some((lock) => lock.isHeldBy(reader)),
      rcu: reader.rcuReadDepth > 0,
      interruptsOff: (reader.processor?.interruptsDisabled ?? 0) > 0,
    };
  }

  #noteLocks(held: Held, atMmapLock: boolean): void {
    const { vmaLookups, bytes } = this.#reader.kernel.remoteCounters;
    const last = this.#last;
    if (held.vma && last?.vma !== true) this.vmaLocks++;
    if (held.vma && (atMmapLock || held.mmapLock !== null)) this.bothLocks = true;
    const mmapLock = held.mmapLock !== null || (atMmapLock && last?.mmapLock !== null);
    if (held.mmapLock !== null && (last?.mmapLock ?? null) === null) this.mmapLocks++;
    if (mmapLock) this.movedBeforeMmapLock ??= bytes - this.#bytesBefore;
    if (held.mmapLock !== null || (last?.mmapLock ?? null) !== null) {
      this.lookUpsUnderMmapLock += vmaLookups - this.#lookUps;
    }
    this.#lookUps = vmaLookups;
  }

  #noteCopy(held: Held): void {
    this.copies.push(held);
    this.sequenceAfter = false;
    if (this.#taken !== null) this.pages.push({ held: this.#taken, lookedAgain: this.#lookedAgain });
    this.#taken = null;
  }

  #noteSequence(): void {
    if (this.copies.length === 0) this.sequenceBefore = true;
    else this.sequenceAfter = true;
  }

  /** One for each copy gives a reference back; the others take one. */
  #notePage(held: Held): void {
    if (this.copies.length > this.#givenBack) {
      this.#givenBack++;
      return;
    }
    this.#taken = held;
    this.#lookedAgain = false;
  }

  #noteEntry(held: Held): void {
    this.walks.push(held);
    if (this.#taken !== null) this.#lookedAgain = true;
  }
}

/** The task itself, its points noted. */
export function* watched<T>(task: Task<T>, footprint: Footprint): Task<T> {
  for (;;) {
    const { done, value } = task.next();
    if (done) return value;
    footprint.note(value);
    yield value;
  }
}
