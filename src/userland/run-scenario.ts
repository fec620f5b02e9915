/** Runs a scenario once and says what happened, as plain data. */
import type { MachineEvent } from '../hardware/event-sink.ts';
import { formatSchedule } from '../sched/schedule-text.ts';
import { formatFailure } from './outcome.ts';
import { type RemoteAccessView, remoteAccessView } from './remote-access-view.ts';
import type { RunConfig } from './run-config.ts';
import type { Scenario } from './scenario.ts';
import type { RunEnd, ScenarioOutcome } from './scenario-outcome.ts';
import type { ScenarioProcesses } from './scenario-processes.ts';
import type { ReportSection } from './scenario-report.ts';
import { FIRST_SLICE, ScenarioRunner } from './scenario-runner.ts';
import type { SharedValue } from './share.ts';
import { WatchingChecks } from './watching-checks.ts';
import type { ProcessView, WorldView } from './world-view.ts';

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

const DEFAULT_MAX_EVENTS = 100_000;

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
  const runner = new ScenarioRunner(scenario, config);
  const { settings } = runner;
  const checks = config.checks === undefined ? null : new WatchingChecks(config.checks);
  const run = yield* runner.runInSlices(
    settings.policy,
    {
      keepEvents: config.maxEvents ?? DEFAULT_MAX_EVENTS,
      ...(checks === null ? {} : { attach: checks.attach }),
      ...(config.atEnd === undefined ? {} : { atEnd: config.atEnd }),
    },
    firstSlice,
  );
  const { system, share, world, processes, counter } = run;
  const cyclesByCpu = system.machine.cpus.map((cpu) => cpu.time);
  return {
    title: scenario.title,
    outcome: checks?.failure(run.end) ?? outcomeOf(run.end),
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
    report: run.report,
    variables: share.entries(),
    schedule: formatSchedule(system.loop.schedule),
    steps: system.loop.steps,
    cycles: Math.max(...cyclesByCpu),
    cyclesByCpu,
    remoteAccess: system.kernel.remoteCounters.calls === 0 ? null : remoteAccessView(system.kernel),
    counters: counter.counts(),
    events: counter.events,
    remarks: run.remarks,
  };
}

/** @throws Error what the kernel threw; nobody stops a single run but its assertions */
function outcomeOf(end: RunEnd): ScenarioOutcome {
  if (end.kind === 'thrown') throw end.error;
  if (end.kind === 'stopped') throw new Error('a run was stopped without a violated assertion');
  return end;
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
