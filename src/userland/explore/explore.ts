/**
 * Runs a scenario under many schedules until something is wrong, nothing is left to try, or the bound is reached; makes
 * what it finds simple, and tells it with a schedule that gives the same run again in any process.
 */
import { InputError } from '../../base/input-error.ts';
import { ReplayPolicy } from '../../sched/policy/replay.ts';
import { VirtualTimePolicy } from '../../sched/policy/virtual-time.ts';
import { parseSchedule } from '../../sched/schedule-text.ts';
import { createSearch } from '../../sched/search/create-search.ts';
import type { Search } from '../../sched/search/search.ts';
import type { Scenario } from '../scenario.ts';
import { type ExploreConfig, type ExploreSettings, settleExploration } from './config.ts';
import { type ExploredRun, ExploredRuns } from './explored-runs.ts';
import { GuidedPolicy } from './guided-policy.ts';
import { type Problem, problemKey } from './problem.ts';
import { shrinkPlan } from './shrink.ts';
import { type TracedRun, traceRun } from './traced-run.ts';

export interface Finding extends Problem {
  /** The run that had it first, counted from 1; 0 is the one that gives every CPU the same time. */
  readonly run: number;
  /** Of the simplest run that was found to have it. */
  readonly schedule: string;
  readonly steps: number;
  /** Times that another task or CPU goes on than the one before, where the one before could have gone on itself. */
  readonly preemptions: number;
  readonly traced: TracedRun;
}

export interface ExploreProgress {
  readonly runs: number;
  readonly distinctStates: number;
  /** Steps of the longest run. */
  readonly deepest: number;
  readonly findings: number;
  /** What it is at. */
  readonly phase: 'searching' | 'shortening';
}

export interface ExploreResult {
  readonly title: string;
  readonly settings: ExploreSettings;
  readonly cpus: number;
  /** Why it ended: a finding, everything seen, the bound on runs, or its caller. */
  readonly ended: 'finding' | 'exhausted' | 'runs' | 'stopped' | 'unsupported';
  readonly runs: number;
  readonly distinctStates: number;
  readonly deepest: number;
  /** Runs whose tasks came to their ends only after the bound on steps, by turns. */
  readonly slow: number;
  /** What the scenario asks for and is not built. */
  readonly unsupported: string | null;
  readonly findings: readonly Finding[];
}

export type Exploration = Generator<ExploreProgress, ExploreResult, boolean | undefined>;

/**
 * Yields after every run; `next(true)` ends it there, with what was found so far.
 * @throws InputError when the scenario does not fit the configuration, or a program makes a mistake under any schedule
 */
export function* exploreScenario(scenario: Scenario, config: ExploreConfig): Exploration {
  const settings = settleExploration(config);
  const explorer = new Explorer(scenario, settings);
  const ended = yield* explorer.explore();
  return explorer.result(scenario.title, ended);
}

class Explorer {
  readonly #settings: ExploreSettings;
  readonly #runs: ExploredRuns;
  readonly #search: Search;
  readonly #findings = new Map<string, Finding>();
  #deepest = 0;
  #slow = 0;
  #unsupported: string | null = null;

  constructor(scenario: Scenario, settings: ExploreSettings) {
    this.#settings = settings;
    this.#runs = new ExploredRuns(scenario, settings.run, settings);
    const { policy, seed, preemptions, depth, reduction, shard } = settings;
    this.#search = createSearch({ policy, seed, preemptions, depth, reduction, shard });
  }

  *explore(): Generator<ExploreProgress, ExploreResult['ended'], boolean | undefined> {
    const { runs, keepGoing } = this.#settings;
    // What is wrong whatever the schedule needs no search, and a mistake of a program that shows here is no finding.
    const first = this.#runs.run(new VirtualTimePolicy());
    this.#runs.mistakesAreProblems = true;
    if (yield* this.#judge(first, 0)) return this.#unsupported === null ? 'finding' : 'unsupported';
    while (this.#search.progress.runs < runs) {
      const policy = this.#search.next();
      if (policy === null) return 'exhausted';
      const run = this.#runs.run(policy);
      this.#search.ended();
      const over = yield* this.#judge(run, this.#search.progress.runs);
      if (over && this.#unsupported !== null) return 'unsupported';
      if (over && !keepGoing) return 'finding';
      if (yield this.#progress('searching')) return 'stopped';
    }
    return 'runs';
  }

  result(title: string, ended: ExploreResult['ended']): ExploreResult {
    const { runs, distinctStates } = this.#search.progress;
    return {
      title,
      settings: this.#settings,
      cpus: this.#runs.settings.cpus,
      ended,
      runs,
      distinctStates,
      deepest: this.#deepest,
      slow: this.#slow,
      unsupported: this.#unsupported,
      findings: [...this.#findings.values()],
    };
  }

  /** Is there something new to tell? */
  *#judge(run: ExploredRun, number: number): Generator<ExploreProgress, boolean, boolean | undefined> {
    this.#deepest = Math.max(this.#deepest, run.steps);
    if (run.slow) this.#slow++;
    this.#unsupported = run.unsupported;
    if (run.unsupported !== null) return true;
    const { problem } = run;
    if (problem === null) return false;
    const key = problemKey(problem);
    if (this.#findings.has(key)) return false;
    this.#findings.set(key, yield* this.#finding(problem, run.schedule(), number));
    return true;
  }

  *#finding(
    problem: Problem,
    schedule: string,
    run: number,
  ): Generator<ExploreProgress, Finding, boolean | undefined> {
    const original = traceRun(this.#runs, new ReplayPolicy(parseSchedule(schedule)), 'replay');
    mustBeSame(original.problem, problem, schedule);
    const shrinking = shrinkPlan(this.#runs, problem, original.stretches, this.#settings.shrinkRuns);
    let step = shrinking.next();
    while (!step.done) step = shrinking.next(yield this.#progress('shortening'));
    const simple = traceRun(this.#runs, new GuidedPolicy(step.value), 'run');
    const same = simple.problem !== null && problemKey(simple.problem) === problemKey(problem);
    const traced = same ? simple : original;
    return {
      ...(traced.problem as Problem),
      run,
      schedule: traced.schedule(),
      steps: traced.steps,
      preemptions: traced.trace.filter(({ preempts }) => preempts).length,
      traced,
    };
  }

  #progress(phase: ExploreProgress['phase']): ExploreProgress {
    const { runs, distinctStates } = this.#search.progress;
    return { runs, distinctStates, deepest: this.#deepest, findings: this.#findings.size, phase };
  }
}

/** @throws InputError when the same schedule has given another run */
function mustBeSame(now: Problem | null, before: Problem, schedule: string): void {
  if (now !== null && problemKey(now) === problemKey(before)) return;
  throw new InputError('the same schedule gives another run: does the scenario keep state between runs?', {
    expected: `${before.kind} "${before.name}" with the schedule ${schedule.slice(0, 60)}…`,
    found: now === null ? 'nothing wrong' : `${now.kind} "${now.name}"`,
  });
}
