/**
 * A task as the scheduler sees it: a stack of generators on one CPU. The lowest is the task's own path; an interrupt
 * handler or the work of a context switch runs nested on top of it and leaves the pending point below untouched.
 * Left out: priorities, moving a running task to another CPU, threads sharing a task.
 */
import { PointKind, SchedPoint, SharedObject, type Task } from '../base/task.ts';
import type { Cpu } from '../hardware/cpu.ts';
import type { Machine } from '../hardware/machine.ts';
import { type Candidate, CandidateKind, idleCode, stepCode } from './policy/policy.ts';

export const TaskState = {
  /** Not started, or its last path has ended: it can be started (again). */
  Idle: 0,
  /** Started and not at its end; running, waiting or ready to run. */
  Live: 1,
} as const;
export type TaskState = (typeof TaskState)[keyof typeof TaskState];

export const FrameKind = { Body: 0, Interrupt: 1, Switch: 2 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** One generator of a task's stack with the point before which it stands. */
export interface Frame {
  readonly kind: FrameKind;
  readonly name: string;
  readonly generator: Task<unknown>;
  point: SchedPoint;
}

/** How a lock is taken. */
export const LockMode = { Read: 0, Write: 1, Spin: 2 } as const;
export type LockMode = (typeof LockMode)[keyof typeof LockMode];

/** Who wants to know which task holds which locks: lockdep. */
export interface LockWatcher {
  /** `task` is about to take `lock` and would wait for it. */
  acquire(task: SchedTask, lock: SharedObject, mode: LockMode, subclass: number, operation: string): void;
  /** `task` has taken `lock` by an attempt that does not wait. */
  acquired(task: SchedTask, lock: SharedObject, mode: LockMode, operation: string): void;
  /** `task` releases `lock`, or has given up waiting for it. */
  release(task: SchedTask, lock: SharedObject): void;
  /** `task` has turned its write lock into a read lock. */
  downgrade(task: SchedTask, lock: SharedObject): void;
  /** `task` comes to where it may sleep, and must not: `text` says where and why. Left out: that is thrown. */
  sleepsInAtomic?(task: SchedTask, object: SharedObject, text: string): void;
}

export class SchedTask {
  /** Unique within a run and the same in every run: schedules name tasks by it. 0 or more; the run loop's own below. */
  readonly id: number;
  readonly name: string;
  /** Index of its CPU. */
  readonly cpu: number;
  state: TaskState = TaskState.Idle;
  /** Lowest first. The run loop pushes and pops; others only look. */
  readonly frames: Frame[] = [];
  /** Depth of preempt_disable; above 0 no other task of its CPU runs, and a wait is a spin. */
  preemptDisabled = 0;
  /** Depth of rcu_read_lock; above 0 it may lose its CPU and must not sleep. */
  rcuReadDepth = 0;
  /** Told of every lock it takes and releases; null: nobody looks on. */
  lockWatcher: LockWatcher | null = null;
  /** A service task: a run does not wait for it to end, and it may wait for ever without being a deadlock. Set before the start. */
  background = false;
  /** It offered its CPU to others (sched_yield); policies of the CPU's time look at it. */
  yielding = false;
  /** Its machine and CPU, from the first start on. */
  machine: Machine | null = null;
  processor: Cpu | null = null;
  /** What its path returned. */
  result: unknown = undefined;
  /** Virtual time at which it became ready to run: of the step that ended its wait, or started it. */
  readyAt = 0;
  /** When it last came onto its CPU, in virtual time. */
  switchedInAt = 0;
  /** Number of the step that last took it forward; interrupts and context switches do not. Policies are fair by it. */
  lastStep = 0;
  /** Its wait was looked at and was not over. */
  blocked = false;
  /** Its next step as a policy sees it; reused. */
  readonly candidate: Candidate;
  readonly startPoint: SchedPoint;

  constructor(id: number, name: string, cpu: number) {
    this.id = id;
    this.name = name;
    this.cpu = cpu;
    this.startPoint = new SchedPoint(PointKind.Read, new SharedObject(`task ${name}`), 'start');
    this.candidate = {
      kind: CandidateKind.Step,
      code: id < 0 ? idleCode(cpu) : stepCode(id),
      cpu,
      task: this,
      point: this.startPoint,
      time: 0,
      switches: false,
      preempts: false,
    };
  }

  /** Is any signal waiting? Interruptible waits end then. A kernel's task overrides it. */
  signalPending(): boolean {
    return this.fatalSignalPending();
  }

  /** Is a fatal signal waiting? Killable waits end then. A kernel's task overrides it. */
  fatalSignalPending(): boolean {
    return false;
  }

  /** The point before which it stands, null when it is not live. */
  pendingPoint(): SchedPoint | null {
    return this.frames.length === 0 ? null : (this.frames[this.frames.length - 1] as Frame).point;
  }

  /** Must it not sleep? (in_atomic, irqs_disabled, or inside rcu_read_lock) */
  atomic(): boolean {
    if (this.preemptDisabled > 0 || this.rcuReadDepth > 0) return true;
    const cpu = this.processor;
    return cpu !== null && (cpu.interruptsDisabled > 0 || cpu.preemptDisabled > 0);
  }
}

/**
 * To be called where a path may sleep, whether or not it does this time.
 * @throws Error when it must not, and no check looks for that: a spinlock is held, interrupts are off, or it is inside an
 *   RCU read section.
 * @see Linux `might_sleep`
 */
export function mightSleep(current: SchedTask, operation: string, object: SharedObject): void {
  if (!current.atomic()) return;
  const interrupts = current.processor?.interruptsDisabled ?? 0;
  const preempt = current.preemptDisabled + (current.processor?.preemptDisabled ?? 0);
  const text =
    `sleeping in atomic context: ${current.name} in ${operation} on ${object.name} ` +
    `(preempt disabled ${preempt}, interrupts disabled ${interrupts}${rcuText(current)})`;
  const { lockWatcher } = current;
  if (lockWatcher?.sleepsInAtomic === undefined) throw new Error(text);
  lockWatcher.sleepsInAtomic(current, object, text);
}

function rcuText({ rcuReadDepth }: SchedTask): string {
  return rcuReadDepth === 0 ? '' : `, rcu read depth ${rcuReadDepth}`;
}

/** Offers the CPU to the other tasks on it. @see Linux `sched_yield` */
export function* yieldCpu(current: SchedTask): Task<void> {
  current.yielding = true;
  yield current.startPoint;
  current.yielding = false;
}
