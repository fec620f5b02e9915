/**
 * A spinlock: preemption is off from the attempt to the release, and a waiter keeps its CPU. Waiters are served in the
 * order of their coming, as Linux's queued spinlocks do. Interrupts stay as they are, so a spinning CPU still takes
 * them; `lockIrqsave` closes them first.
 * Left out: PREEMPT_RT (where it sleeps), paravirtual waiting.
 * @see Linux kernel/locking/qspinlock.c, include/linux/spinlock_api_smp.h
 */
import { type Holder, PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { LockMode, type SchedTask } from '../../sched/task.ts';
import { localIrqRestore, localIrqSave } from './irq.ts';
import { lockAcquired, lockWait } from './lock-events.ts';

export class SpinLock extends SharedObject {
  #holder: SchedTask | null = null;
  readonly #queue: SchedTask[] = [];
  /** Just before it is taken, or tried. */
  readonly lockPoint: SchedPoint;
  /** Just before it is released. */
  readonly unlockPoint: SchedPoint;

  constructor(name: string) {
    super(name);
    this.lockPoint = new SchedPoint(PointKind.Write, this, 'spin_lock', StepCost.AtomicUpdate);
    // The release is a plain store to a line that is here unless somebody spins on it.
    this.unlockPoint = new SchedPoint(PointKind.Write, this, 'spin_unlock', StepCost.SharedLoad);
  }

  /**
   * Takes it, spinning while another holds it.
   * @param subclass for lockdep: `SINGLE_DEPTH_NESTING` where another lock of the same class is held already
   */
  *lock(current: SchedTask, subclass = 0): Task<void> {
    this.begin(current, subclass);
    yield this.lockPoint;
    if (!this.take(current)) yield* this.spin(current);
  }

  // The parts of `lock`, for a caller that makes its points itself.

  /** Before `lockPoint`. */
  begin(current: SchedTask, subclass = 0): void {
    current.preemptDisabled++;
    if (current.lockWatcher !== null)
      current.lockWatcher.acquire(current, this, LockMode.Spin, subclass, 'spin_lock');
  }

  /** The step after `lockPoint`: takes it if it is free; if not, `spin` is next. */
  take(current: SchedTask): boolean {
    if (this.#holder !== null || this.#queue.length > 0) return false;
    this.#holder = current;
    return true;
  }

  /** Takes it if it is free and nobody spins. @returns whether it did; if not, preemption is as before */
  *trylock(current: SchedTask): Task<boolean> {
    current.preemptDisabled++;
    yield this.lockPoint;
    if (this.#holder === null && this.#queue.length === 0) {
      this.#holder = current;
      if (current.lockWatcher !== null)
        current.lockWatcher.acquired(current, this, LockMode.Spin, 'spin_trylock');
      return true;
    }
    current.preemptDisabled--;
    return false;
  }

  /** @throws Error when `current` does not hold it */
  *unlock(current: SchedTask): Task<void> {
    yield this.unlockPoint;
    this.release(current);
  }

  /** The step after `unlockPoint`, for callers that have yielded there. @throws Error when `current` does not hold it */
  release(current: SchedTask): void {
    if (this.#holder !== current) {
      throw new Error(`${current.name} releases ${this.name}, held by ${this.#holder?.name ?? 'nobody'}`);
    }
    this.#holder = null;
    if (current.lockWatcher !== null) current.lockWatcher.release(current, this);
    current.preemptDisabled--;
  }

  /** Closes interrupts, then takes it. */
  *lockIrqsave(current: SchedTask): Task<void> {
    localIrqSave(current);
    yield* this.lock(current);
  }

  /** Releases it, then opens interrupts to where they were. */
  *unlockIrqrestore(current: SchedTask): Task<void> {
    yield* this.unlock(current);
    localIrqRestore(current);
  }

  isLocked(): boolean {
    return this.#holder !== null;
  }

  isHeldBy(task: SchedTask): boolean {
    return this.#holder === task;
  }

  /** @throws Error when `current` does not hold it @see Linux `lockdep_assert_held` */
  assertHeld(current: SchedTask): void {
    if (this.#holder === current) return;
    throw new Error(`${current.name} needs ${this.name}, held by ${this.#holder?.name ?? 'nobody'}`);
  }

  override holders(): readonly Holder[] {
    return this.#holder === null ? [] : [{ name: this.#holder.name, mode: 'spin' }];
  }

  /** After `take` has failed. */
  *spin(current: SchedTask): Task<void> {
    this.#queue.push(current);
    lockWait(current, this, 'spin_lock');
    const ready = () => this.#holder === null && this.#queue[0] === current;
    yield new SchedPoint(PointKind.Wait, this, 'spin_lock', StepCost.AtomicUpdate, ready);
    this.#queue.shift();
    this.#holder = current;
    lockAcquired(current, this, 'spin_lock');
  }
}
