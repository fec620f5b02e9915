import { InputError } from '../base/input-error.ts';
import type { MachineEvent } from '../hardware/event-sink.ts';
import { Unsupported } from '../kernel/unsupported.ts';
import { describeResult, type RunResult, TaskFailure, type WaitReport } from '../sched/run-result.ts';
import { formatSchedule } from '../sched/schedule-text.ts';
import { AssertionFailure } from './calls/process-context.ts';
import { EventCounter } from './event-counter.ts';
import { mergedSettings, systemSettings } from './machine-settings.ts';
import { mistakeOf } from './mistake.ts';
import { formatFailure } from './outcome.ts';
import { type RemoteAccessView, remoteAccessView } from './remote-access-view.ts';
import { checkRunConfig, inFile, type RunConfig, settle } from './run-config.ts';
import type { Assertion, Scenario } from './scenario.ts';
import { ScenarioProcesses } from './scenario-processes.ts';
import { type ReportSection, reportSections } from './scenario-report.ts';
import { Share, type SharedValue } from './share.ts';
import { startTasks } from './start.ts';
import { createSystem, type System } from './system.ts';
import { type ProcessView, WorldView } from './world-view.ts';

/** How one program ended. */
export interface ProgramResult {
  readonly name: string;
  readonly pid: number;
  /** Index of its CPU. */
  readonly cpu: number;
  readonly state: ProcessView['state'];
  /** Its program came to its end. */
  readonly returned: boolean;
  /** As `wait4` reports it; meaningless while it is running. */
  readonly exitStatus: number;
  /** What the program returned; `undefined` when it was killed or left by `exit`. */
  readonly value: unknown;
  /** `SIGSEGV SEGV_MAPERR at 0x1000`, when a signal of its own access killed it. */
  readonly killedBy: string | null;
  readonly minFlt: number;
  readonly majFlt: number;
}

export type ScenarioOutcome =
  | { readonly kind: 'finished' }
  /** `name` is the assertion's sentence, or the program whose own check failed. */
  | { readonly kind: 'assertion failed'; readonly name: string; readonly text: string }
  | {
      readonly kind: 'deadlock';
      readonly text: string;
      readonly cycle: readonly string[];
      readonly waits: readonly WaitReport[];
    }
  | { readonly kind: 'step bound'; readonly text: string }
  /** Whoever ran it in slices ended it before its end. */
  | { readonly kind: 'interrupted'; readonly text: string }
  /** The scenario asks for something that is not built. */
  | { readonly kind: 'unsupported'; readonly what: string };

export interface ScenarioResult {
  readonly title: string;
  readonly outcome: ScenarioOutcome;
  /** How many `always` and `finally` have. */
  readonly assertions: number;
  readonly config: {
    readonly arch: string;
    readonly cpuModel: string;
    /** Levels of the page tables. */
    readonly levels: number;
    readonly tlbProfile: string;
    readonly cpus: number;
    readonly policy: string;
    readonly seed: number;
    readonly retention: string;
    readonly speculation: boolean;
    readonly profile: string;
  };
  readonly programs: readonly ProgramResult[];
  /** What the scenario's `report` said; nothing when the programs did not come to their end. */
  readonly report: readonly ReportSection[];
  /** Shared variables at the end. */
  readonly variables: readonly (readonly [string, SharedValue])[];
  /** Choices that were made; replaying them gives the same run. */
  readonly schedule: string;
  readonly steps: number;
  /** Virtual time in cycles: of the CPU that is furthest, and of each. */
  readonly cycles: number;
  readonly cyclesByCpu: readonly number[];
  /** What accesses to other processes' memory did; null when there were none. */
  readonly remoteAccess: RemoteAccessView | null;
  /** Events by kind. */
  readonly counters: Readonly<Record<string, number>>;
  readonly events: readonly MachineEvent[];
  /** What may be a mistake of the scenario, though the run is as it says: a name in `placement` that no process had. */
  readonly remarks: readonly string[];
}

