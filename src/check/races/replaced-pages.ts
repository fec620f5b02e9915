/**
 * Pages that take the place of others at once: a task clears a pte and, without letting go the lock of the table in between,
 * sets it to another frame. So does a copy on write; what is thrown away and faulted in again is something else.
 * Left out: huge pages, and a table whose lock was never taken.
 */
import type { SharedObject } from '../../base/task.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { SchedTask } from '../../sched/task.ts';
import { EntryKind, isVisible, type TableChange } from './table-changes.ts';

/** Just before the new entry is set. @param frame the one that was mapped @param cached could CPUs translate by it? */
export type ReplacementListener = (change: TableChange, frame: number, cached: boolean) => void;

/** What a CPU has cleared last, while its task holds the lock. */
interface Cleared {
  task: TaskStruct | null;
  table: TablePage | null;
  index: number;
  frame: number;
  cached: boolean;
}

export class ReplacedPages {
  #lastLevel: number;
  /** By CPU: who holds the lock of a table stays on his. */
  readonly #cleared: Cleared[] = [];
  readonly #listeners: ReplacementListener[] = [];

  constructor(kernel: Kernel) {
    this.#lastLevel = kernel.pageTables.lastLevel;
  }

  begin(kernel: Kernel): void {
    this.#lastLevel = kernel.pageTables.lastLevel;
    this.#cleared.length = 0;
  }

  onReplacement(listener: ReplacementListener): void {
    this.#listeners.push(listener);
  }

  changed(change: TableChange, task: TaskStruct | null): void {
    const { table, old, next } = change;
    if (task === null || table.level !== this.#lastLevel) return;
    if (next.kind === EntryKind.None) {
      if (old.kind === EntryKind.Leaf) this.#note(task, change);
      return;
    }
    if (next.kind !== EntryKind.Leaf || old.kind !== EntryKind.None) return;
    const cleared = this.#cleared[task.cpu];
    if (cleared === undefined || cleared.table !== table || cleared.index !== change.index) return;
    cleared.table = null;
    if (cleared.task !== task || cleared.frame === next.frame) return;
    for (const listener of this.#listeners) listener(change, cleared.frame, cleared.cached);
  }

  #note(task: TaskStruct, { table, index, old }: TableChange): void {
    let cleared = this.#cleared[task.cpu];
    if (cleared === undefined) {
      cleared = { task, table, index, frame: old.frame, cached: false };
      this.#cleared[task.cpu] = cleared;
    }
    cleared.task = task;
    cleared.table = table;
    cleared.index = index;
    cleared.frame = old.frame;
    cleared.cached = isVisible(old);
  }

  released(task: SchedTask, lock: SharedObject): void {
    const cleared = this.#cleared[task.cpu];
    if (cleared !== undefined && cleared.table !== null && cleared.table.lock === lock) cleared.table = null;
  }
}
