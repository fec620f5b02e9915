/**
 * Who else translates addresses of an address space (secondary MMUs: a graphics card, a virtual machine) is told before and
 * after entries of a range change, so that it forgets what it knows of them.
 * Told are those changes that can meet a device-exclusive entry: unmapping, zapping, mprotect, fork, mremap, reclaim and
 * migration, and the end of the address space. Left out: young bits, interval sequences (`mmu_interval_read_begin`), SRCU.
 * @see Linux mm/mmu_notifier.c; include/linux/mmu_notifier.h, `enum mmu_notifier_event`
 */
import type { Task } from '../../base/task.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';

/** Why: MMU_NOTIFY_*. */
export type MmuNotifierEvent =
  | 'unmap'
  | 'clear'
  | 'protection-vma'
  | 'protection-page'
  | 'exclusive'
  | 'release';

export interface MmuNotifierRange {
  readonly mm: MmStruct;
  /** Pages, the second one exclusive. */
  readonly start: number;
  readonly end: number;
  readonly event: MmuNotifierEvent;
  /** Who asked for it, with `exclusive`, so that it can let its own event pass. */
  readonly owner: object | null;
}

export interface MmuNotifier {
  /** Before the entries change; nothing of the range may be used until `invalidateRangeEnd`. May sleep. */
  invalidateRangeStart(current: TaskStruct, range: MmuNotifierRange): Task<void>;
  invalidateRangeEnd?(current: TaskStruct, range: MmuNotifierRange): Task<void>;
}

/** Takes and releases mmap_lock for writing. @see `mmu_notifier_register` */
export function* mmuNotifierRegister(current: TaskStruct, mm: MmStruct, notifier: MmuNotifier): Task<void> {
  yield* mmapWriteLock(current, mm);
  mm.notifiers = [...(mm.notifiers ?? []), notifier];
  yield* mmapWriteUnlock(current, mm);
}

/** It is told nothing any more. @see `mmu_notifier_unregister` */
export function mmuNotifierUnregister(mm: MmStruct, notifier: MmuNotifier): void {
  const left = mm.notifiers?.filter((other) => other !== notifier) ?? [];
  mm.notifiers = left.length === 0 ? null : left;
}

/** Pages [start, end); null when nobody listens. */
export function mmuNotifierRange(
  mm: MmStruct,
  start: number,
  end: number,
  event: MmuNotifierEvent,
  owner: object | null = null,
): MmuNotifierRange | null {
  return mm.notifiers === null ? null : { mm, start, end, event, owner };
}

export function* mmuNotifierStart(current: TaskStruct, range: MmuNotifierRange | null): Task<void> {
  for (const notifier of range?.mm.notifiers ?? []) {
    yield* notifier.invalidateRangeStart(current, range as MmuNotifierRange);
  }
}

export function* mmuNotifierEnd(current: TaskStruct, range: MmuNotifierRange | null): Task<void> {
  for (const notifier of range?.mm.notifiers ?? []) {
    if (notifier.invalidateRangeEnd !== undefined) {
      yield* notifier.invalidateRangeEnd(current, range as MmuNotifierRange);
    }
  }
}
