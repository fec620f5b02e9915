/** Objects that pass on to many listeners what the kernel tells one; of a single listener that hears all, itself. */
import type { FrameObserver, FrameWatcher } from '../../kernel/frame/frame-table.ts';
import type { KernelWatcher } from '../../kernel/kernel-watcher.ts';
import type { TableWatcher } from '../../kernel/mm/page-table.ts';
import type { VmaWatcher } from '../../kernel/mm/vma-watcher.ts';
import type { RemoteWatcher } from '../../kernel/remote/remote-watcher.ts';
import type { LockWatcher } from '../../sched/task.ts';

type Method = (...args: never[]) => void;

/** The listeners' functions for one kind of event. */
function heard<L extends object, K extends keyof L>(
  listeners: readonly Partial<L>[],
  before: L | null,
  name: K,
): readonly Extract<L[K], Method>[] {
  const found: Extract<L[K], Method>[] = [];
  const add = (listener: Partial<L>): void => {
    const method = listener[name];
    if (typeof method === 'function') found.push(method.bind(listener) as Extract<L[K], Method>);
  };
  if (before !== null) add(before);
  for (const listener of listeners) add(listener);
  return found;
}

/** @param before who was there already and is told first; null: nobody */
export function fanOfTables(
  listeners: readonly Partial<TableWatcher>[],
  before: TableWatcher | null,
): TableWatcher {
  const added = heard<TableWatcher, 'added'>(listeners, before, 'added');
  const removed = heard<TableWatcher, 'removed'>(listeners, before, 'removed');
  const written = heard<TableWatcher, 'written'>(listeners, before, 'written');
  const usedAfterFree = heard<TableWatcher, 'usedAfterFree'>(listeners, before, 'usedAfterFree');
  return {
    added(table) {
      for (const listener of added) listener(table);
    },
    removed(table) {
      for (const listener of removed) listener(table);
    },
    written(table, index, oldHi, oldLo, hi, lo) {
      for (const listener of written) listener(table, index, oldHi, oldLo, hi, lo);
    },
    usedAfterFree(table, index, write) {
      for (const listener of usedAfterFree) listener(table, index, write);
    },
  };
}

export function fanOfFrames(
  listeners: readonly Partial<FrameObserver>[],
  before: FrameObserver | null,
): FrameObserver {
  const allocated = heard<FrameObserver, 'allocated'>(listeners, before, 'allocated');
  const freed = heard<FrameObserver, 'freed'>(listeners, before, 'freed');
  return {
    allocated(frame, order) {
      for (const listener of allocated) listener(frame, order);
    },
    freed(frame, order) {
      for (const listener of freed) listener(frame, order);
    },
  };
}

export function fanOfReferences(listeners: readonly Partial<FrameWatcher>[]): FrameWatcher {
  const counted = heard<FrameWatcher, 'counted'>(listeners, null, 'counted');
  const mapped = heard<FrameWatcher, 'mapped'>(listeners, null, 'mapped');
  return {
    counted(head, references, pins) {
      for (const listener of counted) listener(head, references, pins);
    },
    mapped(frame, entries) {
      for (const listener of mapped) listener(frame, entries);
    },
  };
}

export function fanOfKernel(listeners: readonly Partial<KernelWatcher>[]): KernelWatcher {
  const entered = heard<KernelWatcher, 'entered'>(listeners, null, 'entered');
  const left = heard<KernelWatcher, 'left'>(listeners, null, 'left');
  const flushBegins = heard<KernelWatcher, 'flushBegins'>(listeners, null, 'flushBegins');
  const flushEnds = heard<KernelWatcher, 'flushEnds'>(listeners, null, 'flushEnds');
  const grabbed = heard<KernelWatcher, 'grabbed'>(listeners, null, 'grabbed');
  const copied = heard<KernelWatcher, 'copied'>(listeners, null, 'copied');
  const usedAfterFree = heard<KernelWatcher, 'usedAfterFree'>(listeners, null, 'usedAfterFree');
  return {
    entered(current) {
      for (const listener of entered) listener(current);
    },
    left(current) {
      for (const listener of left) listener(current);
    },
    flushBegins(current, mm, startPage, endPage, freedTables) {
      for (const listener of flushBegins) listener(current, mm, startPage, endPage, freedTables);
    },
    flushEnds(current, mm, startPage, endPage, freedTables) {
      for (const listener of flushEnds) listener(current, mm, startPage, endPage, freedTables);
    },
    grabbed(current, mm, vma, page, frame, gupFlags) {
      for (const listener of grabbed) listener(current, mm, vma, page, frame, gupFlags);
    },
    copied(current, frame, offset, bytes, write) {
      for (const listener of copied) listener(current, frame, offset, bytes, write);
    },
    usedAfterFree(current, object, operation) {
      for (const listener of usedAfterFree) listener(current, object, operation);
    },
  };
}

