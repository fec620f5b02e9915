/** How a run ended, as data and in words. Only a broken invariant is thrown (`TaskFailure`). */
import type { Holder, SchedPoint } from '../base/task.ts';
import type { CpuSlot } from './cpu-slot.ts';
import { formatChoice, formatSchedule, type Schedule } from './schedule-text.ts';
import { FrameKind, type SchedTask } from './task.ts';

/** A live task at the end of a run that did not finish, and what it stands before. */
export interface WaitReport {
  readonly task: string;
  readonly id: number;
  readonly cpu: number;
  /** The operation of its point: `down_write`, `_raw_spin_lock`. */
  readonly operation: string;
  readonly object: string;
  /** Who holds the object, if it is a lock. */
  readonly holders: readonly Holder[];
  /** It waits with preemption or interrupts disabled, so it keeps its CPU. */
  readonly spinning: boolean;
  /** It cannot go on. False for a task that merely was not at its end. */
  readonly blocked: boolean;
  /** The interrupt handler or context switch it is in, if any. */
  readonly inside: string | null;
}

/** An interrupt nobody could take: its CPU has them disabled. */
interface PendingReport {
  readonly cpu: number;
  readonly from: number;
  readonly name: string;
}

/** A run that stopped before its tasks were at their ends. */
export interface Unfinished {
  readonly steps: number;
  /** Replaying it gives the same end. */
  readonly schedule: string;
  readonly waits: readonly WaitReport[];
  readonly pending: readonly PendingReport[];
}

export type RunResult =
  | { readonly kind: 'finished'; readonly steps: number }
  /** Nothing can happen any more. `cycle` names tasks each of which waits for the next, if they can be told. */
  | ({ readonly kind: 'deadlock'; readonly cycle: readonly string[] } & Unfinished)
  /** The bound on steps was reached: a livelock, or a bound that is too small. */
  | ({ readonly kind: 'step-limit' } & Unfinished)
  /** The observer of the run stopped it. */
  | ({ readonly kind: 'stopped' } & Unfinished)
  /** The search that chose its schedule has no use for the rest. Not a finding. */
  | { readonly kind: 'redundant'; readonly steps: number }
  /** The policy wanted what is not possible: the schedule belongs to another run. */
  | ({
      readonly kind: 'impossible-choice';
      /** Which choice, from 0. */
      readonly position: number;
      /** As in schedules; null when the schedule was at its end. */
      readonly wanted: string | null;
      readonly offered: readonly string[];
    } & Unfinished);

/** Something threw inside a task: a broken invariant of ours, with the schedule that leads to it. */
export class TaskFailure extends Error {
  override readonly name = 'TaskFailure';
  readonly task: string;
  readonly schedule: string;

  constructor(task: string, schedule: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`${task}: ${reason} (schedule ${schedule})`, { cause });
    this.task = task;
    this.schedule = schedule;
  }
}

/** A path that had to come to its end did not. */
export class UnfinishedRun extends Error {
  override readonly name = 'UnfinishedRun';
  readonly result: Exclude<RunResult, { readonly kind: 'finished' }>;

  constructor(result: Exclude<RunResult, { readonly kind: 'finished' }>) {
    super(describeResult(result));
    this.result = result;
  }
}

/** Where every live task stands. */
export function unfinished(steps: number, schedule: Schedule, slots: readonly CpuSlot[]): Unfinished {
  return {
    steps,
    schedule: formatSchedule(schedule),
    waits: reportWaits(slots),
    pending: reportPending(slots),
  };
}

/** @param wanted code of the choice, null at the end of a schedule @param offered codes of the candidates */
export function impossibleChoice(
  position: number,
  wanted: number | null,
  offered: readonly number[],
  rest: Unfinished,
): RunResult {
  return {
    kind: 'impossible-choice',
    position,
    wanted: wanted === null ? null : formatChoice(wanted),
    offered: offered.map(formatChoice),
    ...rest,
  };
}

function reportWaits(slots: readonly CpuSlot[]): WaitReport[] {
  const reports: WaitReport[] = [];
  for (const slot of slots) {
    for (const task of [...slot.tasks, slot.idle]) {
      const point = task.pendingPoint();
      if (point !== null) reports.push(reportWait(slot, task, point));
    }
  }
  return reports;
}

function reportWait(slot: CpuSlot, task: SchedTask, point: SchedPoint): WaitReport {
  const frame = task.frames[task.frames.length - 1];
  const isCurrent = slot.current === task || task === slot.idle;
  return {
    task: task.name,
    id: task.id,
    cpu: task.cpu,
    operation: point.operation,
    object: point.object.name,
    holders: point.object.holders(),
    spinning: point.ready !== null && isCurrent && task.atomic(),
    blocked: point.ready !== null && !point.ready(),
    inside: frame === undefined || frame.kind === FrameKind.Body ? null : frame.name,
  };
}

function reportPending(slots: readonly CpuSlot[]): PendingReport[] {
  return slots.flatMap(({ cpu }) =>
    cpu.pendingInterrupts.map(({ from, name }) => ({ cpu: cpu.id, from, name })),
  );
}

/** Tasks each of which waits for something the next one holds, starting anywhere; empty when holders do not tell. */
export function findCycle(waits: readonly WaitReport[]): string[] {
  const byName = new Map(waits.map((wait) => [wait.task, wait]));
  for (const start of waits) {
    const path: string[] = [];
    let wait: WaitReport | undefined = start;
    while (wait !== undefined) {
      const seen = path.indexOf(wait.task);
      if (seen >= 0) return path.slice(seen);
      path.push(wait.task);
      wait = wait.holders.map((holder) => byName.get(holder.name)).find((next) => next?.blocked === true);
    }
  }
  return [];
}

/** Several lines for people; the first says what happened, the last how to see it again. */
export function describeResult(result: RunResult): string {
  if (result.kind === 'finished') return `finished after ${result.steps} steps`;
  if (result.kind === 'redundant') return `given up after ${result.steps} steps: other runs show the rest`;
  return [
    headline(result),
    ...result.waits.map(describeWait),
    ...result.pending.map(
      ({ cpu, from, name }) => `  cpu ${cpu} has not taken "${name}" from cpu ${from}: interrupts disabled`,
    ),
    `  schedule ${result.schedule}`,
  ].join('\n');
}

function headline(result: Exclude<RunResult, { readonly kind: 'finished' | 'redundant' }>): string {
  switch (result.kind) {
    case 'deadlock': {
      const ring = result.cycle.length === 0 ? '' : `: ${[...result.cycle, result.cycle[0]].join(' → ')}`;
      return `deadlock after ${result.steps} steps${ring}`;
    }
    case 'step-limit':
      return `not finished after ${result.steps} steps`;
    case 'stopped':
      return `stopped after ${result.steps} steps`;
    case 'impossible-choice': {
      const offered = result.offered.join(', ');
      return result.wanted === null
        ? `the schedule ends at choice ${result.position}, where ${offered} are possible`
        : `the schedule does not fit this run: choice ${result.position} is ${result.wanted}, possible are ${offered}`;
    }
  }
}

function describeWait(wait: WaitReport): string {
  const verb = !wait.blocked ? 'is at' : wait.spinning ? 'spins in' : 'waits in';
  const held = wait.holders.map(({ name, mode }) => `${name} (${mode})`).join(', ');
  const inside = wait.inside === null ? '' : `, inside ${wait.inside}`;
  const by = held === '' ? '' : `, held by ${held}`;
  return `  ${wait.task} on cpu ${wait.cpu} ${verb} ${wait.operation} of ${wait.object}${inside}${by}`;
}