/** A scenario's `arch` when any will do. */
const DEFAULT_MAX_STEPS = 10_000_000;
const DEFAULT_MAX_EVENTS = 100_000;
/** Steps of the first slice; each further one is twice as long, so that a long run is not slowed by its slices. */
const FIRST_SLICE = 100_000;

/**
 * @throws InputError when there is no such processor, the scenario does not fit the configuration, a program throws, or the schedule does not fit
 */
export function runScenario(scenario: Scenario, config: RunConfig): ScenarioResult {
  const slices = runScenarioInSlices(scenario, config);
  let slice = slices.next();
  while (!slice.done) slice = slices.next();
  return slice.value;
}

/**
 * The same run in slices, so that a caller can show progress and end it: yields the steps made so far; `next(true)`
 * ends the run there, with the outcome `interrupted`.
 * @param firstSlice steps until the first yield
 */
export function* runScenarioInSlices(
  scenario: Scenario,
  config: RunConfig,
  firstSlice: number = FIRST_SLICE,
): Generator<number, ScenarioResult, boolean | undefined> {
  checkRunConfig(config);
  const settings = settle(scenario, config);
  const machine = mergedSettings(scenario, config);
  const counter = new EventCounter(config.maxEvents ?? DEFAULT_MAX_EVENTS);
  const system = createSystem({
    architecture: config.architecture,
    ...settings.processor,
    cpus: settings.cpus,
    retention: settings.retention,
    speculation: settings.speculation,
    policy: settings.policy,
    events: counter,
    seed: config.seed ?? 1,
    ...systemSettings(machine),
    ...(config.profile === undefined ? {} : { profile: config.profile }),
    ...(scenario.omitTlbFlushes === undefined ? {} : { omitTlbFlushes: scenario.omitTlbFlushes }),
  });
  const share = new Share();
  const world = new WorldView(system, share, counter);
  const processes = new ScenarioProcesses(system, share, world, scenario);
  startTasks(scenario, machine, system, processes);
  let report: readonly ReportSection[] = [];
  let remarks: readonly string[] = [];
  const bounds: Bounds = {
    maxSteps: config.maxSteps ?? DEFAULT_MAX_STEPS,
    firstSlice,
    atEnd: config.atEnd,
    whenEnded: () => {
      remarks = processes.remarks();
      report = reportSections(scenario, world);
    },
  };
  const outcome = yield* runToEnd(scenario, system, world, processes, bounds);
  const cyclesByCpu = system.machine.cpus.map((cpu) => cpu.time);
  return {
    title: scenario.title,
    outcome,
    assertions: Object.keys(scenario.always ?? {}).length + Object.keys(scenario.finally ?? {}).length,
    config: {
      arch: config.architecture.name,
      ...settings.processor,
      cpus: settings.cpus,
      policy: settings.policy.name,
      seed: config.seed ?? 1,
      retention: settings.retention,
      speculation: settings.speculation,
      profile: system.machine.profile.name,
    },
    programs: programResults(processes, world),
    report,
    variables: share.entries(),
    schedule: formatSchedule(system.loop.schedule),
    steps: system.loop.steps,
    cycles: Math.max(...cyclesByCpu),
    cyclesByCpu,
    remoteAccess: system.kernel.remoteCounters.calls === 0 ? null : remoteAccessView(system.kernel),
    counters: counter.counts(),
    events: counter.events,
    remarks,
  };
}

function programResults(processes: ScenarioProcesses, world: WorldView): ProgramResult[] {
  return processes.contexts.map((context) => ({
    name: context.task.name,
    pid: context.task.pid,
    cpu: context.task.cpu,
    state: world.process(context.task.name)?.state ?? 'dead',
    returned: processes.hasReturned(context),
    exitStatus: context.task.exitStatus,
    value: processes.valueOf(context),
    killedBy: context.killedBy === null ? null : formatFailure(context.killedBy),
    minFlt: context.task.minFlt,
    majFlt: context.task.majFlt,
  }));
}

/**
 * Until every program has ended; then the assertions about the end, while the processes still have their memory; then
 * until every process is gone.
 */
