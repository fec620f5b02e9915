/**
 * Runs one scenario again and again: what does not differ between runs is checked and settled once. Every run has a fresh
 * machine and kernel, and is a function of scenario, configuration and what its policy chooses; the first run of a process
 * and the thousandth give the same events.
 *
 *     const runner = new ScenarioRunner(scenario, config);              // throws InputError, as runScenario does
 *     const outcome = runner.run(policy, { exit: 'in a row', attach: (system) => attachChecks(system, names) });
 *     outcome.end.kind        // 'finished', 'assertion failed', 'deadlock', 'stopped' (by loop.requestStop), 'thrown', …
 *     formatSchedule(outcome.system.loop.schedule)
 *     runner.run(new ReplayPolicy(schedule), { keepEvents: 100_000 }).counter.events
 *
 * What an outcome refers to (system, world) is that run's own, until the next `run` of the same runner.
 */
import { SpareParts } from '../hardware/spare-parts.ts';
import { VmaFootprint } from '../kernel/mm/vma-footprint.ts';
import type { Candidate, Policy, RunView } from '../sched/policy/policy.ts';
import { ReplayPolicy } from '../sched/policy/replay.ts';
import type { RunResult } from '../sched/run-result.ts';
import { formatSchedule, parseSchedule } from '../sched/schedule-text.ts';
import { EventCounter, EventsNeeded } from './event-counter.ts';
import { ExitPolicy } from './exit-policy.ts';
import { type MachineSettings, mergedSettings, systemSettings } from './machine-settings.ts';
import { checkRunConfig, type RunConfig, type Settings, settle } from './run-config.ts';
import type { Assertion, Scenario } from './scenario.ts';
import { endOfError, endOfResult, firstViolation, type RunEnd } from './scenario-outcome.ts';
import { ScenarioProcesses } from './scenario-processes.ts';
import { type ReportSection, reportSections } from './scenario-report.ts';
import { Share } from './share.ts';
import { startTasks } from './start.ts';
import { createSystem, type System, type SystemOptions } from './system.ts';
import { WorldView } from './world-view.ts';

const DEFAULT_MAX_STEPS = 10_000_000;
/** Steps of the first slice; each further one is twice as long, so that a long run is not slowed by its slices. */
export const FIRST_SLICE = 100_000;

/**
 * The processes of `programs` keep their memory until every program has ended, and exit then. `chosen`: the policy decides
 * on the order of those steps, too. `in a row`: one process after the other, without asking the policy; what the exit of
 * one does to another that is at its end is then seen in one order only, while an exit that a program makes (`u.exit`) is
 * as much part of the run as any call. `left out`: the run is over before.
 */
export type ExitManner = 'chosen' | 'in a row' | 'left out';

export interface ScenarioRunOptions {
  /** Events to keep, of those that happen; the rest is counted. Default: nobody asks for events, and none are made. */
  readonly keepEvents?: number;
  /** Called with the system as it is switched on, before there are processes: checks attach themselves here. */
  readonly attach?: (system: System) => void;
  /** Called once, when the programs have ended or the run was stopped, while the processes still have their memory. */
  readonly atEnd?: (system: System) => void;
  /** As `atEnd`, only when every program has come to its end. */
  readonly whenEnded?: (system: System) => void;
  /** Looks on after every step; it may ask the run loop to stop. A run with it is slower. */
  readonly afterStep?: () => void;
  /** Default: `chosen`. */
  readonly exit?: ExitManner;
  /** Bound on steps; default: the configuration's, else 10 million. */
  readonly maxSteps?: number;
}

export interface RunOutcome {
  readonly end: RunEnd;
  readonly system: System;
  readonly share: Share;
  readonly world: WorldView;
  readonly processes: ScenarioProcesses;
  readonly counter: EventCounter;
  /** What the scenario's `report` said; nothing when the programs did not come to their end, or events are off. */
  readonly report: readonly ReportSection[];
  readonly remarks: readonly string[];
}

type Assertions = readonly (readonly [string, Assertion])[];

/** Steps of a slice or a whole run in progress: yields the steps made so far; `next(true)` ends the run there. */
type Slices<T> = Generator<number, T, boolean | undefined>;

