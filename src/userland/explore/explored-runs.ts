/**
 * The runs of an exploration: one scenario again and again, watched by the checks, each run told as what is wrong with
 * it. A run that reaches its bound on steps is made again and goes on with all tasks by turns: a search may starve a
 * task that others wait for, and that alone is nothing wrong.
 */
import { InputError } from '../../base/input-error.ts';
import type { CheckFinding } from '../../check/races/check.ts';
import { CHECK_NAMES } from '../../check/races/registry.ts';
import { isPartnerGone, nameOfStuck } from '../../check/races/stuck.ts';
import type { MachineEvent } from '../../hardware/event-sink.ts';
import { ALLOCATION_FAILURE_CODE, killOf, type Policy } from '../../sched/policy/policy.ts';
import { RandomPolicy } from '../../sched/policy/random.ts';
import { ReplayPolicy } from '../../sched/policy/replay.ts';
import { TaskFailure, type WaitReport } from '../../sched/run-result.ts';
import { formatSchedule, parseSchedule, type Schedule } from '../../sched/schedule-text.ts';
import type { RunConfig, Settings } from '../run-config.ts';
import type { Scenario } from '../scenario.ts';
import { type RunEnd, ScheduleMisfit } from '../scenario-outcome.ts';
import { type ExitManner, ScenarioRunner } from '../scenario-runner.ts';
import type { System } from '../system.ts';
import { checkedNames, ruleOf, WatchingChecks } from '../watching-checks.ts';
import type { Problem } from './problem.ts';
import type { StepTracer } from './step-tracer.ts';

export interface ExploredRun {
  /** Null: nothing is wrong. */
  readonly problem: Problem | null;
  /** What the scenario asks for and is not built; null as a rule. */
  readonly unsupported: string | null;
  readonly steps: number;
  /** Its tasks were at their ends only after the bound on steps. */
  readonly slow: boolean;
  /** The search ended it: others show the rest. */
  readonly givenUp: boolean;
  /** Made when it is asked for: replaying it gives the same run. */
  readonly schedule: () => string;
  /** Those that were asked for. */
  readonly events: readonly MachineEvent[];
  /** What every task that was not at its end stood before. */
  readonly standing: () => readonly StandingTask[];
  /** What the kernel threw; null as a rule. */
  readonly thrown: Error | null;
}

export interface StandingTask {
  readonly task: string;
  readonly operation: string;
  readonly object: string;
}

export interface ExploredRunsOptions {
  readonly maxSteps: number;
  readonly checksOff: readonly string[];
}

export class ExploredRuns {
  readonly #runner: ScenarioRunner;
  readonly #maxSteps: number;
  #checks: WatchingChecks;
  /** Names of the checks that watch. */
  readonly checks: readonly string[];
  /** A program that throws is something found, not a mistake of the scenario: it does not under every schedule. */
  mistakesAreProblems = false;

  /** @throws InputError when the scenario does not fit the configuration */
  constructor(scenario: Scenario, config: RunConfig, { maxSteps, checksOff }: ExploredRunsOptions) {
    this.#runner = new ScenarioRunner(scenario, config);
    this.#maxSteps = maxSteps;
    const off = checkedNames(checksOff);
    this.checks = CHECK_NAMES.filter((name) => !off.includes(name));
    this.#checks = new WatchingChecks(this.checks);
  }

  /** What every run has. */
  get settings(): Settings {
    return this.#runner.settings;
  }

  /**
   * @param atMost steps after which the run is given up, with nothing found; default: that bound and what it means
   * @throws InputError for a mistake of a program, until `mistakesAreProblems`
   */
  run(policy: Policy, keepEvents?: number, atMost?: number): ExploredRun {
    const options: Options = { exit: 'in a row', keepEvents };
    if (atMost === undefined || atMost >= this.#maxSteps) return this.#twice(policy, options);
    const { run, end } = this.#once(policy, atMost, options);
    return end === 'step bound' ? { ...run, problem: null } : run;
  }

  /**
   * What a schedule gives, whoever recorded it; past its end its policy goes on.
   * @param tracer looks on beside the checks
   * @throws ScheduleMisfit for a schedule that does not fit
   */
  replay(policy: Policy, keepEvents?: number, tracer?: StepTracer): ExploredRun {
    if (tracer === undefined) return this.#twice(policy, { exit: 'chosen', keepEvents });
    const checks = this.#checks;
    this.#checks = new WatchingChecks(this.checks, [tracer]);
    try {
      return this.#twice(policy, { exit: 'chosen', keepEvents });
    } finally {
      this.#checks = checks;
    }
  }

  /** Steps that a run takes to its end; null when it has none within so many. */
  length(policy: Policy, atMost: number): number | null {
    const { run, end } = this.#once(policy, atMost, { exit: 'in a row', keepEvents: undefined });
    return end === 'step bound' ? null : run.steps;
  }

  #twice(policy: Policy, options: Options): ExploredRun {
    const first = this.#once(policy, this.#maxSteps, options);
    if (first.end !== 'step bound') return first.run;
    // Each task gets on as much as the others: long turns would leave one that is polled for too few steps.
    const again = new ReplayPolicy(parseSchedule(first.run.schedule()), new RandomPolicy(1));
    return { ...this.#once(again, 2 * this.#maxSteps, { ...options, exit: 'chosen' }).run, slow: true };
  }

  #once(
    policy: Policy,
    maxSteps: number,
    { exit, keepEvents }: Options,
  ): { readonly run: ExploredRun; readonly end: RunEnd['kind'] } {
    let system: System | null = null;
    const attach = (begun: System): void => {
      system = begun;
      this.#checks.attach(begun);
    };
    const kept = keepEvents === undefined ? {} : { keepEvents };
    try {
      const { end, system, counter } = this.#runner.run(policy, { exit, maxSteps, attach, ...kept });
      const unsupported = end.kind === 'unsupported' ? end.what : null;
      const found = this.#checks.finding(end);
      const problem = found === null ? problemOf(end, this.checks) : problemOfCheck(found);
      const own = problem === null || isExcused(end, found, system) ? null : problem;
      const run = exploredRun(system, own, unsupported, counter.events);
      if (end.kind === 'thrown') return { run: { ...run, thrown: causeOf(end.error) }, end: end.kind };
      const givenUp = end.kind === 'stopped' && found === null;
      return { run: givenUp ? { ...run, givenUp } : run, end: end.kind };
    } catch (error) {
      if (system === null || !this.#isProblem(error)) throw error;
      // A sentence or a program that does not expect what was asked for is none either.
      const excused = isHarmed((system as System).loop.schedule);
      const problem = excused ? null : programError(error as InputError);
      return { run: exploredRun(system, problem, null, []), end: 'thrown' };
    }
  }

  #isProblem(error: unknown): boolean {
    return error instanceof InputError && this.mistakesAreProblems && !(error instanceof ScheduleMisfit);
  }
}

