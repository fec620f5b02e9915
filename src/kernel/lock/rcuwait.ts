/**
 * One task that waits for a condition, woken by whoever makes it true: `struct rcuwait`. The waiter shows itself first
 * and looks then, so that no wake-up is lost; a change of which nobody tells it leaves it asleep.
 * @see Linux include/linux/rcuwait.h, `rcuwait_wait_event`; kernel/exit.c, `rcuwait_wake_up`
 */
import { PointKind, SchedPoint, type SharedObject, StepCost, type Task } from '../../base/task.ts';
import { mightSleep, type SchedTask } from '../../sched/task.ts';
import { EINTR } from '../errno.ts';
import { lockAcquired, lockWait } from './lock-events.ts';

export class RcuWait {
  #task: SchedTask | null = null;
  #woken = false;
  /** Called when it is used; set, for checks, when what it belongs to is gone. */
  onUse: (() => void) | null = null;

  /**
   * Sleeps until `condition` holds at a time when it is looked at, or, if `killable`, until a fatal signal comes.
   * Between showing itself and looking is a point: somebody who makes the condition true there finds a task to wake that
   * does not sleep.
   * @param object what reports say is waited for
   * @returns 0 or -EINTR
   */
  *waitEvent(
    current: SchedTask,
    object: SharedObject,
    operation: string,
    condition: () => boolean,
    killable = false,
  ): Task<number> {
    mightSleep(current, operation, object);
    if (condition()) return 0;
    if (this.#task !== null) throw new Error(`${current.name} and ${this.#task.name} wait in one place`);
    this.#task = current;
    lockWait(current, object, operation);
    const ready = killable ? () => this.#woken || current.fatalSignalPending() : () => this.#woken;
    const sleep = new SchedPoint(PointKind.Wait, object, operation, StepCost.ContextSwitch, ready);
    yield new SchedPoint(PointKind.Read, object, operation, StepCost.SharedLoad);
    while (!condition()) {
      if (killable && current.fatalSignalPending()) {
        this.#task = null;
        return -EINTR;
      }
      this.#woken = false;
      yield sleep;
    }
    this.#task = null;
    this.#woken = false;
    lockAcquired(current, object, operation);
    return 0;
  }

  /** Wakes whoever waits. */
  *wakeUp(object: SharedObject): Task<void> {
    yield new SchedPoint(PointKind.Write, object, 'rcuwait_wake_up', StepCost.AtomicUpdate);
    this.onUse?.();
    if (this.#task !== null) this.#woken = true;
  }
}
