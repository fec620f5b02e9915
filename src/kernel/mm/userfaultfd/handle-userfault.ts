/**
 * A fault that user space is to resolve: the faulting task queues itself, lets the lock of the memory go and sleeps until
 * somebody has filled the page in, let the write through, or given up on the range. Then the fault begins anew.
 * Left out: core dumps.
 * @see Linux fs/userfaultfd.c, `handle_userfault`, `userfaultfd_get_blocking_state`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { mightSleep } from '../../../sched/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from '../fault/fault-flags.ts';
import { releaseFaultLock } from '../fault/fault-lock.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import { noteUserfault } from '../vm-events.ts';
import { type FaultWaiter, type UserfaultfdContext, userfaultfdGet, userfaultfdPut } from './context.ts';
import { userfaultfdMustWait } from './must-wait.ts';
import {
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_THREAD_ID,
  UFFD_PAGEFAULT_FLAG_MINOR,
  UFFD_PAGEFAULT_FLAG_WP,
  UFFD_PAGEFAULT_FLAG_WRITE,
  UFFD_USER_MODE_ONLY,
} from './uffd-abi.ts';

/** Why the fault is user space's business. */
export type UserfaultReason = 'missing' | 'write-protect' | 'minor';

/** Reads the page tables again, without their locks: must the fault wait? */
export type MustWait = (fault: VmFault, writeProtect: boolean) => Task<boolean>;

/**
 * VM_FAULT_SIGBUS, the fault's lock still held; or VM_FAULT_RETRY, it is let go (unless RETRY_NOWAIT). Needs no lock of
 * a page table.
 * @param mustWait another one for hugetlb
 */
export function* handleUserfault(
  fault: VmFault,
  reason: UserfaultReason,
  mustWait: MustWait = userfaultfdMustWait,
): Task<number> {
  const { current, vma } = fault;
  const context = vma.userfaultfd;
  if (context === null) return VM_FAULT_SIGBUS;
  if (isRefused(fault, context)) return VM_FAULT_SIGBUS;
  if (fault.has(FAULT_FLAG_RETRY_NOWAIT)) return VM_FAULT_RETRY;
  if (context.released) {
    // Being closed. Whoever closes it waits for mmap_lock: GUP, which looks again at once, must not go on holding it.
    yield* releaseFaultLock(fault);
    return VM_FAULT_RETRY;
  }
  mightSleep(current, 'handle_userfault', context);
  yield* userfaultfdGet(context);
  const waiter = waiterOf(fault, context, reason);
  yield* context.pendingLock.lockIrqsave(current);
  // From here on a read sees it, and a wake ends its sleep.
  context.pending.unshift(waiter);
  yield* context.pendingLock.unlockIrqrestore(current);
  const waits = yield* mustWait(fault, reason === 'write-protect');
  yield* releaseFaultLock(fault);
  if (waits && !context.released) {
    noteUserfault(current, waiter.message.address, reason, true);
    yield* context.readers.wakeUp();
    const ready = (): boolean => waiter.woken || isSignalled(fault);
    yield new SchedPoint(PointKind.Wait, context, 'handle_userfault', StepCost.ContextSwitch, ready);
    noteUserfault(current, waiter.message.address, reason, false);
  }
  if (!waiter.woken) yield* dequeue(current, context, waiter);
  yield* userfaultfdPut(context);
  return VM_FAULT_RETRY;
}

/** May the fault not wait? */
function isRefused(fault: VmFault, context: UserfaultfdContext): boolean {
  if (context.has(UFFD_FEATURE_SIGBUS)) return true;
  if (!fault.has(FAULT_FLAG_USER) && (context.flags & UFFD_USER_MODE_ONLY) !== 0) return true;
  return !fault.has(FAULT_FLAG_ALLOW_RETRY);
}

/**
 * Has a signal come that ends the wait? Any signal where the fault is interruptible: one of kernel mode then begins anew
 * again and again until the page is there, for only user mode can take the signal first.
 */
function isSignalled(fault: VmFault): boolean {
  const { current } = fault;
  if (fault.has(FAULT_FLAG_INTERRUPTIBLE)) return current.signalPending();
  return fault.has(FAULT_FLAG_KILLABLE) && current.fatalSignalPending();
}

/** @see `userfault_msg` */
function waiterOf(fault: VmFault, context: UserfaultfdContext, reason: UserfaultReason): FaultWaiter {
  let flags = fault.has(FAULT_FLAG_WRITE) ? UFFD_PAGEFAULT_FLAG_WRITE : 0;
  if (reason === 'write-protect') flags |= UFFD_PAGEFAULT_FLAG_WP;
  if (reason === 'minor') flags |= UFFD_PAGEFAULT_FLAG_MINOR;
  const { current } = fault;
  const exact = context.has(UFFD_FEATURE_EXACT_ADDRESS) ? fault.offset : 0;
  const address = (BigInt(fault.page) << 12n) + BigInt(exact);
  const threadId = context.has(UFFD_FEATURE_THREAD_ID) ? current.pid : 0;
  return { task: current, message: { event: 'pagefault', flags, address, threadId }, woken: false };
}

/** It was not woken by anybody: a signal came, or the page was there already. */
function* dequeue(current: TaskStruct, context: UserfaultfdContext, waiter: FaultWaiter): Task<void> {
  yield* context.pendingLock.lockIrqsave(current);
  for (const queue of [context.pending, context.faults]) {
    const at = queue.indexOf(waiter);
    if (at >= 0) queue.splice(at, 1);
  }
  yield* context.pendingLock.unlockIrqrestore(current);
}
