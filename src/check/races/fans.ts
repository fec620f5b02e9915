/**
 * Objects that pass on to many listeners what the kernel tells one. They are made once and serve one run after another; who
 * was there already in a run is told first.
 */
import type { SharedObject } from '../../base/task.ts';
import type { FrameWatcher } from '../../kernel/frame/frame-map-counts.ts';
import type { FrameObserver } from '../../kernel/frame/frame-table.ts';
import type { KernelWatcher } from '../../kernel/kernel-watcher.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { TablePage, TableWatcher } from '../../kernel/mm/page-table.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import type { TreeChange, VmaField, VmaWatcher } from '../../kernel/mm/vma-watcher.ts';
import type { RemoteTransfer } from '../../kernel/remote/design.ts';
import type { RemoteWatcher } from '../../kernel/remote/remote-watcher.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { LockMode, LockWatcher, SchedTask } from '../../sched/task.ts';

type Method = (...args: never[]) => void;

/** The listeners' functions for one kind of event. */
function heard<L extends object, K extends keyof L>(
  listeners: readonly Partial<L>[],
  name: K,
): readonly Extract<L[K], Method>[] {
  const found: Extract<L[K], Method>[] = [];
  for (const listener of listeners) {
    const method = listener[name];
    if (typeof method === 'function') found.push(method.bind(listener) as Extract<L[K], Method>);
  }
  return found;
}

export class TableFan implements TableWatcher {
  #before: TableWatcher | null = null;
  readonly #added: readonly TableWatcher['added'][];
  readonly #removed: readonly TableWatcher['removed'][];
  readonly #written: readonly TableWatcher['written'][];
  readonly #usedAfterFree: readonly Required<TableWatcher>['usedAfterFree'][];

  constructor(listeners: readonly Partial<TableWatcher>[]) {
    this.#added = heard<TableWatcher, 'added'>(listeners, 'added');
    this.#removed = heard<TableWatcher, 'removed'>(listeners, 'removed');
    this.#written = heard<TableWatcher, 'written'>(listeners, 'written');
    this.#usedAfterFree = heard<Required<TableWatcher>, 'usedAfterFree'>(listeners, 'usedAfterFree');
  }

  /** For the next run. @param before who is told first; null: nobody */
  after(before: TableWatcher | null): this {
    this.#before = before;
    return this;
  }

