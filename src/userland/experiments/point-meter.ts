/**
 * Counts what a path does to shared cache lines, by looking at the points it stands at: what a run did, not what a table
 * says that it should do.
 */
import { type SchedPoint, type SharedObject, StepCost, type Task } from '../../base/task.ts';
import { SpinLock } from '../../kernel/lock/spinlock.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { VmArea } from '../../kernel/mm/vma.ts';

/** Locked read-modify-writes of one path, by the line that they go to. */
export interface LineCounts {
  /** `mmap_lock.count` of the target. */
  mmapLock: number;
  /** `vm_refcnt` of VMAs. */
  vmaRefcount: number;
  /** Locks of page tables; their release is a plain store and does not count. */
  pageTableLock: number;
  /** Reference counts of pages. */
  pageRefcount: number;
  /** Everything else: `mm_users`, entries of page tables that a fault sets, the page cache. */
  other: number;
}

export class PointMeter {
  readonly lines: LineCounts = { mmapLock: 0, vmaRefcount: 0, pageTableLock: 0, pageRefcount: 0, other: 0 };
  /** Steps made. */
  points = 0;
  /** Of them, those with interrupts off. */
  withInterruptsOff = 0;
  readonly #mm: MmStruct;

  constructor(mm: MmStruct) {
    this.#mm = mm;
  }

  /** Locked read-modify-writes on all lines. */
  get atomics(): number {
    const { mmapLock, vmaRefcount, pageTableLock, pageRefcount, other } = this.lines;
    return mmapLock + vmaRefcount + pageTableLock + pageRefcount + other;
  }

  note(point: SchedPoint): void {
    this.points++;
    if (point.cost === StepCost.AtomicUpdate) this.lines[this.#lineOf(point.object, point.operation)]++;
  }

  #lineOf(object: SharedObject, operation: string): keyof LineCounts {
    if (object === this.#mm.mmapLock) return 'mmapLock';
    if (object instanceof VmArea) return 'vmaRefcount';
    if (object instanceof SpinLock && operation === 'spin_lock') return 'pageTableLock';
    return operation === 'page_ref' ? 'pageRefcount' : 'other';
  }
}

/** The task itself, with every point of it noted. */
export function* metered<T>(task: Task<T>, meter: PointMeter, interruptsOff: () => boolean): Task<T> {
  for (;;) {
    const { done, value } = task.next();
    if (done) return value;
    meter.note(value);
    if (interruptsOff()) meter.withInterruptsOff++;
    yield value;
  }
}
