/**
 * Ending the wait of faults in a range. The queues are looked at without a lock first, since mostly nobody waits; the
 * sequence number says whether a fault was just going from one to the other, when it is in neither.
 * @see Linux fs/userfaultfd.c, `wake_userfault`, `__wake_userfault`, `userfaultfd_wake_function`, `userfaultfd_wake`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL } from '../../errno.ts';
import type { SpinLock } from '../../lock/spinlock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { FaultWaiter, UserfaultfdContext } from './context.ts';
import { validateRange } from './validate-range.ts';

/** Bytes; null in its place means everybody. */
export interface WakeRange {
  readonly start: bigint;
  readonly length: bigint;
}

/** Wakes the waiters of the range and takes them off the queue. Needs the queue's lock. */
function wakeLocked(queue: FaultWaiter[], range: WakeRange | null): void {
  let kept = 0;
  for (const waiter of queue) {
    const { address } = waiter.message;
    if (range === null || (address >= range.start && address < range.start + range.length)) {
      waiter.woken = true;
    } else queue[kept++] = waiter;
  }
  queue.length = kept;
}

/** `__wake_userfault`; also what closing the descriptor does, for everybody. */
export function* wakeUserfaultSlow(
  current: TaskStruct,
  context: UserfaultfdContext,
  range: WakeRange | null,
): Task<void> {
  yield* context.pendingLock.lockIrqsave(current);
  wakeLocked(context.pending, range);
  yield* wakeReadFaults(current, context, context.faultsLock, range);
  yield* context.pendingLock.unlockIrqrestore(current);
}

function* wakeReadFaults(
  current: TaskStruct,
  context: UserfaultfdContext,
  lock: SpinLock,
  range: WakeRange | null,
): Task<void> {
  yield* lock.lock(current);
  wakeLocked(context.faults, range);
  yield* lock.unlock(current);
}

/** Does anybody wait, read or not? */
function* somebodyWaits(context: UserfaultfdContext): Task<boolean> {
  for (;;) {
    const sequence = yield* context.refile.tryBegin();
    if (sequence === null) continue;
    yield context.peek;
    let found = context.pending.length > 0;
    if (!found) {
      yield context.peek;
      found = context.faults.length > 0;
    }
    if (!(yield* context.refile.retry(sequence))) return found;
  }
}

/** Whoever waits for a page in the range may look at it again. */
export function* wakeUserfault(
  current: TaskStruct,
  context: UserfaultfdContext,
  range: WakeRange,
): Task<void> {
  if (yield* somebodyWaits(context)) yield* wakeUserfaultSlow(current, context, range);
}

/** UFFDIO_WAKE. Bytes. 0 or -EINVAL. */
export function* userfaultfdWake(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
): Task<number> {
  if (context.features === null) return -EINVAL;
  const error = validateRange(context.mm, start, length);
  if (error !== 0) return error;
  yield* wakeUserfault(current, context, { start, length });
  return 0;
}
