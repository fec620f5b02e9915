/**
 * What a scheduling policy sees and answers. The run loop asks it only where there is a choice, and always in the same
 * words, so that a search (depth-first, PCT) is a policy like any other. Which candidates exist never depends on the
 * policy.
 */
import type { Footprint } from '../../base/footprint.ts';
import type { SchedPoint } from '../../base/task.ts';
import type { SchedTask } from '../task.ts';

export const CandidateKind = {
  /** A task makes its next step, after a context switch if it is not its CPU's current task. */
  Step: 0,
  /** A CPU takes the interrupt that has waited longest. */
  Interrupt: 1,
  // From here on: what the hardware or the outside does on its own account, offered only where the run loop's
  // `hardware` has it. Only a policy that means to chooses these.
  /** A CPU fills a translation ahead of any access. */
  Fill: 2,
  /** A CPU forgets a translation that nothing told it to forget. */
  Evict: 3,
  /** The oldest grace period of RCU ends. */
  GracePeriod: 4,
  /** The next allocation fails. */
  AllocationFailure: 5,
  /** A task that waits in a way that a signal ends gets SIGKILL. */
  Kill: 6,
} as const;
export type CandidateKind = (typeof CandidateKind)[keyof typeof CandidateKind];

/** One thing that can happen next. The run loop reuses these objects: copy what is to be kept past the call. */
export interface Candidate {
  readonly kind: CandidateKind;
  /** As schedules record it: see `stepCode` and its like below. Unique among the candidates of a step. */
  readonly code: number;
  /** Index of the CPU on which it happens. */
  readonly cpu: number;
  /** The task that steps, over which the interrupt is taken, or that is killed. Else null, as when a CPU has no task. */
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

/** Fills, and evictions, that a CPU may be offered at a time. */
export const FILLS_PER_CPU = 32;
export const EVICTIONS_PER_CPU = 1024;
/** Below every idle code: CPU numbers of schedules have at most 9 digits. */
const FIRST_FILL = -(2 ** 31);
/** Below every fill, and so on. */
const FIRST_EVICTION = -(2 ** 40);
export const GRACE_PERIOD_CODE = -(2 ** 44);
export const ALLOCATION_FAILURE_CODE = -(2 ** 44) - 1;
const FIRST_KILL = -(2 ** 45);

/** CPU `cpu` makes the fill with this index, counted from 0 among those it could make. */
export const fillCode = (cpu: number, index: number): number => FIRST_FILL - (cpu * FILLS_PER_CPU + index);
/** CPU `cpu` forgets the translation with this index, counted from 0 among those that may go. */
export const evictionCode = (cpu: number, index: number): number =>
  FIRST_EVICTION - (cpu * EVICTIONS_PER_CPU + index);
export const killCode = (taskId: number): number => FIRST_KILL - taskId;

/** Which CPU, and which of the things that it could do. */
export interface IndexedChoice {
  readonly cpu: number;
  readonly index: number;
}

/** Of a fill, an eviction, the end of a grace period, a failing allocation or a kill. */
export const isHardwareCode = (code: number): boolean => code <= FIRST_FILL;

/** CPU and index of a fill; null of any other code. */
export function fillOf(code: number): IndexedChoice | null {
  if (code > FIRST_FILL || code <= FIRST_EVICTION) return null;
  return indexed(FIRST_FILL - code, FILLS_PER_CPU);
}

/** CPU and index of an eviction; null of any other code. */
export function evictionOf(code: number): IndexedChoice | null {
  if (code > FIRST_EVICTION || code <= GRACE_PERIOD_CODE) return null;
  return indexed(FIRST_EVICTION - code, EVICTIONS_PER_CPU);
}

/** The id of the task that a kill is for; null of any other code. */
export const killOf = (code: number): number | null => (code > FIRST_KILL ? null : FIRST_KILL - code);

const indexed = (number: number, perCpu: number): IndexedChoice => ({
  cpu: Math.floor(number / perCpu),
  index: number % perCpu,
});

/**
 * How many of the first `count` candidates are steps and interrupts. The others come last. They may be all there is
 * only when nothing else can end a wait than the end of a grace period, which then is the only candidate.
 */
export function withoutHardware(candidates: readonly Candidate[], count: number): number {
  let left = count;
  while (left > 0 && (candidates[left - 1] as Candidate).kind >= CandidateKind.Fill) left--;
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
  /** What the step before this one touched, where the policy asks for it (`footprints`). */
  readonly footprint: Footprint;
}

/** The policy was told to choose what cannot be chosen: a schedule that does not belong to this run. */
export interface ImpossibleChoice {
  /** Which choice of the schedule, from 0. */
  readonly position: number;
  /** The code that was wanted; null when the schedule was at its end. */
  readonly wanted: number | null;
}

/** A search knows that whatever this run could still show, another run shows: it ends here, without a finding. */
export type Redundant = 'redundant';

export interface Policy {
  /** As the command line names it. */
  readonly name: string;
  /** It looks at what steps touch; a run for it collects that. */
  readonly footprints?: boolean;
  /**
   * Picks one of the first `count` candidates (2 or more) by its index. Their order is by CPU: its interrupt, its
   * current task, its other tasks by id; after all of them what the hardware and the outside could do, by code.
   */
  choose(
    candidates: readonly Candidate[],
    count: number,
    run: RunView,
  ): number | ImpossibleChoice | Redundant;
  /** Told of every step just before it is made, also where there was no choice. A policy that has it runs slower. */
  beforeStep?(candidate: Candidate, run: RunView): void;
}
