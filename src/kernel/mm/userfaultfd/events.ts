/**
 * Telling the reader of a userfaultfd that mappings change behind its back: fork, mremap, MADV_DONTNEED and its like, and
 * munmap, each only if its feature was asked for. Whoever makes the change waits until the event has been read; until
 * then nothing can be filled in (`mmapChanging`, -EAGAIN).
 * @see Linux fs/userfaultfd.c, `userfaultfd_event_wait_completion`, `dup_userfaultfd`, `mremap_userfaultfd_prep`,
 * `userfaultfd_remove`, `userfaultfd_unmap_prep`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { mmapReadUnlock, mmapWriteLock, mmapWriteUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { mmgrab } from '../mm-count.ts';
import type { VmArea } from '../vma.ts';
import { type EventWaiter, type UffdMessage, UserfaultfdContext, userfaultfdPut } from './context.ts';
import {
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_UNMAP,
} from './uffd-abi.ts';
import { clearUserfaultfd, resetUserfaultfd } from './vma-context.ts';

/** A change that was announced and whose event is still to be sent. */
export interface PendingEvent {
  /** Has a reference and a count in `mmapChanging`. */
  readonly context: UserfaultfdContext;
  readonly message: UffdMessage;
}

/** It was read: its sender goes on. Needs the lock of the events. */
export function eventComplete(context: UserfaultfdContext, waiter: EventWaiter): void {
  waiter.read = true;
  context.events.splice(context.events.indexOf(waiter), 1);
}

/** From now on until the event is read nothing is filled in. Takes a reference. */
function* beginChange(current: TaskStruct, context: UserfaultfdContext): Task<void> {
  yield* context.mapChangingLock.downWrite(current);
  context.refcount++;
  context.mmapChanging++;
  yield* context.mapChangingLock.upWrite(current);
}

/** Sends an event and waits until it is read, or the descriptor closed, or a fatal signal comes. */
function* userfaultfdSendEvent(current: TaskStruct, { context, message }: PendingEvent): Task<void> {
  const waiter: EventWaiter = { task: current, message, read: false };
  yield* context.eventsLock.lockIrqsave(current);
  context.events.unshift(waiter);
  const over = (): boolean => waiter.read || context.released || current.fatalSignalPending();
  while (!over()) {
    yield* context.eventsLock.unlockIrqrestore(current);
    yield* context.readers.wakeUp();
    yield new SchedPoint(PointKind.Wait, context, 'userfaultfd_event_wait', StepCost.ContextSwitch, over);
    yield* context.eventsLock.lockIrqsave(current);
  }
  const unread = !waiter.read;
  if (unread) context.events.splice(context.events.indexOf(waiter), 1);
  yield* context.eventsLock.unlockIrqrestore(current);
  if (unread && message.event === 'fork') yield* releaseUnread(current, message.child);
  yield context.change;
  context.mmapChanging--;
  yield* userfaultfdPut(context);
}

/** Nobody will ever read of this child: its memory is unregistered. @see `userfaultfd_release_new` */
function* releaseUnread(current: TaskStruct, child: UserfaultfdContext): Task<void> {
  const { mm } = child;
  yield* mmapWriteLock(current, mm);
  for (const vma of mm.vmas.snapshot()) {
    if (vma.userfaultfd === child) yield* resetUserfaultfd(current, vma);
  }
  yield* mmapWriteUnlock(current, mm);
  yield* userfaultfdPut(child);
}

// --- fork ---

/**
 * The registration of a VMA that fork has just copied, not yet in the tree: dropped, or a userfaultfd of the child's own.
 * @param events what is to be sent once the child is complete
 * @see `dup_userfaultfd`
 */
export function* dupUserfaultfd(
  current: TaskStruct,
  child: VmArea,
  parent: VmArea,
  events: PendingEvent[],
): Task<void> {
  const context = parent.userfaultfd;
  if (context?.has(UFFD_FEATURE_EVENT_FORK) !== true) {
    clearUserfaultfd(child);
    return;
  }
  const known = events.find((event) => event.context === context)?.message;
  if (known?.event === 'fork') {
    child.userfaultfd = known.child;
    return;
  }
  const copy = new UserfaultfdContext(child.mm, context.flags);
  copy.features = context.features;
  yield* mmgrab(child.mm);
  yield* beginChange(current, context);
  events.push({ context, message: { event: 'fork', child: copy } });
  child.userfaultfd = copy;
}

