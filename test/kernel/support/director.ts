/**
 * Two and more tasks, moved on by hand: one runs until it stands before a point that the test names, then another. What
 * is not told to run stays where it is.
 */
import type { SchedPoint, Task } from '../../../src/base/task.ts';
import { type Candidate, CandidateKind, type Policy } from '../../../src/sched/policy/policy.ts';
import type { RunLoop } from '../../../src/sched/run-loop.ts';
import { FrameKind, type SchedTask, TaskState } from '../../../src/sched/task.ts';

/** Interrupts are taken at once, and run to their end. */
function isInterrupt({ kind, task }: Candidate): boolean {
  if (kind === CandidateKind.Interrupt) return true;
  return task !== null && task.frames[task.frames.length - 1]?.kind === FrameKind.Interrupt;
}

/** Does the task wait for another one? Not: for another CPU to take an interrupt, which it does at once. */
export function waitsForSomebody(task: SchedTask): boolean {
  const point = task.pendingPoint();
  return point?.ready?.() === false && point.operation !== 'csd_lock_wait';
}

/** Chooses the task that the test moves, and else one that is not kept where it is. */
class ChosenTask implements Policy {
  readonly name = 'chosen task';
  chosen: SchedTask | null = null;
  readonly kept = new Set<SchedTask>();

  choose(candidates: readonly Candidate[], count: number): number {
    const interrupt = candidates.findIndex((candidate, at) => at < count && isInterrupt(candidate));
    if (interrupt >= 0) return interrupt;
    const own = candidates.findIndex(
      ({ task }, at) =>
        at < count && (this.chosen === null ? task === null || !this.kept.has(task) : task === this.chosen),
    );
    if (own >= 0) return own;
    throw new Error(
      `${this.chosen?.name} cannot go on: it stands before ${this.chosen?.pendingPoint()?.operation}`,
    );
  }
}

export class Director {
  readonly policy = new ChosenTask();
  #loop: RunLoop | null = null;

  /** The run loop was made with `policy`. */
  set loop(loop: RunLoop) {
    this.#loop = loop;
  }

  get #running(): RunLoop {
    if (this.#loop === null) throw new Error('no run loop');
    return this.#loop;
  }

  start(task: SchedTask, path: Task<unknown>): void {
    this.#running.start(task, path);
    this.policy.kept.add(task);
  }

  /** Runs `task` until it stands before a point of this operation; it must get there. */
  until(task: SchedTask, operation: string): SchedPoint {
    return this.untilPoint(task, (point) => point.operation === operation);
  }

  untilPoint(task: SchedTask, wanted: (point: SchedPoint) => boolean): SchedPoint {
    const stands = (): boolean => {
      const point = task.pendingPoint();
      return point !== null && wanted(point);
    };
    this.#move(task, stands);
    if (!stands()) throw new Error(`${task.name} did not get there: it is before ${describe(task)}`);
    return task.pendingPoint() as SchedPoint;
  }

  /** One step of `task`. */
  step(task: SchedTask): void {
    let made = false;
    this.#move(
      task,
      () => made,
      () => {
        made = true;
      },
    );
  }

  /** Runs `task` to its end. */
  finish(task: SchedTask): unknown {
    this.#move(task, () => task.state === TaskState.Idle);
    if (task.state !== TaskState.Idle) throw new Error(`${task.name} waits in ${describe(task)}`);
    return task.result;
  }

  /** Runs `task` until it waits for somebody; gives the operation it waits in. */
  block(task: SchedTask): string {
    const waits = (): boolean => waitsForSomebody(task);
    this.#move(task, waits);
    if (!waits()) throw new Error(`${task.name} does not wait: it is before ${describe(task)}`);
    return (task.pendingPoint() as SchedPoint).operation;
  }

  /** Runs `task` until it is at its end or waits for somebody. */
  runOn(task: SchedTask): void {
    this.#move(task, () => task.state === TaskState.Idle || waitsForSomebody(task));
  }

  /** Runs everybody to the end. */
  finishAll(...tasks: readonly SchedTask[]): void {
    for (let round = 0; round < 100 && tasks.some(({ state }) => state === TaskState.Live); round++) {
      for (const task of tasks) {
        this.runOn(task);
      }
    }
    const stuck = tasks.filter(({ state }) => state === TaskState.Live);
    if (stuck.length > 0)
      throw new Error(stuck.map((task) => `${task.name} in ${describe(task)}`).join(', '));
  }

  #move(task: SchedTask, over: () => boolean, made: () => void = () => {}): void {
    if (over()) return;
    this.policy.chosen = task;
    this.#running.run({
      until: task,
      afterStep: () => {
        made();
        return !over();
      },
    });
    this.policy.chosen = null;
    if (task.state === TaskState.Idle) this.policy.kept.delete(task);
  }
}

function describe(task: SchedTask): string {
  const point = task.pendingPoint();
  return point === null ? 'its end' : `${point.operation} of ${point.object.name}`;
}
