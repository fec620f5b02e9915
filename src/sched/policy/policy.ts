/**
 * What a scheduling policy sees and answers. The run loop asks it only where there is a choice, and always in the same
 * words, so that a search (depth-first, PCT) is a policy like any other. Which candidates exist never depends on the
 * policy.
 */
import type { SchedPoint } from '../../base/task.ts';
import type { SchedTask } from '../task.ts';

export const CandidateKind = {
  /** A task makes its next step, after a context switch if it is not its CPU's current task. */
  Step: 0,
  /** A CPU takes the interrupt that has waited longest. */
  Interrupt: 1,
  /** A CPU fills a translation ahead of any access. Offered only where the run has speculation. */
  Fill: 2,
} as const;
export type CandidateKind = (typeof CandidateKind)[keyof typeof CandidateKind];

/** One thing that can happen next. The run loop reuses these objects: copy what is to be kept past the call. */
export interface Candidate {
  readonly kind: CandidateKind;
  /** As schedules record it: see `stepCode`, `interruptCode`, `idleCode`, `fillCode`. Unique among the candidates of a step. */
  readonly code: number;
  /** Index of the CPU on which it happens. */
  readonly cpu: number;
  /** The task that steps, or over which the interrupt is taken. Null of a fill, and when a CPU has no task. */
  task: SchedTask | null;
  /** The point it stands before: what it is about to do, and to which object. */
  point: SchedPoint;
  /** Virtual time at which it can happen, in cycles. */
  time: number;
  /** The task is not the current one of its CPU: the context switch comes first, and its first step is this one. */
  switches: boolean;
  /** `switches`, and the current task of that CPU could have gone on. */
  preempts: boolean;
}

export const stepCode = (taskId: number): number => taskId * 2;
export const interruptCode = (cpu: number): number => cpu * 2 + 1;
/** A CPU with no task goes on with an interrupt handler. */
export const idleCode = (cpu: number): number => -(cpu + 1);

/** Fills that a CPU may be offered at a time. */
export const FILLS_PER_CPU = 32;
/** Below every idle code: CPU numbers of schedules have at most 9 digits. */
const FIRST_FILL = -(2 ** 31);
/** CPU `cpu` makes the fill with this index, counted from 0 among those it could make. */
export const fillCode = (cpu: number, index: number): number => FIRST_FILL - (cpu * FILLS_PER_CPU + index);
/** CPU and index of a fill; null of any other code. */
export function fillOf(code: number): { readonly cpu: number; readonly index: number } | null {
  if (code > FIRST_FILL) return null;
  const number = FIRST_FILL - code;
  return { cpu: Math.floor(number / FILLS_PER_CPU), index: number % FILLS_PER_CPU };
}

/** How many of the first `count` candidates are not fills. Fills come last, and are never all there is. */
export function withoutFills(candidates: readonly Candidate[], count: number): number {
  let left = count;
  while ((candidates[left - 1] as Candidate).kind === CandidateKind.Fill) left--;
  return left;
}

/** What a policy may know of the run beside the candidates. */
export interface RunView {
  /** Steps made so far. */
  readonly steps: number;
  /** Choices made so far. */
  readonly choices: number;
  /** The candidate code of the step before this one, or null at the first. */
  readonly lastCode: number | null;
}

/** The policy was told to choose what cannot be chosen: a schedule that does not belong to this run. */
export interface ImpossibleChoice {
  /** Which choice of the schedule, from 0. */
  readonly position: number;
  /** The code that was wanted; null when the schedule was at its end. */
  readonly wanted: number | null;
}

export interface Policy {
  /** As the command line names it. */
  readonly name: string;
  /**
   * Picks one of the first `count` candidates (2 or more) by its index. Their order is by CPU: its interrupt, its
   * current task, its other tasks by id; after all of them the fills, by CPU.
   */
  choose(candidates: readonly Candidate[], count: number, run: RunView): number | ImpossibleChoice;
  /** Told of every step just before it is made, also where there was no choice. A policy that has it runs slower. */
  beforeStep?(candidate: Candidate, run: RunView): void;
}
