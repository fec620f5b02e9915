/**
 * Waiting for a condition. A sleeper queues itself first and looks at the condition then, so that a change made between
 * the two wakes it; it sleeps until it is woken, looks again, and a change that wakes nobody leaves it asleep: a lost
 * wake-up shows as a deadlock. A completion is the counted form.
 * Left out: timeouts, poll, priorities of waiters.
 * @see Linux kernel/sched/wait.c `prepare_to_wait_event`, `__wake_up`; kernel/sched/completion.c
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import { mightSleep, type SchedTask } from '../../sched/task.ts';
import { EINTR, ERESTARTSYS } from '../errno.ts';

interface Sleeper {
  readonly task: SchedTask;
  readonly exclusive: boolean;
  woken: boolean;
}

export class WaitQueue extends SharedObject {
  readonly #sleepers: Sleeper[] = [];
  readonly #prepare: SchedPoint;
  readonly #check: SchedPoint;
  readonly #wake: SchedPoint;

  constructor(name: string) {
    super(name);
    this.#prepare = new SchedPoint(PointKind.Write, this, 'prepare_to_wait', StepCost.AtomicUpdate);
    this.#check = new SchedPoint(PointKind.Read, this, 'wait_event', StepCost.SharedLoad);
    this.#wake = new SchedPoint(PointKind.Write, this, 'wake_up', StepCost.AtomicUpdate);
  }

  /** Sleeps until `condition` holds at a time when it is looked at. */
  *waitEvent(current: SchedTask, condition: () => boolean): Task<void> {
    yield* this.#wait(current, condition, null, false);
  }

  /** As `waitEvent`, but a fatal signal ends the wait. @returns 0 or -EINTR */
  *waitEventKillable(current: SchedTask, condition: () => boolean): Task<number> {
    return yield* this.#wait(current, condition, () => current.fatalSignalPending(), false);
  }

  /** As `waitEvent`, but a signal ends the wait, as `interrupted` tells. @returns 0 or -ERESTARTSYS */
  *waitEventInterruptible(
    current: SchedTask,
    condition: () => boolean,
    interrupted: () => boolean,
  ): Task<number> {
    const result = yield* this.#wait(current, condition, interrupted, false);
    return result === 0 ? 0 : -ERESTARTSYS;
  }

  /** As `waitEvent`, but of exclusive sleepers `wakeUp` wakes only the first. */
  *waitEventExclusive(current: SchedTask, condition: () => boolean): Task<void> {
    yield* this.#wait(current, condition, null, true);
  }

  /** Wakes every sleeper that is not exclusive, and the first that is. Allowed in interrupt handlers. */
  *wakeUp(): Task<void> {
    yield this.#wake;
    this.#wakeSleepers(1);
  }

  /** Wakes every sleeper. */
  *wakeUpAll(): Task<void> {
    yield this.#wake;
    this.#wakeSleepers(Number.POSITIVE_INFINITY);
  }

  /** Is anybody queued? */
  isActive(): boolean {
    return this.#sleepers.length > 0;
  }

  #wakeSleepers(exclusiveLimit: number): void {
    let left = exclusiveLimit;
    for (const sleeper of this.#sleepers) {
      if (sleeper.exclusive && left === 0) break;
      if (sleeper.woken) continue;
      sleeper.woken = true;
      if (sleeper.exclusive) left--;
    }
  }

  /** @param interrupted what ends the wait without the condition; null: nothing */
  *#wait(
    current: SchedTask,
    condition: () => boolean,
    interrupted: (() => boolean) | null,
    exclusive: boolean,
  ): Task<number> {
    mightSleep(current, 'wait_event', this);
    yield this.#check;
    if (condition()) return 0;
    yield this.#prepare;
    const sleeper: Sleeper = { task: current, exclusive, woken: false };
    this.#sleepers.push(sleeper);
    const ready = interrupted === null ? () => sleeper.woken : () => sleeper.woken || interrupted();
    const sleep = new SchedPoint(PointKind.Wait, this, 'wait_event', StepCost.ContextSwitch, ready);
    for (;;) {
      yield this.#check;
      if (condition()) return this.#leave(sleeper, 0);
      if (interrupted?.() === true) return this.#leave(sleeper, -EINTR);
      yield sleep;
      sleeper.woken = false;
    }
  }

  #leave(sleeper: Sleeper, result: number): number {
    this.#sleepers.splice(this.#sleepers.indexOf(sleeper), 1);
    return result;
  }
}

/** Something that happens a number of times, each of which lets one waiter through. */
export class Completion extends SharedObject {
  #done = 0;
  readonly #queue: Sleeper[] = [];
  readonly #complete: SchedPoint;
  readonly #wait: SchedPoint;

  constructor(name: string) {
    super(name);
    this.#complete = new SchedPoint(PointKind.Write, this, 'complete', StepCost.AtomicUpdate);
    this.#wait = new SchedPoint(PointKind.Write, this, 'wait_for_completion', StepCost.AtomicUpdate);
  }

  /** Lets the longest waiter through, or the next to come. Allowed in interrupt handlers. */
  *complete(): Task<void> {
    yield this.#complete;
    const first = this.#queue.shift();
    if (first === undefined) this.#done++;
    else first.woken = true;
  }

  /** Lets through everybody, now and later. @see Linux `complete_all` */
  *completeAll(): Task<void> {
    yield this.#complete;
    this.#done = Number.POSITIVE_INFINITY;
    for (const sleeper of this.#queue.splice(0)) sleeper.woken = true;
  }

  *waitForCompletion(current: SchedTask): Task<void> {
    yield* this.#waitFor(current, false);
  }

  /** A fatal signal ends the wait; it uses up no completion then. @returns 0 or -EINTR */
  *waitForCompletionKillable(current: SchedTask): Task<number> {
    return yield* this.#waitFor(current, true);
  }

  *#waitFor(current: SchedTask, killable: boolean): Task<number> {
    mightSleep(current, 'wait_for_completion', this);
    yield this.#wait;
    if (this.#done > 0) {
      this.#done--;
      return 0;
    }
    const sleeper: Sleeper = { task: current, exclusive: true, woken: false };
    this.#queue.push(sleeper);
    const ready = killable ? () => sleeper.woken || current.fatalSignalPending() : () => sleeper.woken;
    yield new SchedPoint(PointKind.Wait, this, 'wait_for_completion', StepCost.ContextSwitch, ready);
    if (sleeper.woken) return 0;
    this.#queue.splice(this.#queue.indexOf(sleeper), 1);
    return -EINTR;
  }
}
