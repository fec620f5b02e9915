/** A CPU with the tasks that run on it, and which of them could make the next step. */
import { PointKind, SchedPoint, StepCost } from '../base/task.ts';
import type { Cpu } from '../hardware/cpu.ts';
import { type Candidate, CandidateKind, interruptCode } from './policy/policy.ts';
import { SchedTask, TaskState } from './task.ts';

export class CpuSlot {
  readonly cpu: Cpu;
  /** The task whose context is on the CPU, also when it waits or has ended; null before the first. */
  current: SchedTask | null = null;
  /** Live tasks of this CPU, by id. */
  readonly tasks: SchedTask[] = [];
  /** In whose context interrupts are taken while no live task is current. It has no path of its own. */
  readonly idle: SchedTask;
  readonly interrupt: Candidate;
  /** Stands under the work of a context switch and of an interrupt until they reach a point of their own. */
  readonly switchPoint: SchedPoint;

  constructor(cpu: Cpu) {
    this.cpu = cpu;
    this.idle = new SchedTask(-cpu.id - 1, `idle/${cpu.id}`, cpu.id);
    this.switchPoint = new SchedPoint(PointKind.Write, this.idle.startPoint.object, 'context_switch');
    this.interrupt = {
      kind: CandidateKind.Interrupt,
      code: interruptCode(cpu.id),
      cpu: cpu.id,
      task: null,
      point: new SchedPoint(PointKind.Write, cpu.interruptLine, 'take interrupt', StepCost.InterruptEntry),
      time: 0,
      switches: false,
      preempts: false,
    };
  }

  add(task: SchedTask): void {
    const at = this.tasks.findIndex((other) => other.id >= task.id);
    if (at >= 0 && (this.tasks[at] as SchedTask).id === task.id) {
      throw new Error(
        `two live tasks with id ${task.id}: ${(this.tasks[at] as SchedTask).name}, ${task.name}`,
      );
    }
    this.tasks.splice(at < 0 ? this.tasks.length : at, 0, task);
  }

  remove(task: SchedTask): void {
    this.tasks.splice(this.tasks.indexOf(task), 1);
  }

  /** In whose context an interrupt would be taken now. */
  context(): SchedTask {
    const { current } = this;
    return current !== null && current.state === TaskState.Live ? current : this.idle;
  }

  /**
   * Puts what can happen next on this CPU into `candidates` from index `count` on and returns the new count.
   * @param now virtual time of the step just made: what it made ready is ready from then on
   * @param late whether a task may still go on while an interrupt is pending
   */
  collect(candidates: Candidate[], count: number, now: number, late: boolean): number {
    const { cpu, current } = this;
    let next = count;
    const open = cpu.interruptsDisabled === 0;
    if (open && cpu.pendingInterrupts.length > 0) {
      candidates[next++] = this.#interruptCandidate();
      if (!late) return next;
    }
    if (this.idle.frames.length > 0) return this.#offer(candidates, next, this.idle, false, false, now);
    if (current === null || current.state !== TaskState.Live) {
      return this.#offerOthers(candidates, next, false, now);
    }
    const before = next;
    next = this.#offer(candidates, next, current, false, false, now);
    const keepsCpu = !open || current.preemptDisabled > 0 || cpu.preemptDisabled > 0;
    return keepsCpu || this.tasks.length === 1
      ? next
      : this.#offerOthers(candidates, next, next > before, now);
  }

  /** Offers the tasks that are not current; the CPU would be switched to them. */
  #offerOthers(candidates: Candidate[], count: number, preempts: boolean, now: number): number {
    let next = count;
    for (let index = 0; index < this.tasks.length; index++) {
      const task = this.tasks[index] as SchedTask;
      if (task !== this.current) next = this.#offer(candidates, next, task, true, preempts, now);
    }
    return next;
  }

  #interruptCandidate(): Candidate {
    const { cpu, interrupt } = this;
    const arrivesAt = cpu.pendingInterrupts[0]?.arrivesAt ?? 0;
    interrupt.task = this.context();
    interrupt.time = Math.max(cpu.time, arrivesAt);
    return interrupt;
  }

  #offer(
    candidates: Candidate[],
    count: number,
    task: SchedTask,
    switches: boolean,
    preempts: boolean,
    now: number,
  ): number {
    const point = task.pendingPoint() as SchedPoint;
    if (point.ready !== null && !isOver(task, point.ready, now)) return count;
    const { candidate } = task;
    candidate.point = point;
    candidate.time = task.readyAt > this.cpu.time ? task.readyAt : this.cpu.time;
    candidate.switches = switches;
    candidate.preempts = preempts;
    candidates[count] = candidate;
    return count + 1;
  }
}

/** Is the wait over? Notes when it was found to be. */
function isOver(task: SchedTask, ready: () => boolean, now: number): boolean {
  if (!ready()) {
    task.blocked = true;
    return false;
  }
  if (task.blocked) {
    task.blocked = false;
    task.readyAt = now;
  }
  return true;
}