interface Options {
  readonly exit: ExitManner;
  readonly keepEvents: number | undefined;
}

/**
 * A program that must succeed and cannot, since the schedule let an allocation fail or killed a task, is none: that is what
 * was asked for. Nor is one that waits for ever for another that was killed.
 */
function isExcused(end: RunEnd, found: CheckFinding | null, { loop }: System): boolean {
  if (found !== null || !isHarmed(loop.schedule)) return false;
  if (end.kind === 'deadlock') return isPartnerGone(end.waits, end.cycle);
  return end.kind === 'assertion failed' && FAILED_CALL.test(end.text);
}

/** As `User.must` says it. */
const FAILED_CALL = /^a call that must succeed gave /;

const isHarmed = ({ codes }: Schedule): boolean =>
  codes.some((code) => code === ALLOCATION_FAILURE_CODE || killOf(code) !== null);

function exploredRun(
  { kernel, loop }: System,
  problem: Problem | null,
  unsupported: string | null,
  events: readonly MachineEvent[],
): ExploredRun {
  const { steps, schedule } = loop;
  return {
    problem,
    unsupported,
    steps,
    slow: false,
    givenUp: false,
    schedule: () => formatSchedule(schedule),
    events,
    standing: () => standingTasks(kernel),
    thrown: null,
  };
}

function standingTasks({ tasks }: System['kernel']): StandingTask[] {
  return [...tasks.values()].flatMap((task) => {
    const point = task.pendingPoint();
    if (point === null) return [];
    return [{ task: task.name, operation: point.operation, object: point.object.name }];
  });
}

/** @param checks names of those that are on */
function problemOf(end: RunEnd, checks: readonly string[]): Problem | null {
  const plain = { rule: null, source: null, objects: [], task: null, waits: [] };
  switch (end.kind) {
    case 'assertion failed':
      return { ...plain, kind: 'assertion', name: end.name, text: end.text };
    case 'deadlock': {
      const { text, ...stuck } = nameOfStuck(end.waits, end.cycle);
      if (!checks.includes(stuck.name)) return null;
      const waits = end.text.split('\n').slice(1);
      return {
        ...plain,
        ...stuck,
        kind: 'deadlock',
        text: [text, ...waits].join('\n'),
        ...blockedOn(end.waits),
      };
    }
    case 'step bound':
      return { ...plain, kind: 'livelock', name: 'livelock', text: end.text };
    case 'thrown':
      return thrown(end.error);
    case 'finished':
    case 'check failed':
    case 'stopped':
    case 'interrupted':
    case 'unsupported':
      return null;
  }
}

function blockedOn(waits: readonly WaitReport[]): Pick<Problem, 'objects' | 'waits'> {
  const blocked = waits.filter((wait) => wait.blocked);
  return {
    objects: [...new Set(blocked.map(({ object }) => object))],
    waits: blocked.map(({ task, cpu, operation, object, holders }) => ({
      task,
      cpu,
      operation,
      object,
      holders: holders.map(({ name, mode }) => ({ name, mode })),
    })),
  };
}

function problemOfCheck({ check, text, objects, task }: CheckFinding): Problem {
  return { kind: 'check', name: check, text, ...ruleOf(check), objects, task, waits: [] };
}

function programError(error: InputError): Problem {
  const name = 'program error';
  return {
    kind: name,
    name,
    text: error.message,
    rule: null,
    source: null,
    objects: [],
    task: null,
    waits: [],
  };
}

function causeOf(error: unknown): Error | null {
  const cause = error instanceof TaskFailure ? error.cause : error;
  return cause instanceof Error ? cause : null;
}

function thrown(error: unknown): Problem {
  const cause = causeOf(error);
  return {
    kind: 'broken invariant',
    name: 'broken invariant',
    text: cause === null ? String(error) : cause.message,
    rule: 'The kernel never throws: what its code may rely on holds.',
    source: null,
    objects: [],
    task: error instanceof TaskFailure ? error.task : null,
    waits: [],
  };
}