  added(table: TablePage): void {
    this.#before?.added(table);
    for (const listener of this.#added) listener(table);
  }

  removed(table: TablePage): void {
    this.#before?.removed(table);
    for (const listener of this.#removed) listener(table);
  }

  written(table: TablePage, index: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    this.#before?.written(table, index, oldHi, oldLo, hi, lo);
    for (const listener of this.#written) listener(table, index, oldHi, oldLo, hi, lo);
  }

  usedAfterFree(table: TablePage, index: number, write: boolean): void {
    this.#before?.usedAfterFree?.(table, index, write);
    for (const listener of this.#usedAfterFree) listener(table, index, write);
  }
}

export class FrameFan implements FrameObserver {
  #before: FrameObserver | null = null;
  readonly #allocated: readonly FrameObserver['allocated'][];
  readonly #freed: readonly FrameObserver['freed'][];

  constructor(listeners: readonly Partial<FrameObserver>[]) {
    this.#allocated = heard<FrameObserver, 'allocated'>(listeners, 'allocated');
    this.#freed = heard<FrameObserver, 'freed'>(listeners, 'freed');
  }

  /** For the next run. @param before who is told first; null: nobody */
  after(before: FrameObserver | null): this {
    this.#before = before;
    return this;
  }

  allocated(frame: number, order: number): void {
    this.#before?.allocated(frame, order);
    for (const listener of this.#allocated) listener(frame, order);
  }

  freed(frame: number, order: number): void {
    this.#before?.freed(frame, order);
    for (const listener of this.#freed) listener(frame, order);
  }
}

export class ReferenceFan implements FrameWatcher {
  readonly #counted: readonly FrameWatcher['counted'][];
  readonly #mapped: readonly FrameWatcher['mapped'][];

  constructor(listeners: readonly Partial<FrameWatcher>[]) {
    this.#counted = heard<FrameWatcher, 'counted'>(listeners, 'counted');
    this.#mapped = heard<FrameWatcher, 'mapped'>(listeners, 'mapped');
  }

  counted(head: number, references: number, pins: number): void {
    for (const listener of this.#counted) listener(head, references, pins);
  }

  mapped(frame: number, entries: number): void {
    for (const listener of this.#mapped) listener(frame, entries);
  }
}

export class KernelFan implements KernelWatcher {
  readonly #entered: readonly KernelWatcher['entered'][];
  readonly #left: readonly KernelWatcher['left'][];
  readonly #flushBegins: readonly KernelWatcher['flushBegins'][];
  readonly #flushEnds: readonly KernelWatcher['flushEnds'][];
  readonly #faults: readonly KernelWatcher['faults'][];
  readonly #grabbed: readonly KernelWatcher['grabbed'][];
  readonly #copied: readonly KernelWatcher['copied'][];
  readonly #discards: readonly KernelWatcher['discards'][];
  readonly #usedAfterFree: readonly KernelWatcher['usedAfterFree'][];

  constructor(listeners: readonly Partial<KernelWatcher>[]) {
    this.#entered = heard<KernelWatcher, 'entered'>(listeners, 'entered');
    this.#left = heard<KernelWatcher, 'left'>(listeners, 'left');
    this.#flushBegins = heard<KernelWatcher, 'flushBegins'>(listeners, 'flushBegins');
    this.#flushEnds = heard<KernelWatcher, 'flushEnds'>(listeners, 'flushEnds');
    this.#faults = heard<KernelWatcher, 'faults'>(listeners, 'faults');
    this.#grabbed = heard<KernelWatcher, 'grabbed'>(listeners, 'grabbed');
    this.#copied = heard<KernelWatcher, 'copied'>(listeners, 'copied');
    this.#discards = heard<KernelWatcher, 'discards'>(listeners, 'discards');
    this.#usedAfterFree = heard<KernelWatcher, 'usedAfterFree'>(listeners, 'usedAfterFree');
  }

  entered(current: TaskStruct): void {
    for (const listener of this.#entered) listener(current);
  }

  left(current: TaskStruct): void {
    for (const listener of this.#left) listener(current);
  }

  flushBegins(
    current: TaskStruct,
    mm: MmStruct,
    startPage: number,
    endPage: number,
    freedTables: boolean,
  ): void {
    for (const listener of this.#flushBegins) listener(current, mm, startPage, endPage, freedTables);
  }

  flushEnds(
    current: TaskStruct,
    mm: MmStruct,
    startPage: number,
    endPage: number,
    freedTables: boolean,
  ): void {
    for (const listener of this.#flushEnds) listener(current, mm, startPage, endPage, freedTables);
  }

  faults(current: TaskStruct, vma: VmArea, page: number): void {
    for (const listener of this.#faults) listener(current, vma, page);
  }

  grabbed(
    current: TaskStruct,
    mm: MmStruct,
    vma: VmArea | null,
    page: number,
    frame: number,
    gupFlags: number,
  ): void {
    for (const listener of this.#grabbed) listener(current, mm, vma, page, frame, gupFlags);
  }

  copied(current: TaskStruct, frame: number, offset: number, bytes: number, write: boolean): void {
    for (const listener of this.#copied) listener(current, frame, offset, bytes, write);
  }

  discards(current: TaskStruct, mm: MmStruct, startPage: number, endPage: number): void {
    for (const listener of this.#discards) listener(current, mm, startPage, endPage);
  }

  usedAfterFree(current: TaskStruct, object: string, operation: string): void {
    for (const listener of this.#usedAfterFree) listener(current, object, operation);
  }
}

export class LockFan implements LockWatcher {
  #before: LockWatcher | null = null;
  readonly #acquire: readonly LockWatcher['acquire'][];
  readonly #acquired: readonly LockWatcher['acquired'][];
  readonly #release: readonly LockWatcher['release'][];
  readonly #downgrade: readonly LockWatcher['downgrade'][];
  readonly #sleepsInAtomic: readonly Required<LockWatcher>['sleepsInAtomic'][];

  constructor(listeners: readonly Partial<LockWatcher>[]) {
    this.#acquire = heard<LockWatcher, 'acquire'>(listeners, 'acquire');
    this.#acquired = heard<LockWatcher, 'acquired'>(listeners, 'acquired');
    this.#release = heard<LockWatcher, 'release'>(listeners, 'release');
    this.#downgrade = heard<LockWatcher, 'downgrade'>(listeners, 'downgrade');
    this.#sleepsInAtomic = heard<Required<LockWatcher>, 'sleepsInAtomic'>(listeners, 'sleepsInAtomic');
  }

  /** For the next run. @param before who is told first; null: nobody */
  after(before: LockWatcher | null): this {
    this.#before = before;
    return this;
  }

  acquire(task: SchedTask, lock: SharedObject, mode: LockMode, subclass: number, operation: string): void {
    this.#before?.acquire(task, lock, mode, subclass, operation);
    for (const listener of this.#acquire) listener(task, lock, mode, subclass, operation);
  }

  acquired(task: SchedTask, lock: SharedObject, mode: LockMode, operation: string): void {
    this.#before?.acquired(task, lock, mode, operation);
    for (const listener of this.#acquired) listener(task, lock, mode, operation);
  }

  release(task: SchedTask, lock: SharedObject): void {
    this.#before?.release(task, lock);
    for (const listener of this.#release) listener(task, lock);
  }

  downgrade(task: SchedTask, lock: SharedObject): void {
    this.#before?.downgrade(task, lock);
    for (const listener of this.#downgrade) listener(task, lock);
  }

  sleepsInAtomic(task: SchedTask, object: SharedObject, text: string): void {
    for (const listener of this.#sleepsInAtomic) listener(task, object, text);
  }
}

export class VmaFan implements VmaWatcher {
  readonly #made: readonly VmaWatcher['made'][];
  readonly #freed: readonly VmaWatcher['freed'][];
  readonly #touched: readonly VmaWatcher['touched'][];
  readonly #readerCounted: readonly VmaWatcher['readerCounted'][];
  readonly #writeLocked: readonly VmaWatcher['writeLocked'][];
  readonly #attached: readonly VmaWatcher['attached'][];
  readonly #detached: readonly VmaWatcher['detached'][];
  readonly #treeChanges: readonly VmaWatcher['treeChanges'][];
  readonly #forked: readonly VmaWatcher['forked'][];
  readonly #speculationBegun: readonly VmaWatcher['speculationBegun'][];
  readonly #speculationAsked: readonly VmaWatcher['speculationAsked'][];
  readonly #mmFreed: readonly VmaWatcher['mmFreed'][];

  constructor(listeners: readonly Partial<VmaWatcher>[]) {
    this.#made = heard<VmaWatcher, 'made'>(listeners, 'made');
    this.#freed = heard<VmaWatcher, 'freed'>(listeners, 'freed');
    this.#touched = heard<VmaWatcher, 'touched'>(listeners, 'touched');
    this.#readerCounted = heard<VmaWatcher, 'readerCounted'>(listeners, 'readerCounted');
    this.#writeLocked = heard<VmaWatcher, 'writeLocked'>(listeners, 'writeLocked');
    this.#attached = heard<VmaWatcher, 'attached'>(listeners, 'attached');
    this.#detached = heard<VmaWatcher, 'detached'>(listeners, 'detached');
    this.#treeChanges = heard<VmaWatcher, 'treeChanges'>(listeners, 'treeChanges');
    this.#forked = heard<VmaWatcher, 'forked'>(listeners, 'forked');
    this.#speculationBegun = heard<VmaWatcher, 'speculationBegun'>(listeners, 'speculationBegun');
    this.#speculationAsked = heard<VmaWatcher, 'speculationAsked'>(listeners, 'speculationAsked');
    this.#mmFreed = heard<VmaWatcher, 'mmFreed'>(listeners, 'mmFreed');
  }

  made(vma: VmArea, mm: MmStruct): void {
    for (const listener of this.#made) listener(vma, mm);
  }

  freed(vma: VmArea): void {
    for (const listener of this.#freed) listener(vma);
  }

  touched(vma: VmArea, field: VmaField, write: boolean): void {
    for (const listener of this.#touched) listener(vma, field, write);
  }

  readerCounted(vma: VmArea, before: number): void {
    for (const listener of this.#readerCounted) listener(vma, before);
  }

  writeLocked(vma: VmArea): void {
    for (const listener of this.#writeLocked) listener(vma);
  }

  attached(vma: VmArea): void {
    for (const listener of this.#attached) listener(vma);
  }

  detached(vma: VmArea): void {
    for (const listener of this.#detached) listener(vma);
  }

  treeChanges(mm: MmStruct, vma: VmArea, change: TreeChange, start: number, end: number): void {
    for (const listener of this.#treeChanges) listener(mm, vma, change, start, end);
  }

  forked(copy: VmArea, source: VmArea): void {
    for (const listener of this.#forked) listener(copy, source);
  }

  speculationBegun(mm: MmStruct): void {
    for (const listener of this.#speculationBegun) listener(mm);
  }

  speculationAsked(mm: MmStruct): void {
    for (const listener of this.#speculationAsked) listener(mm);
  }

  mmFreed(mm: MmStruct): void {
    for (const listener of this.#mmFreed) listener(mm);
  }
}

export class RemoteFan implements RemoteWatcher {
  readonly #begins: readonly RemoteWatcher['begins'][];
  readonly #copied: readonly RemoteWatcher['copied'][];
  readonly #ends: readonly RemoteWatcher['ends'][];

  constructor(listeners: readonly Partial<RemoteWatcher>[]) {
    this.#begins = heard<RemoteWatcher, 'begins'>(listeners, 'begins');
    this.#copied = heard<RemoteWatcher, 'copied'>(listeners, 'copied');
    this.#ends = heard<RemoteWatcher, 'ends'>(listeners, 'ends');
  }

  begins(current: TaskStruct, transfer: RemoteTransfer): void {
    for (const listener of this.#begins) listener(current, transfer);
  }

  copied(
    current: TaskStruct,
    frame: number,
    offset: number,
    buffer: Uint8Array,
    at: number,
    bytes: number,
  ): void {
    for (const listener of this.#copied) listener(current, frame, offset, buffer, at, bytes);
  }

  ends(current: TaskStruct, moved: number): void {
    for (const listener of this.#ends) listener(current, moved);
  }
}
