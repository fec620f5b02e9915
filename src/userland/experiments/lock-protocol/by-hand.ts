/**
 * Tasks moved on by hand: one runs as far as it is told, and who is not told to run stays where it is. Interrupts are taken at
 * once.
 */
import { type Candidate, CandidateKind, type Policy } from '../../../sched/policy/policy.ts';
import type { RunLoop } from '../../../sched/run-loop.ts';
import { FrameKind, type SchedTask, TaskState } from '../../../sched/task.ts';

function isInterrupt({ kind, task }: Candidate): boolean {
  if (kind === CandidateKind.Interrupt) return true;
  return task !== null && task.frames[task.frames.length - 1]?.kind === FrameKind.Interrupt;
}

class OneTask implements Policy {
  readonly name = 'one task';
  task: SchedTask | null = null;

  choose(candidates: readonly Candidate[], count: number): number {
    for (let at = 0; at < count; at++) if (isInterrupt(candidates[at] as Candidate)) return at;
    for (let at = 0; at < count; at++) if (candidates[at]?.task === this.task) return at;
    throw new Error(`${this.task?.name ?? 'nobody'} cannot go on`);
  }
}

export class ByHand {
  readonly policy: Policy;
  readonly #chosen = new OneTask();
  readonly #loop: () => RunLoop;

  constructor(loop: () => RunLoop) {
    this.policy = this.#chosen;
    this.#loop = loop;
  }

  /** Runs `task` until this is so, or it is at its end, or waits for another task. */
  until(task: SchedTask, over: () => boolean): void {
    const stop = (): boolean => over() || this.isOver(task) || this.isHeldUp(task);
    if (stop()) return;
    this.#chosen.task = task;
    this.#loop().run({ until: task, afterStep: () => !stop() });
  }

  /** Runs `task` until it stands before this operation. */
  untilBefore(task: SchedTask, operation: string): void {
    this.until(task, () => task.pendingPoint()?.operation === operation);
  }

  /** As far as it comes by itself. */
  on(task: SchedTask): void {
    this.until(task, () => false);
  }

  step(task: SchedTask): void {
    let steps = 0;
    this.until(task, () => steps++ > 0);
  }

  /** Each as far as it comes, again and again. False: those that are left wait for each other. */
  allToTheEnd(tasks: readonly SchedTask[]): boolean {
    for (let round = 0; round < tasks.length * 4; round++) for (const task of tasks) this.on(task);
    return tasks.every((task) => this.isOver(task));
  }

  isOver(task: SchedTask): boolean {
    return task.state === TaskState.Idle;
  }

  /** Does it wait for somebody who has to run first? An interrupt of another CPU comes by itself. */
  isHeldUp(task: SchedTask): boolean {
    const point = task.pendingPoint();
    return point?.ready?.() === false && point.operation !== 'csd_lock_wait';
  }
}