export function fanOfLocks(
  listeners: readonly Partial<LockWatcher>[],
  before: LockWatcher | null,
): LockWatcher {
  const acquire = heard<LockWatcher, 'acquire'>(listeners, before, 'acquire');
  const acquired = heard<LockWatcher, 'acquired'>(listeners, before, 'acquired');
  const release = heard<LockWatcher, 'release'>(listeners, before, 'release');
  const downgrade = heard<LockWatcher, 'downgrade'>(listeners, before, 'downgrade');
  return {
    acquire(task, lock, mode, subclass, operation) {
      for (const listener of acquire) listener(task, lock, mode, subclass, operation);
    },
    acquired(task, lock, mode, operation) {
      for (const listener of acquired) listener(task, lock, mode, operation);
    },
    release(task, lock) {
      for (const listener of release) listener(task, lock);
    },
    downgrade(task, lock) {
      for (const listener of downgrade) listener(task, lock);
    },
  };
}

export function fanOfVmas(listeners: readonly Partial<VmaWatcher>[]): VmaWatcher {
  const made = heard<VmaWatcher, 'made'>(listeners, null, 'made');
  const freed = heard<VmaWatcher, 'freed'>(listeners, null, 'freed');
  const touched = heard<VmaWatcher, 'touched'>(listeners, null, 'touched');
  const readerCounted = heard<VmaWatcher, 'readerCounted'>(listeners, null, 'readerCounted');
  const writeLocked = heard<VmaWatcher, 'writeLocked'>(listeners, null, 'writeLocked');
  const attached = heard<VmaWatcher, 'attached'>(listeners, null, 'attached');
  const detached = heard<VmaWatcher, 'detached'>(listeners, null, 'detached');
  const treeChanges = heard<VmaWatcher, 'treeChanges'>(listeners, null, 'treeChanges');
  const forked = heard<VmaWatcher, 'forked'>(listeners, null, 'forked');
  const speculationBegun = heard<VmaWatcher, 'speculationBegun'>(listeners, null, 'speculationBegun');
  const speculationAsked = heard<VmaWatcher, 'speculationAsked'>(listeners, null, 'speculationAsked');
  const mmFreed = heard<VmaWatcher, 'mmFreed'>(listeners, null, 'mmFreed');
  return {
    made(vma, mm) {
      for (const listener of made) listener(vma, mm);
    },
    freed(vma) {
      for (const listener of freed) listener(vma);
    },
    touched(vma, field, write) {
      for (const listener of touched) listener(vma, field, write);
    },
    readerCounted(vma, before) {
      for (const listener of readerCounted) listener(vma, before);
    },
    writeLocked(vma) {
      for (const listener of writeLocked) listener(vma);
    },
    attached(vma) {
      for (const listener of attached) listener(vma);
    },
    detached(vma) {
      for (const listener of detached) listener(vma);
    },
    treeChanges(mm, vma, change, start, end) {
      for (const listener of treeChanges) listener(mm, vma, change, start, end);
    },
    forked(copy, source) {
      for (const listener of forked) listener(copy, source);
    },
    speculationBegun(mm) {
      for (const listener of speculationBegun) listener(mm);
    },
    speculationAsked(mm) {
      for (const listener of speculationAsked) listener(mm);
    },
    mmFreed(mm) {
      for (const listener of mmFreed) listener(mm);
    },
  };
}

export function fanOfRemote(listeners: readonly Partial<RemoteWatcher>[]): RemoteWatcher {
  const begins = heard<RemoteWatcher, 'begins'>(listeners, null, 'begins');
  const copied = heard<RemoteWatcher, 'copied'>(listeners, null, 'copied');
  const ends = heard<RemoteWatcher, 'ends'>(listeners, null, 'ends');
  return {
    begins(current, transfer) {
      for (const listener of begins) listener(current, transfer);
    },
    copied(current, frame, offset, buffer, at, bytes) {
      for (const listener of copied) listener(current, frame, offset, buffer, at, bytes);
    },
    ends(current, moved) {
      for (const listener of ends) listener(current, moved);
    },
  };
}