export class ScenarioRunner {
  readonly scenario: Scenario;
  readonly settings: Settings;
  readonly #machine: MachineSettings;
  readonly #system: Omit<SystemOptions, 'policy' | 'events' | 'parts'>;
  readonly #maxSteps: number;
  readonly #always: Assertions;
  readonly #finally: Assertions;
  /** Each run takes over what the one before has used. */
  readonly #parts = new SpareParts();
  /** An assertion has asked for events: they are counted in every run. */
  #countsEvents = false;

  /** @throws InputError when there is no such processor, or the scenario does not fit the configuration */
  constructor(scenario: Scenario, config: RunConfig) {
    checkRunConfig(config);
    this.scenario = scenario;
    this.settings = settle(scenario, config);
    this.#machine = mergedSettings(scenario, config);
    this.#maxSteps = config.maxSteps ?? DEFAULT_MAX_STEPS;
    this.#always = Object.entries(scenario.always ?? {});
    this.#finally = Object.entries(scenario.finally ?? {});
    this.#system = {
      architecture: config.architecture,
      ...this.settings.processor,
      cpus: this.settings.cpus,
      retention: this.settings.retention,
      speculation: this.settings.speculation,
      seed: config.seed ?? 1,
      ...systemSettings(this.#machine),
      ...(config.hardware === undefined ? {} : { hardware: config.hardware }),
      ...(config.profile === undefined ? {} : { profile: config.profile }),
      ...(scenario.omitTlbFlushes === undefined ? {} : { omitTlbFlushes: scenario.omitTlbFlushes }),
    };
  }

  /**
   * One run from start to end.
   * @throws InputError when a program or an assertion has a mistake, or a schedule does not fit
   */
  run(policy: Policy, options: ScenarioRunOptions = {}): RunOutcome {
    const slices = this.runInSlices(policy, options, Number.POSITIVE_INFINITY);
    let slice = slices.next();
    while (!slice.done) slice = slices.next();
    return slice.value;
  }

  /**
   * The same run in slices, so that a caller can show progress and end it, with the end `interrupted`.
   * @param firstSlice steps until the first yield
   */
  *runInSlices(policy: Policy, options: ScenarioRunOptions, firstSlice: number): Slices<RunOutcome> {
    const counting = options.keepEvents !== undefined || this.#countsEvents;
    const run = this.#begin(policy, options, new EventCounter(options.keepEvents ?? 0, counting));
    try {
      return yield* run.toEnd(firstSlice);
    } catch (error) {
      if (!(error instanceof EventsNeeded)) throw error;
    }
    // The same run again, now with events: what the policy has chosen so far, and from then on the policy.
    this.#countsEvents = true;
    const { loop } = run.system;
    const replayed = new ResumedPolicy(formatSchedule(loop.schedule), loop.steps, policy);
    const again = this.#begin(replayed, options, new EventCounter(0, true));
    return yield* again.toEnd(firstSlice);
  }

  #begin(policy: Policy, options: ScenarioRunOptions, counter: EventCounter): Run {
    this.#parts.putBack();
    const system = createSystem(this.#system, { policy, events: counter, parts: this.#parts });
    options.attach?.(system);
    const { kernel, machine } = system;
    if (policy.footprints === true)
      kernel.vmaWatcher = new VmaFootprint(machine.footprint, kernel.vmaWatcher);
    const share = new Share(system.machine.footprint);
    const world = new WorldView(system, share, counter);
    const processes = new ScenarioProcesses(system, share, world, this.scenario);
    startTasks(this.scenario, this.#machine, system, processes);
    return new Run({
      scenario: this.scenario,
      always: this.#always,
      finally: this.#finally,
      maxSteps: options.maxSteps ?? this.#maxSteps,
      options,
      system,
      share,
      world,
      processes,
      counter,
    });
  }
}

/** Goes on with a policy where a schedule ends. */
class ResumedPolicy implements Policy {
  readonly name: string;
  readonly #replay: ReplayPolicy;
  readonly #choices: number;
  readonly #steps: number;
  readonly #policy: Policy;

  constructor(schedule: string, steps: number, policy: Policy) {
    const parsed = parseSchedule(schedule);
    this.name = policy.name;
    this.#replay = new ReplayPolicy(parsed);
    this.#choices = parsed.repeats.reduce((sum, repeats) => sum + repeats, 0);
    this.#steps = steps;
    this.#policy = policy;
  }

