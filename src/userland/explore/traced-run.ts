/** One run in full: every step with the function and the object it was at, and the events that it gave. Plain data. */
import { PointKind } from '../../base/task.ts';
import { type Candidate, CandidateKind, type Policy, type RunView } from '../../sched/policy/policy.ts';
import { RunLoop } from '../../sched/run-loop.ts';
import { FrameKind, type SchedTask } from '../../sched/task.ts';
import { EventCounter } from '../event-counter.ts';
import type { ExploredRun, ExploredRuns } from './explored-runs.ts';
import { StretchRecorder } from './guided-policy.ts';
import { ObservedPolicy } from './observed-policy.ts';

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
  /** Index of the first event of this step or of a later one. */
  readonly firstEvent: number;
}

export interface TracedRun extends ExploredRun {
  readonly trace: readonly TracedStep[];
  readonly stretches: StretchRecorder['stretches'];
}

/** Events of one run that are kept; beyond, they are counted only. */
const MOST_EVENTS = 1_000_000;
const ACCESS = { [PointKind.Read]: 'read', [PointKind.Write]: 'write', [PointKind.Wait]: 'wait' } as const;

/**
 * @param way `run`: any policy; `replay`: a schedule that a run has recorded, whatever it was
 * @throws InputError for a schedule that does not fit
 */
export function traceRun(runs: ExploredRuns, policy: Policy, way: 'run' | 'replay'): TracedRun {
  const trace: TracedStep[] = [];
  const recorder = new StretchRecorder();
  const observed = new ObservedPolicy(policy, (candidate, preempts, run) => {
    recorder.add(candidate.code);
    trace.push(tracedStep(candidate, preempts, eventsSoFar(run)));
  });
  const run = way === 'run' ? runs.run(observed, MOST_EVENTS) : runs.replay(observed, MOST_EVENTS);
  return { ...run, trace, stretches: recorder.stretches };
}

function tracedStep(candidate: Candidate, preempts: boolean, firstEvent: number): TracedStep {
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
