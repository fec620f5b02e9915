/**
 * Linux's rw_semaphore: many readers or one writer, sleeping waiters in a FIFO queue, hand-off to whoever is woken.
 * A reader queues when a writer holds the lock or anybody is queued, so a waiting writer holds back later readers.
 * When the last holder leaves, the head of the queue gets the lock: a writer alone, or, if a reader is at the head, all
 * queued readers up to 256, also those behind a writer.
 * Left out: optimistic spinning and lock stealing before the hand-off bit is set (the lock always goes to the head),
 * RT variants, non-owner release.
 * @see Linux kernel/locking/rwsem.c: `rwsem_down_read_slowpath`, `rwsem_mark_wake`, `rwsem_down_write_slowpath`
 */
import { type Holder, PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { mightSleep, type SchedTask } from '../../sched/task.ts';
import { EINTR } from '../errno.ts';
import { lockAcquired, lockWait } from './lock-events.ts';

/** Readers woken at once. @see Linux kernel/locking/rwsem.c, `MAX_READERS_WAKEUP` */
const MAX_READERS_WAKEUP = 256;

interface Waiter {
  readonly task: SchedTask;
  readonly write: boolean;
  granted: boolean;
}

export class RwSemaphore extends SharedObject {
  /** Tasks that hold it for reading; a task that holds it twice is there twice. */
  readonly #readers: SchedTask[] = [];
  #writer: SchedTask | null = null;
  readonly #queue: Waiter[] = [];
  readonly #downRead: SchedPoint;
  readonly #downWrite: SchedPoint;
  readonly #upRead: SchedPoint;
  readonly #upWrite: SchedPoint;
  readonly #downgrade: SchedPoint;

  constructor(name: string) {
    super(name);
    const point = (operation: string) =>
      new SchedPoint(PointKind.Write, this, operation, StepCost.AtomicUpdate);
    this.#downRead = point('down_read');
    this.#downWrite = point('down_write');
    this.#upRead = point('up_read');
    this.#upWrite = point('up_write');
    this.#downgrade = point('downgrade_write');
  }

  /** Takes it for reading; sleeps, and not even SIGKILL ends that. */
  *downRead(current: SchedTask): Task<void> {
    mightSleep(current, 'down_read', this);
    yield this.#downRead;
    if (!this.#tryRead(current)) yield* this.#sleep(current, false, false);
  }

  /** As `downRead`, but a fatal signal ends the wait. @returns 0 or -EINTR */
  *downReadKillable(current: SchedTask): Task<number> {
    mightSleep(current, 'down_read_killable', this);
    yield this.#downRead;
    return this.#tryRead(current) ? 0 : yield* this.#sleep(current, false, true);
  }

  /** Takes it for writing. */
  *downWrite(current: SchedTask): Task<void> {
    mightSleep(current, 'down_write', this);
    yield this.#downWrite;
    if (!this.#tryWrite(current)) yield* this.#sleep(current, true, false);
  }

  /** As `downWrite`, but a fatal signal ends the wait. @returns 0 or -EINTR */
  *downWriteKillable(current: SchedTask): Task<number> {
    mightSleep(current, 'down_write_killable', this);
    yield this.#downWrite;
    return this.#tryWrite(current) ? 0 : yield* this.#sleep(current, true, true);
  }

  /** Takes it for reading if that needs no waiting: no writer, and nobody queued. @returns whether it did */
  *downReadTrylock(current: SchedTask): Task<boolean> {
    yield this.#downRead;
    return this.#tryRead(current);
  }

  /** Takes it for writing if nobody holds it and nobody is queued. @returns whether it did */
  *downWriteTrylock(current: SchedTask): Task<boolean> {
    yield this.#downWrite;
    return this.#tryWrite(current);
  }

  /** @throws Error when `current` does not hold it for reading */
  *upRead(current: SchedTask): Task<void> {
    yield this.#upRead;
    const at = this.#readers.lastIndexOf(current);
    if (at < 0) throw new Error(`${current.name} releases ${this.name}, which it does not hold for reading`);
    this.#readers.splice(at, 1);
    if (this.#readers.length === 0) this.#wake();
  }

  /** @throws Error when `current` does not hold it for writing */
  *upWrite(current: SchedTask): Task<void> {
    yield this.#upWrite;
    this.#assertWriter(current, 'up_write');
    this.#writer = null;
    this.#wake();
  }

  /** From writing to reading without a gap; readers at the head of the queue come in, a writer there does not. */
  *downgradeWrite(current: SchedTask): Task<void> {
    yield this.#downgrade;
    this.#assertWriter(current, 'downgrade_write');
    this.#writer = null;
    this.#readers.push(current);
    if (this.#queue[0]?.write === false) this.#wakeReaders();
  }

  /** Does anybody hold it, in either mode? @see Linux `rwsem_is_locked` */
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

  #tryRead(current: SchedTask): boolean {
    if (this.#writer !== null || this.#queue.length > 0) return false;
    this.#readers.push(current);
    return true;
  }

  #tryWrite(current: SchedTask): boolean {
    if (this.#writer !== null || this.#readers.length > 0 || this.#queue.length > 0) return false;
    this.#writer = current;
    return true;
  }

  /**
   * Waits in the queue until the lock is handed over, or a fatal signal comes first. Whoever was handed the lock has
   * it, killed or not.
   */
  *#sleep(current: SchedTask, write: boolean, killable: boolean): Task<number> {
    const waiter: Waiter = { task: current, write, granted: false };
    this.#queue.push(waiter);
    const operation = `down_${write ? 'write' : 'read'}${killable ? '_killable' : ''}`;
    const ready = killable ? () => waiter.granted || current.fatalSignalPending() : () => waiter.granted;
    lockWait(current, this, operation);
    yield new SchedPoint(PointKind.Wait, this, operation, StepCost.ContextSwitch, ready);
    if (!waiter.granted) {
      this.#giveUp(waiter);
      return -EINTR;
    }
    lockAcquired(current, this, operation);
    return 0;
  }

  /** A killed waiter leaves; if it was at the head, those whom only it held back come in. */
  #giveUp(waiter: Waiter): void {
    this.#queue.splice(this.#queue.indexOf(waiter), 1);
    if (this.#writer === null) this.#wake();
  }

  /** Hands the lock, which no writer holds, to the head of the queue if that is possible. */
  #wake(): void {
    const head = this.#queue[0];
    if (head === undefined) return;
    if (!head.write) this.#wakeReaders();
    else if (this.#readers.length === 0) {
      this.#queue.shift();
      this.#writer = head.task;
      head.granted = true;
    }
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
      waiter.granted = true;
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
