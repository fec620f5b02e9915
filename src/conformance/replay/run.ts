/**
 * Replays recorded traces: a fresh kernel for each, every step of it made through the kernel's own system calls, and
 * result and state compared field by field after each. A trace ends at its first difference. A trace that asks for
 * something that is not built is unsupported, whatever its other steps would have given.
 */
import { Unsupported } from '../../kernel/unsupported.ts';
import { architectureOfTrace } from './architecture.ts';
import { compareResult, compareState, type Difference } from './compare.ts';
import { values } from './ops/operation.ts';
import { OPERATIONS, type Operation } from './ops/table.ts';
import { callerOf } from './pending-calls.ts';
import type { ProcessState, Step, Trace } from './trace.ts';
import { type ReplayOptions, ReplayWorld } from './world.ts';

/** How one trace went. */
export type TraceOutcome =
  | { readonly kind: 'passed'; readonly trace: Trace }
  | { readonly kind: 'failed'; readonly trace: Trace; readonly difference: Difference }
  /**
   * `missing` names what is not built, sorted; `firstStep` is the first step that needs it, from 0: the steps before it
   * can be replayed as a trace of their own.
   */
  | {
      readonly kind: 'unsupported';
      readonly trace: Trace;
      readonly missing: readonly string[];
      readonly firstStep: number;
    };

/** Replays one trace. @throws InputError when an argument of the trace cannot be read */
export function replayTrace(trace: Trace, options: ReplayOptions): TraceOutcome {
  const { missing, firstStep } = missingOperations(trace, options);
  if (missing.length > 0) return { kind: 'unsupported', trace, missing, firstStep };
  let index = 0;
  const onStart = (step: Step): void => {
    index = step.index;
  };
  try {
    const difference = firstDifference(trace, options, onStart);
    return difference === null ? { kind: 'passed', trace } : { kind: 'failed', trace, difference };
  } catch (error) {
    const unsupported = findUnsupported(error);
    if (unsupported === undefined) throw error;
    return { kind: 'unsupported', trace, missing: [unsupported.what], firstStep: index };
  }
}

/** What the trace needs that can be told before anything runs. */
function missingOperations(
  trace: Trace,
  options: ReplayOptions,
): { readonly missing: readonly string[]; readonly firstStep: number } {
  if (architectureOfTrace(trace) !== options.architecture.name) {
    return { missing: [`architecture ${architectureOfTrace(trace)}`], firstStep: 0 };
  }
  const missing = new Set<string>();
  let firstStep = trace.steps.length;
  for (const step of trace.steps) {
    for (const name of missingOfStep(step)) {
      missing.add(name);
      firstStep = Math.min(firstStep, step.index);
    }
  }
  return { missing: [...missing].sort(), firstStep };
}

function missingOfStep({ op, args }: Step): string[] {
  const operation = Object.hasOwn(OPERATIONS, op) ? OPERATIONS[op] : undefined;
  if (operation === undefined) return [op];
  // `block` only told the recorder to expect that the call may wait.
  const unknown = args.names.filter((name) => name !== 'block' && !operation.arguments.includes(name));
  return [
    ...(operation.missing?.(args) ?? []).map((name) => `${op} ${name}`),
    ...unknown.map((name) => `${op} with ${name}`),
  ];
}

const operationOf = (step: Step): Operation | undefined =>
  Object.hasOwn(OPERATIONS, step.op) ? OPERATIONS[step.op] : undefined;

function firstDifference(
  trace: Trace,
  options: ReplayOptions,
  onStart: (step: Step) => void,
): Difference | null {
  const world = new ReplayWorld(trace, options);
  /** What every process should look like, from the last time the trace showed it. */
  const expected = new Map<number, ProcessState>([[1, { vmas: [], pages: [], rss: NOTHING_RESIDENT }]]);
  for (const step of trace.steps) {
    onStart(step);
    const difference = stepDifference(world, step, expected, options);
    if (difference !== null) return difference;
  }
  return null;
}

const NOTHING_RESIDENT = { rss: 0, anon: 0, swap: 0, lck: 0 };

function stepDifference(
  world: ReplayWorld,
  step: Step,
  expected: Map<number, ProcessState>,
  { onStep }: ReplayOptions,
): Difference | null {
  let made: ReturnType<Operation['run']>;
  try {
    made = world.calls.isBusy(world.actor(callerOf(step)))
      ? values({ busy: true })
      : (operationOf(step) as Operation).run(world, step);
    world.calls.settle();
  } catch (error) {
    if (findUnsupported(error) !== undefined || !isBrokenInvariant(error)) throw error;
    return {
      step,
      process: undefined,
      field: 'broken',
      expected: ['the step ends'],
      ...brokenInvariant(error),
    };
  }
  const notes = (): readonly string[] => made.notes?.() ?? [];
  onStep?.(step, made.values);
  const parts = compareResult(step.result, made.values);
  if (parts !== null) return { step, notes: notes(), process: undefined, ...parts };
  expected.set(step.pid, step.state);
  for (const [pid, state] of step.others) expected.set(pid, state);
  for (const [pid, state] of expected) {
    const difference = compareState(state, world.stateOf(pid));
    if (difference !== null) return { step, notes: notes(), process: pid, ...difference };
  }
  return null;
}

/** The error or one of its causes says that something is not built. */
function findUnsupported(error: unknown): Unsupported | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof Unsupported) return at;
  return undefined;
}

/** Input errors are the trace's fault; everything else that is thrown is ours. */
const isBrokenInvariant = (error: unknown): error is Error =>
  error instanceof Error && error.name !== 'InputError';

function brokenInvariant(error: Error): {
  readonly got: readonly string[];
  readonly notes: readonly string[];
} {
  const cause = error.cause instanceof Error ? error.cause : error;
  const frames = (cause.stack ?? '').split('\n').filter((line) => line.trimStart().startsWith('at '));
  return {
    got: [`an invariant broke: ${error.message}`],
    notes: frames.slice(0, 8).map((line) => line.trim()),
  };
}