/** @see `dup_userfaultfd_complete` */
export function* userfaultfdSendEvents(current: TaskStruct, events: readonly PendingEvent[]): Task<void> {
  for (const event of events) yield* userfaultfdSendEvent(current, event);
}

/** fork has failed: nobody is told. @see `dup_userfaultfd_fail` */
export function* dupUserfaultfdFail(events: readonly PendingEvent[]): Task<void> {
  for (const { context, message } of events) {
    yield context.change;
    context.mmapChanging--;
    yield* userfaultfdPut(context);
    if (message.event === 'fork') yield* userfaultfdPut(message.child);
  }
}

// --- mremap ---

/**
 * The registration of the VMA at the new address: kept, and the userfaultfd to be told in the end; or dropped, null.
 * Needs mmap_lock for writing and the VMA write-locked.
 * @see `mremap_userfaultfd_prep`
 */
export function* mremapUserfaultfdPrep(current: TaskStruct, moved: VmArea): Task<UserfaultfdContext | null> {
  const context = moved.userfaultfd;
  if (context === null) return null;
  if (context.has(UFFD_FEATURE_EVENT_REMAP)) {
    yield* beginChange(current, context);
    return context;
  }
  yield* resetUserfaultfd(current, moved);
  return null;
}

/** Pages that move lose their write protection where the move is not reported. */
export function vmaHasUffdWithoutEventRemap(vma: VmArea): boolean {
  return vma.userfaultfd !== null && !vma.userfaultfd.has(UFFD_FEATURE_EVENT_REMAP);
}

/**
 * mremap is through, mmap_lock released. Bytes.
 * @param context what the preparation gave
 * @param moved false after an error: nobody is told
 * @see `mremap_userfaultfd_complete`, `mremap_userfaultfd_fail`
 */
export function* mremapUserfaultfdComplete(
  current: TaskStruct,
  context: UserfaultfdContext | null,
  from: bigint,
  to: bigint,
  length: bigint,
  moved: boolean,
): Task<void> {
  if (context === null) return;
  if (moved) {
    yield* userfaultfdSendEvent(current, { context, message: { event: 'remap', from, to, length } });
    return;
  }
  yield context.change;
  context.mmapChanging--;
  yield* userfaultfdPut(context);
}

// --- pages that go ---

/**
 * Pages [start, end) are about to be thrown away by madvise, mmap_lock held for reading. True: go on. False: the lock was
 * released and the reader has been told; the VMA has to be looked up again.
 * @see `userfaultfd_remove`
 */
export function* userfaultfdRemove(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
): Task<boolean> {
  const context = vma.userfaultfd;
  if (context?.has(UFFD_FEATURE_EVENT_REMOVE) !== true) return true;
  const { mm } = vma;
  yield* beginChange(current, context);
  yield* mmapReadUnlock(current, mm);
  yield* userfaultfdSendEvent(current, { context, message: rangeMessage('remove', start, end) });
  return false;
}

const rangeMessage = (event: 'remove' | 'unmap', start: number, end: number): UffdMessage => ({
  event,
  start: BigInt(start) << 12n,
  end: BigInt(end) << 12n,
});

/**
 * Pages [start, end) are about to be unmapped and `vma` is one of the VMAs there. Needs mmap_lock for writing.
 * The event is sent by `userfaultfdUnmapComplete`, which every call that unmaps ends with.
 * @see `userfaultfd_unmap_prep`
 */
export function* userfaultfdUnmapPrep(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
): Task<void> {
  const context = vma.userfaultfd;
  if (context?.has(UFFD_FEATURE_EVENT_UNMAP) !== true) return;
  const message = rangeMessage('unmap', start, end);
  const events = current.userfaultfdUnmaps;
  if (events.some((event) => event.context === context && sameRange(event.message, message))) return;
  yield* beginChange(current, context);
  events.push({ context, message });
}

function sameRange(a: UffdMessage, b: UffdMessage): boolean {
  return a.event === 'unmap' && b.event === 'unmap' && a.start === b.start && a.end === b.end;
}

/** The call is through, whatever came of it, and mmap_lock released. @see `userfaultfd_unmap_complete` */
export function* userfaultfdUnmapComplete(current: TaskStruct): Task<void> {
  const events = current.userfaultfdUnmaps;
  if (events.length > 0) yield* userfaultfdSendEvents(current, events.splice(0));
}
