/** One run in full: every step with the function and the object it was at, and the events that it gave. Plain data. */
import { PointKind } from '../../base/task.ts';
import { type Candidate, CandidateKind, type Policy, type RunView } from '../../sched/policy/policy.ts';
import { RunLoop } from '../../sched/run-loop.ts';
import { FrameKind, type SchedTask } from '../../sched/task.ts';
import { EventCounter } from '../event-counter.ts';
import type { ExploredRun, ExploredRuns, StandingTask } from './explored-runs.ts';
import { StretchRecorder } from './guided-policy.ts';
import { ObservedPolicy } from './observed-policy.ts';
import { type KernelPlace, kernelPlace, StepTracer, withDeepStacks } from './step-tracer.ts';

export interface TracedStep {
  /** `step` of a task or of a handler on its CPU, `interrupt`: one is taken, `hardware`: what a CPU does by itself. */
  readonly kind: 'step' | 'interrupt' | 'hardware';
  readonly cpu: number;
  /** Null where a CPU has none. */
  readonly task: string | null;
  /** What was about to happen, to which object: `down_write`, `mmap_lock of guest`. */
  readonly operation: string;
  readonly object: string;
  readonly access: 'read' | 'write' | 'wait';
  /** The interrupt handler or context switch in which the step is made; null in a task's own path. */
  readonly inside: string | null;
  /** Another task came onto the CPU first. */
  readonly switches: boolean;
  /** Whoever made the step before could have gone on. */
  readonly preempts: boolean;
  /** Names of the frames whose entries in page tables it changed. */
  readonly frames: readonly string[];
  /** Index of the first event of this step or of a later one. */
  readonly firstEvent: number;
}

export interface TracedRun extends ExploredRun {
  readonly trace: readonly TracedStep[];
  readonly stretches: StretchRecorder['stretches'];
  /** Where in the kernel its tasks were last, the one that made the last step first. */
  readonly places: readonly TaskPlace[];
  /** What they would have done next. */
  readonly stands: readonly StandingTask[];
}

export interface TaskPlace extends KernelPlace {
  readonly task: string;
  /** Number of the step, from 1. */
  readonly step: number;
}

/** Events of one run that are kept; beyond, they are counted only. */
const MOST_EVENTS = 1_000_000;
const ACCESS = { [PointKind.Read]: 'read', [PointKind.Write]: 'write', [PointKind.Wait]: 'wait' } as const;

/**
 * Of a schedule that a run has recorded, whatever it was.
 * @throws ScheduleMisfit for a schedule that does not fit
 */
export function traceRun(runs: ExploredRuns, policy: Policy): TracedRun {
  const trace: PlainStep[] = [];
  const recorder = new StretchRecorder();
  const tracer = new StepTracer();
  const observed = new ObservedPolicy(policy, (candidate, preempts, run) => {
    recorder.add(candidate.code);
    trace.push(plainStep(candidate, preempts, eventsSoFar(run)));
  });
  const run = withDeepStacks(() => runs.replay(observed, MOST_EVENTS, tracer));
  return {
    ...run,
    trace: trace.map((step, index) => ({ ...step, frames: frameNames(tracer, index + 1) })),
    stretches: recorder.stretches,
    places: placesOf(run, trace, tracer),
    stands: run.standing(),
  };
}

/** Of a run that cannot be made again. */
export const untraced = (run: ExploredRun): TracedRun => ({
  ...run,
  trace: [],
  stretches: [],
  places: [],
  stands: [],
});

const frameNames = ({ frames }: StepTracer, step: number): string[] =>
  [...(frames.get(step) ?? [])].map((frame) => `frame 0x${frame.toString(16)}`);

function placesOf(run: ExploredRun, trace: readonly PlainStep[], tracer: StepTracer): TaskPlace[] {
  const { thrown, problem } = run;
  const last = problem?.task ?? trace[trace.length - 1]?.task ?? null;
  const standing = new Set(run.standing().map(({ task }) => task));
  const tasks = new Set(trace.flatMap(({ task }) => (task === null ? [] : [task])));
  const places = [...tasks].flatMap((task) => {
    const noted = tracer.placeOf(task);
    const place = task === last && thrown !== null ? { step: trace.length, ...kernelPlace(thrown) } : noted;
    if (place === null || place.functions.length === 0) return [];
    // An assertion is no matter of the kernel's, but for the step that it was seen after; who has ended is nowhere.
    const elsewhere = problem?.kind !== 'assertion' && standing.has(task);
    return place.step === trace.length || elsewhere ? [{ task, ...place }] : [];
  });
  return places.sort((one, other) => Number(other.task === last) - Number(one.task === last));
}

type PlainStep = Omit<TracedStep, 'frames'>;

function plainStep(candidate: Candidate, preempts: boolean, firstEvent: number): PlainStep {
  const { kind, cpu, task, point, switches } = candidate;
  const taken = kind === CandidateKind.Interrupt ? interruptName(task, cpu) : null;
  return {
    kind: kind === CandidateKind.Step ? 'step' : taken === null ? 'hardware' : 'interrupt',
    cpu,
    task: task === null || task.id < 0 ? null : task.name,
    operation: taken ?? point.operation,
    object: point.object.name,
    access: ACCESS[point.kind],
    inside: insideOf(task),
    switches,
    preempts,
    firstEvent,
  };
}

function interruptName(task: SchedTask | null, cpu: number): string {
  return task?.machine?.cpu(cpu).pendingInterrupts[0]?.name ?? 'interrupt';
}

function insideOf(task: SchedTask | null): string | null {
  const frame = task?.frames[task.frames.length - 1];
  return frame === undefined || frame.kind === FrameKind.Body ? null : frame.name;
}

function eventsSoFar(run: RunView): number {
  const events = run instanceof RunLoop ? run.machine.events : null;
  return events instanceof EventCounter ? events.events.length : 0;
}