  get footprints(): boolean {
    return this.#policy.footprints === true;
  }

  /** The policy was told of the steps that are made again. */
  beforeStep(candidate: Candidate, run: RunView): void {
    if (run.steps >= this.#steps) this.#policy.beforeStep?.(candidate, run);
  }

  choose(...asked: Parameters<Policy['choose']>): ReturnType<Policy['choose']> {
    const [, , run] = asked;
    return run.choices < this.#choices ? this.#replay.choose(...asked) : this.#policy.choose(...asked);
  }
}

interface RunParts extends Omit<RunOutcome, 'end' | 'report' | 'remarks'> {
  readonly scenario: Scenario;
  readonly always: Assertions;
  readonly finally: Assertions;
  readonly maxSteps: number;
  readonly options: ScenarioRunOptions;
}

/** One run under way. */
class Run {
  readonly system: System;
  readonly #parts: RunParts;
  readonly #observer: { readonly mayRest: () => boolean; readonly afterStep?: () => boolean };
  #violation: RunEnd | null = null;
  #report: readonly ReportSection[] = [];
  #remarks: readonly string[] = [];

  constructor(parts: RunParts) {
    this.system = parts.system;
    this.#parts = parts;
    const { afterStep } = parts.options;
    const holds = (): boolean => {
      afterStep?.();
      return this.#holds();
    };
    const { processes } = parts;
    const mayRest = (): boolean => processes.ended;
    const observed = parts.always.length > 0 || afterStep !== undefined;
    this.#observer = observed ? { mayRest, afterStep: holds } : { mayRest };
  }

  *toEnd(firstSlice: number): Slices<RunOutcome> {
    const end = yield* this.#toEnd(firstSlice);
    const { system, share, world, processes, counter } = this.#parts;
    return { end, system, share, world, processes, counter, report: this.#report, remarks: this.#remarks };
  }

  /**
   * Until every program has ended; then the assertions about the end, while the processes still have their memory; then
   * until every process is gone.
   */
  *#toEnd(firstSlice: number): Slices<RunEnd> {
    const { scenario, world, processes, options, system } = this.#parts;
    try {
      const stopped = yield* this.#runOn(firstSlice);
      options.atEnd?.(system);
      if (stopped === null) this.#programsEnded();
      const ending = stopped ?? firstViolation(this.#parts.finally, world, scenario.file);
      if (ending !== null) return ending;
      if (options.exit === 'left out') return { kind: 'finished' };
      if (options.exit === 'in a row') system.loop.policy = new ExitPolicy();
      processes.release();
      const unfinished = yield* this.#runOn(firstSlice);
      if (unfinished !== null) return unfinished;
      system.kernel.rcu.endAll();
      return { kind: 'finished' };
    } catch (error) {
      return endOfError(error, scenario);
    }
  }

  #programsEnded(): void {
    const { processes, scenario, world, counter, options, system } = this.#parts;
    options.whenEnded?.(system);
    this.#remarks = processes.remarks();
    if (counter.enabled) this.#report = reportSections(scenario, world);
  }

  #holds(): boolean {
    const { always, world, scenario } = this.#parts;
    this.#violation = firstViolation(always, world, scenario.file);
    return this.#violation === null;
  }

  *#runOn(firstSlice: number): Slices<RunEnd | null> {
    const { system, scenario } = this.#parts;
    const result = yield* this.#runSlices(firstSlice);
    if (result === 'interrupted') {
      return { kind: 'interrupted', text: `interrupted after ${system.loop.steps} steps` };
    }
    return this.#violation ?? endOfResult(result, scenario);
  }

  /** Runs until something other than the end of a slice ends it, or the receiver of the yields does. */
  *#runSlices(firstSlice: number): Slices<RunResult | 'interrupted'> {
    const { loop } = this.system;
    const { maxSteps } = this.#parts;
    for (let slice = firstSlice; ; slice *= 2) {
      const left = maxSteps - loop.steps;
      const result = loop.run({ ...this.#observer, maxSteps: Math.min(left, slice) });
      if (result.kind !== 'step-limit' || left <= slice) return result;
      if (yield loop.steps) return 'interrupted';
    }
  }
}