function* runToEnd(
  scenario: Scenario,
  system: System,
  world: WorldView,
  processes: ScenarioProcesses,
  bounds: Bounds,
): Generator<number, ScenarioOutcome, boolean | undefined> {
  const always = Object.entries(scenario.always ?? {});
  let violation: ScenarioOutcome | null = null;
  const afterStep = (): boolean => {
    violation = firstViolation(always, world, scenario.file);
    return violation === null;
  };
  const observer = always.length === 0 ? {} : { afterStep };
  const runOn = function* (): Generator<number, ScenarioOutcome | null, boolean | undefined> {
    const result = yield* runSlices(system, bounds, observer);
    if (result === 'interrupted') {
      return { kind: 'interrupted', text: `interrupted after ${system.loop.steps} steps` };
    }
    if (result.kind === 'deadlock' && processes.ended) return null;
    return violation ?? outcomeOf(result, scenario);
  };
  try {
    const end = Object.entries(scenario.finally ?? {});
    const stopped = yield* runOn();
    bounds.atEnd?.(system);
    if (stopped === null) bounds.whenEnded();
    const ending = stopped ?? firstViolation(end, world, scenario.file);
    if (ending !== null) return ending;
    processes.release();
    return (yield* runOn()) ?? { kind: 'finished' };
  } catch (error) {
    return outcomeOfError(error, scenario);
  }
}

interface Bounds {
  readonly maxSteps: number;
  readonly firstSlice: number;
  readonly atEnd: RunConfig['atEnd'];
  /** Called when every program has ended. */
  readonly whenEnded: () => void;
}

/** Runs until something other than the end of a slice ends it, or the receiver of the yields does. */
function* runSlices(
  { loop }: System,
  { maxSteps, firstSlice }: Bounds,
  observer: { readonly afterStep?: () => boolean },
): Generator<number, RunResult | 'interrupted', boolean | undefined> {
  for (let slice = firstSlice; ; slice *= 2) {
    const left = maxSteps - loop.steps;
    const result = loop.run({ ...observer, maxSteps: Math.min(left, slice) });
    if (result.kind !== 'step-limit' || left <= slice) return result;
    if (yield loop.steps) return 'interrupted';
  }
}

function firstViolation(
  assertions: readonly [string, Assertion][],
  world: WorldView,
  file: string | undefined,
): ScenarioOutcome | null {
  for (const [name, assertion] of assertions) {
    let answer: boolean | string;
    try {
      answer = assertion(world);
    } catch (error) {
      throw mistakeOf(`assertion "${name}"`, error, file);
    }
    if (answer === true) continue;
    return { kind: 'assertion failed', name, text: answer === false ? 'does not hold' : answer };
  }
  return null;
}

function outcomeOf(result: RunResult, scenario: Scenario): ScenarioOutcome | null {
  switch (result.kind) {
    case 'finished':
      return null;
    case 'deadlock':
      return { kind: 'deadlock', text: wordsOf(result), cycle: result.cycle, waits: result.waits };
    case 'step-limit':
      return { kind: 'step bound', text: wordsOf(result) };
    case 'impossible-choice':
      throw new InputError(describeResult(result).split('\n')[0] as string, inFile(scenario));
    case 'stopped':
      throw new Error('a run was stopped without a violated assertion');
  }
}

/** Without its last line, the schedule: the result has it. */
const wordsOf = (result: RunResult): string => describeResult(result).split('\n').slice(0, -1).join('\n');

/** What a task threw, told apart: a check of a program, a mistake of a program, something that is not built, ours. */
function outcomeOfError(error: unknown, scenario: Scenario): ScenarioOutcome {
  const cause = error instanceof TaskFailure ? error.cause : error;
  if (cause instanceof AssertionFailure) {
    const name = error instanceof TaskFailure ? error.task : scenario.title;
    return { kind: 'assertion failed', name, text: cause.message };
  }
  if (cause instanceof Unsupported) return { kind: 'unsupported', what: cause.what };
  if (cause instanceof InputError) throw cause;
  throw error;
}
