/**
 * The runs of an exploration: one scenario again and again, watched by the checks, each run told as what is wrong with
 * it. A run that reaches its bound on steps is made again and goes on with all tasks by turns: a search may starve a
 * task that others wait for, and that alone is nothing wrong.
 */
import { InputError } from '../../base/input-error.ts';
import type { CheckFinding } from '../../check/races/check.ts';
import { CHECK_NAMES } from '../../check/races/registry.ts';
import { nameOfStuck } from '../../check/races/stuck.ts';
import type { MachineEvent } from '../../hardware/event-sink.ts';
import type { Policy } from '../../sched/policy/policy.ts';
import { RandomPolicy } from '../../sched/policy/random.ts';
import { ReplayPolicy } from '../../sched/policy/replay.ts';
import { TaskFailure, type WaitReport } from '../../sched/run-result.ts';
import { formatSchedule, parseSchedule } from '../../sched/schedule-text.ts';
import type { RunConfig, Settings } from '../run-config.ts';
import type { Scenario } from '../scenario.ts';
import type { RunEnd } from '../scenario-outcome.ts';
import { type ExitManner, ScenarioRunner } from '../scenario-runner.ts';
import type { System } from '../system.ts';
import { checkedNames, ruleOf, WatchingChecks } from '../watching-checks.ts';
import { ObservedPolicy } from './observed-policy.ts';
import type { Problem } from './problem.ts';

export interface ExploredRun {
  /** Null: nothing is wrong. */
  readonly problem: Problem | null;
  /** What the scenario asks for and is not built; null as a rule. */
  readonly unsupported: string | null;
  readonly steps: number;
  /** Its tasks were at their ends only after the bound on steps. */
  readonly slow: boolean;
  /** Made when it is asked for: replaying it gives the same run. */
  readonly schedule: () => string;
  /** Those that were asked for. */
  readonly events: readonly MachineEvent[];
}

export interface ExploredRunsOptions {
  readonly maxSteps: number;
  readonly checksOff: readonly string[];
}

export class ExploredRuns {
  readonly #runner: ScenarioRunner;
  readonly #maxSteps: number;
  readonly #checks: WatchingChecks;
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
   * What a schedule gives, whoever recorded it; past its end `after` goes on.
   * @throws InputError for a schedule that does not fit
   */
  replay(policy: ObservedPolicy, keepEvents?: number): ExploredRun {
    return this.#twice(policy, { exit: 'chosen', keepEvents });
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
      const problem = found === null ? problemOf(end) : problemOfCheck(found);
      return { run: exploredRun(system, problem, unsupported, counter.events), end: end.kind };
    } catch (error) {
      if (system === null || !this.#isProblem(error, policy)) throw error;
      return { run: exploredRun(system, programError(error as InputError), null, []), end: 'thrown' };
    }
  }

  #isProblem(error: unknown, policy: Policy): boolean {
    const impossible = policy instanceof ObservedPolicy && policy.impossible;
    return error instanceof InputError && this.mistakesAreProblems && !impossible;
  }
}

interface Options {
  readonly exit: ExitManner;
  readonly keepEvents: number | undefined;
}

function exploredRun(
  { loop }: System,
  problem: Problem | null,
  unsupported: string | null,
  events: readonly MachineEvent[],
): ExploredRun {
  const { steps, schedule } = loop;
  return { problem, unsupported, steps, slow: false, schedule: () => formatSchedule(schedule), events };
}

function problemOf(end: RunEnd): Problem | null {
  const plain = { rule: null, source: null, objects: [], task: null, waits: [] };
  switch (end.kind) {
    case 'assertion failed':
      return { ...plain, kind: 'assertion', name: end.name, text: end.text };
    case 'deadlock': {
      const { text, ...stuck } = nameOfStuck(end.waits, end.cycle);
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

function thrown(error: unknown): Problem {
  const cause = error instanceof TaskFailure ? error.cause : error;
  return {
    kind: 'broken invariant',
    name: 'broken invariant',
    text: cause instanceof Error ? cause.message : String(cause),
    rule: 'The kernel never throws: what its code may rely on holds.',
    source: null,
    objects: [],
    task: error instanceof TaskFailure ? error.task : null,
    waits: [],
  };
}
