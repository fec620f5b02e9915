/**
 * One userfaultfd: whose memory it is for, what it was asked for, and who waits for it. Faults queue as pending until
 * somebody has read them, and as read until they are woken.
 * Left out: the descriptor (whoever holds this has it open), fdinfo, aio.
 * @see Linux fs/userfaultfd.c, `struct userfaultfd_ctx`, `struct userfaultfd_wait_queue`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import { RwSemaphore } from '../../lock/rwsem.ts';
import { SeqCount } from '../../lock/seqcount.ts';
import { SpinLock } from '../../lock/spinlock.ts';
import { WaitQueue } from '../../lock/wait-queue.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { mmdrop } from '../mm-count.ts';
import type { VmArea } from '../vma.ts';
import { UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_WP_UNPOPULATED } from './uffd-abi.ts';

/** What a read gives (`struct uffd_msg`). Addresses are bytes. */
export type UffdMessage =
  | {
      readonly event: 'pagefault';
      /** UFFD_PAGEFAULT_FLAG_*. */
      readonly flags: number;
      readonly address: bigint;
      /** With UFFD_FEATURE_THREAD_ID: who faults; else 0. */
      readonly threadId: number;
    }
  /** The child's userfaultfd comes with it. */
  | { readonly event: 'fork'; readonly child: UserfaultfdContext }
  | { readonly event: 'remap'; readonly from: bigint; readonly to: bigint; readonly length: bigint }
  | { readonly event: 'remove' | 'unmap'; readonly start: bigint; readonly end: bigint };

/** A task that waits for a page, as it stands in a queue. */
export interface FaultWaiter {
  readonly task: TaskStruct;
  readonly message: UffdMessage & { readonly event: 'pagefault' };
  /** Somebody has ended the wait. */
  woken: boolean;
}

/** A task that waits until its event has been read. */
export interface EventWaiter {
  readonly task: TaskStruct;
  readonly message: UffdMessage;
  /** `msg.event == 0`: it was read. */
  read: boolean;
}

export class UserfaultfdContext extends SharedObject {
  readonly mm: MmStruct;
  /** As the system call got them: UFFD_USER_MODE_ONLY, O_NONBLOCK, O_CLOEXEC. */
  readonly flags: number;
  /** UFFD_FEATURE_*, once UFFDIO_API has been called; null before. */
  features: number | null = null;
  /** Its descriptor is closed. */
  released = false;
  /** References: the descriptor's, one of each waiter, one of each event. */
  refcount = 1;
  /** Operations under way that change mappings and whose event is not read yet (`mmap_changing`). */
  mmapChanging = 0;
  /** Held for reading while pages are filled in, for writing while `mmapChanging` is raised. */
  readonly mapChangingLock: RwSemaphore;

  readonly #pending: FaultWaiter[] = [];
  readonly #faults: FaultWaiter[] = [];
  readonly #events: EventWaiter[] = [];
  /** Each queue's lock. Taken in the order reader, pending, faults; reader, events. */
  readonly pendingLock: SpinLock;
  readonly faultsLock: SpinLock;
  readonly eventsLock: SpinLock;
  /** `fd_wqh`: who reads or polls. */
  readonly readers: WaitQueue;
  /** Odd while a fault goes from one queue to the other. */
  readonly refile: SeqCount;

  /** Just before a queue is looked at without its lock. */
  readonly peek: SchedPoint;
  /** Just before `features`, `released`, `refcount` or `mmapChanging` changes. */
  readonly change: SchedPoint;

  constructor(mm: MmStruct, flags: number) {
    super(`userfaultfd ${mm.kernel.nextSerial('userfaultfd')}`);
    this.mm = mm;
    this.flags = flags;
    this.mapChangingLock = new RwSemaphore(`map_changing_lock ${this.name}`);
    this.pendingLock = new SpinLock(`fault_pending_wqh ${this.name}`);
    this.faultsLock = new SpinLock(`fault_wqh ${this.name}`);
    this.eventsLock = new SpinLock(`event_wqh ${this.name}`);
    this.readers = new WaitQueue(`fd_wqh ${this.name}`);
    this.refile = new SeqCount(`refile_seq ${this.name}`);
    this.peek = new SchedPoint(PointKind.Read, this, 'waitqueue_active', StepCost.SharedLoad);
    this.change = new SchedPoint(PointKind.Write, this, 'userfaultfd_ctx', StepCost.AtomicUpdate);
  }

  /** `fault_pending_wqh`: faults nobody has read, the newest first. */
  get pending(): FaultWaiter[] {
    this.#queueTouched();
    return this.#pending;
  }

  /** `fault_wqh`: faults that were read, the newest first. */
  get faults(): FaultWaiter[] {
    this.#queueTouched();
    return this.#faults;
  }

  /** `event_wqh`, the newest first. */
  get events(): EventWaiter[] {
    this.#queueTouched();
    return this.#events;
  }

  /** Whoever is at a queue may wake its waiters, who stand before a point of this object. */
  #queueTouched(): void {
    const { footprint } = this.mm.kernel.machine;
    if (footprint.enabled) footprint.writeObject(this);
  }

  /** Was this feature asked for? */
  has(feature: number): boolean {
    return this.features !== null && (this.features & feature) !== 0;
  }
}

/** `userfaultfd_ctx_get`. */
export function* userfaultfdGet(context: UserfaultfdContext): Task<void> {
  yield context.change;
  context.refcount++;
}

/** `userfaultfd_ctx_put`. Nobody may wait any more when the last reference goes. */
export function* userfaultfdPut(context: UserfaultfdContext): Task<void> {
  yield context.change;
  context.refcount--;
  if (context.refcount < 0) throw new Error(`${context.name} is put once too often`);
  if (context.refcount > 0) return;
  if (context.pending.length + context.faults.length + context.events.length > 0) {
    throw new Error(`${context.name} goes while somebody waits for it`);
  }
  yield* mmdrop(context.mm);
}

/** `userfaultfd_wp_async`: the first write to a protected page is let through without asking anybody. */
export function userfaultfdWpAsync(vma: VmArea): boolean {
  return vma.userfaultfd?.has(UFFD_FEATURE_WP_ASYNC) === true;
}

/**
 * Are absent pages protected by a marker? In memory of files always, else what reclaim unmaps would lose its protection.
 * @see Linux mm/mprotect.c, `userfaultfd_wp_use_markers`
 */
export function userfaultfdWpUseMarkers(vma: VmArea): boolean {
  return !vma.anonymous || vma.userfaultfd?.has(UFFD_FEATURE_WP_UNPOPULATED) === true;
}
