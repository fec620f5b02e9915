/**
 * Linux's rw_semaphore: many readers or one writer, sleeping waiters in a FIFO queue.
 * - A reader queues behind a writer that holds the lock, and behind anybody queued while other readers hold it.
 * - The last holder to leave wakes the head of the queue. Readers are handed the lock, all that are queued up to 256, also
 *   those behind writers. A writer is only woken: until it runs, others may steal the free lock.
 * - A writer that finds the lock taken again after waiting for 4 ms of virtual time sets the hand-off bit: nobody steals
 *   any more, and the lock goes to it. A reader at the head does so in the name of all readers.
 * Left out: optimistic spinning on a running owner (a writer that arrives takes a free lock at once, as a spinner would,
 * but does not spin for one that is held), RT tasks, non-owner release, overflow of the reader count.
 * @see Linux kernel/locking/rwsem.c: `rwsem_down_read_slowpath`, `rwsem_mark_wake`, `rwsem_try_write_lock`,
 * `rwsem_down_write_slowpath`, `rwsem_del_wake_waiter`
 */
import { type Holder, PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { LockMode, mightSleep, type SchedTask } from '../../sched/task.ts';
import { EINTR } from '../errno.ts';
import { lockAcquired, lockWait } from './lock-events.ts';

/** Readers woken at once. @see Linux kernel/locking/rwsem.c, `MAX_READERS_WAKEUP` */
const MAX_READERS_WAKEUP = 256;
/** After so long a wait the hand-off bit is set (`RWSEM_WAIT_TIMEOUT`). */
const WAIT_NANOSECONDS = 4_000_000;

/** What ends a wait beside the lock itself. */
const Wait = { Uninterruptible: 0, Killable: 1, Interruptible: 2 } as const;
type Wait = (typeof Wait)[keyof typeof Wait];

/** `rwsem_wake_type`. */
const Wake = {
  /** Whoever is at the head. */
  Any: 0,
  /** Readers, if one is at the head. */
  Readers: 1,
  /** The same, by somebody who holds the lock for reading. */
  ReadOwned: 2,
} as const;
type Wake = (typeof Wake)[keyof typeof Wake];

interface Waiter {
  readonly task: SchedTask;
  readonly write: boolean;
  /** Virtual time from which it may set the hand-off bit. */
  readonly deadline: number;
  /** A reader: it has the lock. A writer: it is to try. */
  woken: boolean;
  /** It has set the hand-off bit. */
  handoffSet: boolean;
}

/** How often something rare happened. */
export interface RwsemEvents {
  /** Readers, and writers, that came before those queued. */
  readSteals: number;
  writeSteals: number;
  /** Hand-off bits set. */
  handoffs: number;
}

class RwsemPoints {
  readonly downRead: SchedPoint;
  readonly downWrite: SchedPoint;
  readonly upRead: SchedPoint;
  readonly upWrite: SchedPoint;
  readonly downgrade: SchedPoint;
  readonly wake: SchedPoint;
  readonly endWriteAll: SchedPoint;
  readonly speculate: SchedPoint;

  constructor(lock: SharedObject) {
    this.downRead = updates(lock, 'down_read');
    this.downWrite = updates(lock, 'down_write');
    this.upRead = updates(lock, 'up_read');
    this.upWrite = updates(lock, 'up_write');
    this.downgrade = updates(lock, 'downgrade_write');
    this.wake = updates(lock, 'rwsem_wake');
    this.endWriteAll = new SchedPoint(PointKind.Write, lock, 'vma_end_write_all', StepCost.SharedLoad);
    this.speculate = new SchedPoint(PointKind.Read, lock, 'mmap_lock_speculate', StepCost.SharedLoad);
  }
}

const updates = (lock: SharedObject, operation: string): SchedPoint =>
  new SchedPoint(PointKind.Write, lock, operation, StepCost.AtomicUpdate);

export class RwSemaphore extends SharedObject {
  /** Tasks that hold it for reading; a task that holds it twice is there twice. */
  readonly #readers: SchedTask[] = [];
  #writer: SchedTask | null = null;
  /** RWSEM_FLAG_HANDOFF: the lock may not be stolen. */
  #handoff = false;
  readonly #queue: Waiter[] = [];
  readonly events: RwsemEvents = { readSteals: 0, writeSteals: 0, handoffs: 0 };
  /** Made when the lock is first taken: most locks never are. */
  #madePoints: RwsemPoints | null = null;
  /** Of an mmap_lock: told of speculation that begins, and of asking whether it holds. Null unless somebody watches. */
  onSpeculation: ((asked: boolean) => void) | null = null;

  get #points(): RwsemPoints {
    this.#madePoints ??= new RwsemPoints(this);
    return this.#madePoints;
  }

  /** Just before a writer of mmap_lock ends its section, which comes before the release (`vma_end_write_all`). */
  get endWriteAll(): SchedPoint {
    return this.#points.endWriteAll;
  }

  /** Of an mmap_lock: just before the sequence number is read without it. */
  get speculate(): SchedPoint {
    return this.#points.speculate;
  }

  /** Takes it for reading; sleeps, and not even SIGKILL ends that. */
  *downRead(current: SchedTask, subclass = 0): Task<void> {
    this.#begin(current, LockMode.Read, 'down_read', subclass);
    yield this.#points.downRead;
    if (!this.#tryRead(current)) yield* this.#sleep(current, false, Wait.Uninterruptible, 'down_read');
  }

  /** As `downRead`, but a fatal signal ends the wait. @returns 0 or -EINTR */
  *downReadKillable(current: SchedTask): Task<number> {
    this.#begin(current, LockMode.Read, 'down_read_killable', 0);
    yield this.#points.downRead;
    if (this.#tryRead(current)) return 0;
    return yield* this.#sleep(current, false, Wait.Killable, 'down_read_killable');
  }

  /** As `downRead`, but any signal ends the wait. @returns 0 or -EINTR */
  *downReadInterruptible(current: SchedTask): Task<number> {
    this.#begin(current, LockMode.Read, 'down_read_interruptible', 0);
    yield this.#points.downRead;
    if (this.#tryRead(current)) return 0;
    return yield* this.#sleep(current, false, Wait.Interruptible, 'down_read_interruptible');
  }

  /** Takes it for writing. */
  *downWrite(current: SchedTask, subclass = 0): Task<void> {
    this.#begin(current, LockMode.Write, 'down_write', subclass);
    yield this.#points.downWrite;
    if (!this.#tryWrite(current)) yield* this.#sleep(current, true, Wait.Uninterruptible, 'down_write');
  }

  /** As `downWrite`, but a fatal signal ends the wait. @returns 0 or -EINTR */
  *downWriteKillable(current: SchedTask): Task<number> {
    this.#begin(current, LockMode.Write, 'down_write_killable', 0);
    yield this.#points.downWrite;
    if (this.#tryWrite(current)) return 0;
    return yield* this.#sleep(current, true, Wait.Killable, 'down_write_killable');
  }

  /** Takes it for reading if no writer holds it and nobody is queued. @returns whether it did */
  *downReadTrylock(current: SchedTask): Task<boolean> {
    yield this.#points.downRead;
    if (this.#writer !== null || this.#queue.length > 0) return false;
    this.#readers.push(current);
    current.lockWatcher?.acquired(current, this, LockMode.Read, 'down_read_trylock');
    return true;
  }

  /** Takes it for writing if nobody holds it and nobody is queued. @returns whether it did */
  *downWriteTrylock(current: SchedTask): Task<boolean> {
    yield this.#points.downWrite;
    if (!this.#free || this.#queue.length > 0) return false;
    this.#writer = current;
    current.lockWatcher?.acquired(current, this, LockMode.Write, 'down_write_trylock');
    return true;
  }

  /** @throws Error when `current` does not hold it for reading */
  *upRead(current: SchedTask): Task<void> {
    yield this.#points.upRead;
    const at = this.#readers.lastIndexOf(current);
    if (at < 0) throw new Error(`${current.name} releases ${this.name}, which it does not hold for reading`);
    // `splice` makes an array of what it takes out.
    if (at === this.#readers.length - 1) this.#readers.pop();
    else this.#readers.splice(at, 1);
    if (current.lockWatcher !== null) current.lockWatcher.release(current, this);
    if (this.#queue.length > 0 && this.#free) yield* this.#wakeUp(current);
  }

  /** @throws Error when `current` does not hold it for writing */
  *upWrite(current: SchedTask): Task<void> {
    yield this.#points.upWrite;
    this.#assertWriter(current, 'up_write');
    this.#writer = null;
    if (current.lockWatcher !== null) current.lockWatcher.release(current, this);
    if (this.#queue.length > 0) yield* this.#wakeUp(current);
  }

  /** From writing to reading without a gap; readers at the head of the queue come in, a writer there does not. */
  *downgradeWrite(current: SchedTask): Task<void> {
    yield this.#points.downgrade;
    this.#assertWriter(current, 'downgrade_write');
    this.#writer = null;
    this.#readers.push(current);
    if (current.lockWatcher !== null) current.lockWatcher.downgrade(current, this);
    this.#markWake(current, Wake.ReadOwned);
  }

  /** Does anybody hold it, in either mode? */
  isLocked(): boolean {
    return this.#writer !== null || this.#readers.length > 0;
  }

  /** Does a writer hold it? */
  isWriteLocked(): boolean {
    return this.#writer !== null;
  }

  /** Is anybody queued? @see Linux `rwsem_is_contended` */
  isContended(): boolean {
    return this.#queue.length > 0;
  }

  /** Has a waiter asked that nobody steal the lock? */
  get handoff(): boolean {
    return this.#handoff;
  }

  isReadBy(task: SchedTask): boolean {
    return this.#readers.includes(task);
  }

  isWrittenBy(task: SchedTask): boolean {
    return this.#writer === task;
  }

  isHeldBy(task: SchedTask): boolean {
    return this.#writer === task || this.#readers.includes(task);
  }

  /** The queue from its head, for reports. */
  waiters(): readonly Holder[] {
    return this.#queue.map(({ task, write }) => ({ name: task.name, mode: write ? 'write' : 'read' }));
  }

  override holders(): readonly Holder[] {
    if (this.#writer !== null) return [{ name: this.#writer.name, mode: 'write' }];
    return this.#readers.map(({ name }) => ({ name, mode: 'read' }));
  }

  get #free(): boolean {
    return this.#writer === null && this.#readers.length === 0;
  }

  /** Before the lock is looked at. */
  #begin(current: SchedTask, mode: LockMode, operation: string, subclass: number): void {
    mightSleep(current, operation, this);
    if (current.lockWatcher !== null) current.lockWatcher.acquire(current, this, mode, subclass, operation);
  }

  #tryRead(current: SchedTask): boolean {
    if (this.#writer !== null) return false;
    if (this.#queue.length > 0) {
      // Stolen only from nobody: while readers hold the lock, one more would keep those queued waiting.
      if (this.#handoff || this.#readers.length > 0) return false;
      this.events.readSteals++;
      this.#readers.push(current);
      this.#markWake(current, Wake.ReadOwned);
      return true;
    }
    this.#readers.push(current);
    return true;
  }

  #tryWrite(current: SchedTask): boolean {
    if (!this.#free || this.#handoff) return false;
    if (this.#queue.length > 0) this.events.writeSteals++;
    this.#writer = current;
    return true;
  }

  *#sleep(current: SchedTask, write: boolean, wait: Wait, operation: string): Task<number> {
    const deadline = virtualTime(current) + waitCycles(current);
    const waiter: Waiter = { task: current, write, deadline, woken: false, handoffSet: false };
    this.#queue.push(waiter);
    lockWait(current, this, operation);
    // Whoever comes sees to it that nobody sleeps on a lock that could be had.
    if (this.#writer === null) this.#markWake(current, this.#readers.length > 0 ? Wake.Readers : Wake.Any);
    const ready = readiness(waiter, wait);
    const sleep = new SchedPoint(PointKind.Wait, this, operation, StepCost.ContextSwitch, ready);
    for (;;) {
      if (write ? this.#tryWriteQueued(waiter) : waiter.woken) break;
      if (isSignalled(current, wait)) {
        this.#giveUp(waiter);
        if (current.lockWatcher !== null) current.lockWatcher.release(current, this);
        return -EINTR;
      }
      waiter.woken = false;
      yield sleep;
    }
    lockAcquired(current, this, operation);
    return 0;
  }

  /** A writer that is queued tries; if it has waited long enough in vain, nobody may steal from now on. */
  #tryWriteQueued(waiter: Waiter): boolean {
    const first = this.#queue[0] as Waiter;
    if (this.#handoff && first.handoffSet && waiter !== first) return false;
    if (!this.#free) {
      if (this.#handoff || virtualTime(waiter.task) <= waiter.deadline) return false;
      this.#handoff = true;
      this.events.handoffs++;
      // Only the first one may rely on it.
      first.handoffSet = true;
      return false;
    }
    this.#handoff = false;
    this.#queue.splice(this.#queue.indexOf(waiter), 1);
    this.#writer = waiter.task;
    return true;
  }

  /** A killed waiter leaves; if it was at the head, those whom only it held back come in. */
  #giveUp(waiter: Waiter): void {
    const first = this.#queue[0] === waiter;
    this.#queue.splice(this.#queue.indexOf(waiter), 1);
    if (this.#queue.length === 0) this.#handoff = false;
    else if (first) this.#markWake(waiter.task, Wake.Any);
  }

  /** The lock is free and somebody queues: a step of its own, before which others may steal it. */
  *#wakeUp(current: SchedTask): Task<void> {
    yield this.#points.wake;
    this.#markWake(current, Wake.Any);
  }

  /** @see `rwsem_mark_wake` */
  #markWake(current: SchedTask, wake: Wake): void {
    const head = this.#queue[0];
    if (head === undefined) return;
    if (head.write) {
      if (wake === Wake.Any) head.woken = true;
      return;
    }
    if (this.#writer !== null) {
      // Stolen by a writer before the readers were let in.
      if (virtualTime(current) <= head.deadline) return;
      if (!this.#handoff) this.events.handoffs++;
      this.#handoff = true;
      head.handoffSet = true;
      return;
    }
    this.#handoff = false;
    this.#wakeReaders();
  }

  /** Lets queued readers in, also those behind a writer. */
  #wakeReaders(): void {
    let woken = 0;
    let kept = 0;
    for (const waiter of this.#queue) {
      if (waiter.write || woken === MAX_READERS_WAKEUP) {
        this.#queue[kept++] = waiter;
        continue;
      }
      waiter.woken = true;
      this.#readers.push(waiter.task);
      woken++;
    }
    this.#queue.length = kept;
  }

  #assertWriter(current: SchedTask, operation: string): void {
    if (this.#writer === current) return;
    throw new Error(`${operation}: ${current.name} does not hold ${this.name} for writing`);
  }
}

function isSignalled(task: SchedTask, wait: Wait): boolean {
  if (wait === Wait.Uninterruptible) return false;
  return wait === Wait.Killable ? task.fatalSignalPending() : task.signalPending();
}

function readiness(waiter: Waiter, wait: Wait): () => boolean {
  if (wait === Wait.Uninterruptible) return () => waiter.woken;
  return () => waiter.woken || isSignalled(waiter.task, wait);
}

/** Cycles. A task that is on no machine has no time. */
function virtualTime(task: SchedTask): number {
  return task.processor?.time ?? 0;
}

function waitCycles({ machine }: SchedTask): number {
  return machine === null ? Number.POSITIVE_INFINITY : WAIT_NANOSECONDS * machine.profile.gigahertz;
}
