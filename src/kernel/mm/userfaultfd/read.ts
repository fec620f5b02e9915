/**
 * Reading and polling a userfaultfd. A read takes the oldest fault that nobody has read, or else the oldest event, and
 * waits for one unless the descriptor is non-blocking.
 * @see Linux fs/userfaultfd.c, `userfaultfd_read`, `userfaultfd_ctx_read`, `userfaultfd_poll`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EFAULT, EINVAL } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { copyToUser } from '../user-access.ts';
import type { EventWaiter, UffdMessage, UserfaultfdContext } from './context.ts';
import { eventComplete } from './events.ts';
import { encodeMessage } from './message.ts';
import { O_NONBLOCK, UFFD_MSG_BYTES } from './uffd-abi.ts';

export const EPOLLIN = 0x1;
export const EPOLLERR = 0x8;

/** The messages of one read. */
export interface UffdRead {
  /** Bytes, or -errno when there is no message. */
  readonly result: number;
  /** In the order in which they were read; those of forks come with the child's userfaultfd. */
  readonly messages: readonly UffdMessage[];
}

/**
 * read(2) of `count` bytes into the caller's memory at `buffer`; null: the messages are enough. Bytes read, or -EINVAL
 * (UFFDIO_API not called yet, or no room for one message), -EAGAIN (non-blocking), -ERESTARTSYS (a signal), -EFAULT.
 */
export function* userfaultfdRead(
  current: TaskStruct,
  context: UserfaultfdContext,
  count: number,
  buffer: bigint | null = null,
): Task<UffdRead> {
  if (context.features === null) return { result: -EINVAL, messages: [] };
  const messages: UffdMessage[] = [];
  let noWait = (context.flags & O_NONBLOCK) !== 0;
  let error = -EINVAL;
  for (let done = 0; count - done >= UFFD_MSG_BYTES; done += UFFD_MSG_BYTES) {
    const message = yield* readOne(current, context, noWait);
    if (typeof message === 'number') {
      error = message;
      break;
    }
    if (
      buffer !== null &&
      (yield* copyToUser(current, buffer + BigInt(done), encodeMessage(message))) !== 0
    ) {
      error = -EFAULT;
      break;
    }
    messages.push(message);
    // Only the first one is waited for.
    noWait = true;
  }
  return { result: messages.length > 0 ? messages.length * UFFD_MSG_BYTES : error, messages };
}

/** A message, or -EAGAIN or -ERESTARTSYS. @see `userfaultfd_ctx_read` */
function* readOne(
  current: TaskStruct,
  context: UserfaultfdContext,
  noWait: boolean,
): Task<UffdMessage | number> {
  for (;;) {
    const fault = yield* takeFault(current, context);
    if (fault !== null) return fault;
    const event = yield* takeEvent(current, context);
    if (event !== null) return event;
    if (noWait) return -EAGAIN;
    const something = (): boolean => context.pending.length > 0 || context.events.length > 0;
    const interrupted = yield* context.readers.waitEventInterruptible(current, something, () =>
      current.signalPending(),
    );
    if (interrupted !== 0) return interrupted;
  }
}

/** The oldest fault goes from the pending to the read ones. */
function* takeFault(current: TaskStruct, context: UserfaultfdContext): Task<UffdMessage | null> {
  yield* context.pendingLock.lockIrqsave(current);
  const waiter = context.pending.at(-1);
  if (waiter !== undefined) {
    yield* context.refile.writeBegin();
    context.pending.pop();
    yield* context.faultsLock.lock(current);
    context.faults.unshift(waiter);
    yield* context.faultsLock.unlock(current);
    yield* context.refile.writeEnd();
  }
  yield* context.pendingLock.unlockIrqrestore(current);
  return waiter?.message ?? null;
}

/** The oldest event; whoever waits for it to be read goes on. The reference of a forked child's goes to the reader. */
function* takeEvent(current: TaskStruct, context: UserfaultfdContext): Task<UffdMessage | null> {
  yield* context.eventsLock.lockIrqsave(current);
  const waiter: EventWaiter | undefined = context.events.at(-1);
  if (waiter !== undefined) {
    eventComplete(context, waiter);
  }
  yield* context.eventsLock.unlockIrqrestore(current);
  return waiter?.message ?? null;
}

/** EPOLLIN when a read would find something; EPOLLERR for a descriptor that is not ready or would block. */
export function* userfaultfdPoll(context: UserfaultfdContext): Task<number> {
  if (context.features === null || (context.flags & O_NONBLOCK) === 0) return EPOLLERR;
  yield context.peek;
  return context.pending.length > 0 || context.events.length > 0 ? EPOLLIN : 0;
}
