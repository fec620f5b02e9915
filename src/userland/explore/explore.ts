/**
 * Runs a scenario under many schedules until something is wrong, nothing is left to try, or the bound is reached; makes
 * what it finds simple, and tells it with a schedule that gives the same run again in any process.
 */
import { InputError } from '../../base/input-error.ts';
import type { Policy } from '../../sched/policy/policy.ts';
import { ReplayPolicy } from '../../sched/policy/replay.ts';
import { StraightPolicy } from '../../sched/policy/straight.ts';
import { VirtualTimePolicy } from '../../sched/policy/virtual-time.ts';
import { parseSchedule, type Schedule } from '../../sched/schedule-text.ts';
import { createSearch } from '../../sched/search/create-search.ts';
import type { Search } from '../../sched/search/search.ts';
import { inFile } from '../run-config.ts';
import type { Scenario } from '../scenario.ts';
import { ScheduleMisfit } from '../scenario-outcome.ts';
import {
  CheckpointMisfit,
  checkCheckpoint,
  type ExploreCheckpoint,
  identityOf,
  makeCheckpoint,
} from './checkpoint.ts';
import { DEFAULT_STEPS, type ExploreConfig, type ExploreSettings, settleExploration } from './config.ts';
import { type ExploredRun, ExploredRuns } from './explored-runs.ts';
import { GuidedPolicy } from './guided-policy.ts';
import { PrefixedPolicy } from './prefixed-policy.ts';
import { type Problem, problemKey } from './problem.ts';
import { shrinkPlan } from './shrink.ts';
import { type TracedRun, traceRun, untraced } from './traced-run.ts';

export interface Finding extends Problem {
  /** The run that had it first, counted from 1, which is the one that gives every CPU the same time. */
  readonly run: number;
  /** Of the simplest run that was found to have it. */
  readonly schedule: string;
  readonly steps: number;
  /** Times that another task or CPU goes on than the one before, where the one before could have gone on itself. */
  readonly preemptions: number;
  /** Without steps where it could not be made again. */
  readonly traced: TracedRun;
  /** Why it is not told in its simplest form, or not at all; null as a rule. */
  readonly remark: string | null;
}

export interface ExploreProgress {
  readonly runs: number;
  readonly distinctStates: number;
  /** Steps of the longest run. */
  readonly deepest: number;
  readonly findings: number;
  /** What it is at. */
  readonly phase: 'searching' | 'shortening';
  /** All that `ExploreConfig.resume` needs to go on from here. To be called before the generator is resumed. */
  readonly save: () => ExploreCheckpoint;
}

export interface ExploreResult {
  readonly title: string;
  readonly settings: ExploreSettings;
  readonly cpus: number;
  /** Why it ended: a finding, everything seen, the bound on runs, its caller; or only a schedule was replayed. */
  readonly ended: 'finding' | 'exhausted' | 'runs' | 'stopped' | 'replayed' | 'unsupported';
  /** Runs made to their ends. */
  readonly runs: number;
  /** Runs given up because others show the same. */
  readonly redundant: number;
  readonly distinctStates: number;
  readonly deepest: number;
  /** Runs whose tasks came to their ends only after the bound on steps, by turns. */
  readonly slow: number;
  /** What the scenario asks for and is not built. */
  readonly unsupported: string | null;
  readonly findings: readonly Finding[];
  /** Names of the checks that watched, and of those that did not. */
  readonly checks: { readonly on: readonly string[]; readonly off: readonly string[] };
  /** The run that was asked for, where a schedule was replayed and nothing is wrong with it. */
  readonly replayed: TracedRun | null;
  readonly save: () => ExploreCheckpoint;
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

type Ending = Generator<ExploreProgress, ExploreResult['ended'], boolean | undefined>;

class Explorer {
  readonly #settings: ExploreSettings;
  readonly #place: { readonly file?: string };
  readonly #runs: ExploredRuns;
  readonly #search: Search;
  readonly #findings = new Map<string, Finding>();
  #deepest = 0;
  #slow = 0;
  #unsupported: string | null = null;
  /** 1 when the first run, before those of the search, was made. */
  #first = 0;
  readonly #prefix: Schedule | null;
  readonly #identity: ExploreCheckpoint['of'];
  readonly #before: ExploreCheckpoint | null;
  #replayed: TracedRun | null = null;

  constructor(scenario: Scenario, settings: ExploreSettings) {
    this.#settings = settings;
    this.#place = inFile(scenario);
    this.#runs = new ExploredRuns(scenario, settings.run, settings);
    this.#prefix = settings.schedule === null ? null : parseSchedule(settings.schedule);
    const { policy, seed, preemptions, depth, reduction, shard } = settings;
    this.#identity = identityOf(scenario, settings);
    this.#before =
      settings.resume === null ? null : checkCheckpoint(settings.resume, this.#identity, settings);
    this.#first = this.#before === null ? 0 : 1;
    this.#deepest = this.#before?.deepest ?? 0;
    this.#slow = this.#before?.slow ?? 0;
    this.#search = createSearch({ policy, seed, preemptions, depth, reduction, shard }, this.#before?.search);
  }

  *explore(): Ending {
    const { keepGoing, replays } = this.#settings;
    if (replays) return this.#replay();
    yield* this.#resume();
    if (this.#findings.size > 0 && !keepGoing) return 'finding';
    // What is wrong whatever the schedule needs no search, and a mistake of a program that shows here is no finding.
    const first = this.#runs.run(this.#prefixed(new VirtualTimePolicy()));
    this.#first = 1;
    this.#runs.mistakesAreProblems = true;
    if (first.slow) this.#mustFit();
    return (yield* this.#judge(first)) ?? (yield* this.#searchOn());
  }

  *#searchOn(): Ending {
    while (this.#made < this.#settings.runs) {
      const policy = this.#search.next();
      if (policy === null) return 'exhausted';
      const run = this.#searched(policy);
      this.#search.ended();
      const ended = yield* this.#judge(run);
      if (ended !== null) return ended;
      if (yield this.#progress('searching')) return 'stopped';
    }
    return 'runs';
  }

  /** Runs made to their ends: the first one, and those of the search. */
  get #made(): number {
    return this.#first + this.#search.progress.runs;
  }

  /** @throws InputError when the search has met another run than it had before, under the same choices */
  #searched(policy: Policy): ExploredRun {
    try {
      return this.#runs.run(this.#prefixed(policy));
    } catch (error) {
      if (error instanceof ScheduleMisfit && this.#prefix === null) throw this.#notRepeated(error.reason);
      throw error;
    }
  }

  /** @throws InputError when the bound on steps is below what the first run takes */
  #mustFit(): void {
    const { maxSteps } = this.#settings;
    if (maxSteps >= DEFAULT_STEPS) return;
    const steps = this.#runs.length(this.#prefixed(new VirtualTimePolicy()), DEFAULT_STEPS);
    if (steps === null || steps <= maxSteps) return;
    throw new InputError('the bound on steps is below the length of the first run', {
      expected: `at least ${steps} steps`,
      found: String(maxSteps),
      ...this.#place,
    });
  }

  /**
   * Makes a run again, now and then, from its schedule. What is found elsewhere is told all the same.
   * @throws InputError when that is another run
   */
  #mustRepeat(run: ExploredRun): void {
    const made = this.#made;
    const isPowerOfTwo = Math.log2(made) % 1 === 0;
    if (!isPowerOfTwo || run.slow || run.givenUp || this.#findings.size > 0) return;
    const schedule = run.schedule();
    const again = outcomeOf(() => this.#runs.replay(new ReplayPolicy(parseSchedule(schedule))));
    if (again instanceof Error) throw this.#notRepeated(reasonOf(again));
    if (again.steps === run.steps && again.schedule() === schedule && again.problem === null) return;
    throw this.#notRepeated(`${run.steps} steps, then ${again.steps}`);
  }

  /** What was found before the checkpoint is shown again. */
  *#resume(): Generator<ExploreProgress, void, boolean | undefined> {
    for (const { run, schedule, key } of this.#before?.findings ?? []) {
      const traced = traceRun(this.#runs, new ReplayPolicy(parseSchedule(schedule)));
      if (traced.problem === null || problemKey(traced.problem) !== key) {
        const now = traced.problem === null ? 'nothing wrong' : problemKey(traced.problem);
        throw new CheckpointMisfit(
          `the checkpoint is of another version of the scenario or of tablewalk: ${key} in the file, ${now} here`,
        );
      }
      this.#findings.set(key, finding(traced.problem, traced, run));
      yield this.#progress('shortening');
    }
  }

  #save(): ExploreCheckpoint {
    const findings = [...this.#findings].map(([key, { run, schedule }]) => ({ run, schedule, key }));
    const search = this.#search.save();
    return makeCheckpoint(this.#identity, { search, deepest: this.#deepest, slow: this.#slow, findings });
  }

  #prefixed(policy: Policy): Policy {
    return this.#prefix === null ? policy : new PrefixedPolicy(this.#prefix, policy);
  }

  #replay(): ExploreResult['ended'] {
    const policy = new ReplayPolicy(this.#prefix as Schedule, new StraightPolicy());
    this.#runs.mistakesAreProblems = true;
    const traced = traceRun(this.#runs, policy);
    this.#deepest = traced.steps;
    this.#slow = traced.slow ? 1 : 0;
    this.#unsupported = traced.unsupported;
    if (traced.unsupported !== null) return 'unsupported';
    if (traced.problem === null) this.#replayed = traced;
    else this.#findings.set('', finding(traced.problem, traced, 0));
    return 'replayed';
  }

  result(title: string, ended: ExploreResult['ended']): ExploreResult {
    const { redundant, distinctStates } = this.#search.progress;
    return {
      title,
      settings: this.#settings,
      cpus: this.#runs.settings.cpus,
      ended,
      runs: this.#made,
      redundant,
      distinctStates,
      deepest: this.#deepest,
      slow: this.#slow,
      unsupported: this.#unsupported,
      findings: [...this.#findings.values()],
      checks: { on: this.#runs.checks, off: this.#settings.checksOff },
      replayed: this.#replayed,
      save: () => this.#save(),
    };
  }

  /** What the run means for the exploration: why it ends, or null when it does not. */
  *#judge(run: ExploredRun): Generator<ExploreProgress, ExploreResult['ended'] | null, boolean | undefined> {
    this.#deepest = Math.max(this.#deepest, run.steps);
    if (run.slow) this.#slow++;
    this.#unsupported = run.unsupported;
    if (run.unsupported !== null) return 'unsupported';
    const { problem } = run;
    if (problem === null) {
      this.#mustRepeat(run);
      return null;
    }
    const key = problemKey(problem);
    if (!this.#findings.has(key)) {
      this.#findings.set(key, yield* this.#finding(problem, run, this.#made));
    }
    return this.#settings.keepGoing ? null : 'finding';
  }

  *#finding(
    problem: Problem,
    found: ExploredRun,
    run: number,
  ): Generator<ExploreProgress, Finding, boolean | undefined> {
    const original = this.#again(found.schedule(), problem);
    if (typeof original === 'string') return { ...finding(problem, untraced(found), run), remark: original };
    try {
      const simple = yield* this.#shortened(problem, original);
      return finding(problem, simple, run);
    } catch (error) {
      // A finding is a finding, whatever goes wrong in making it simple.
      const why = error instanceof Error ? error.message : String(error);
      return { ...finding(problem, original, run), remark: `it could not be made simpler: ${why}` };
    }
  }

  *#shortened(
    problem: Problem,
    original: TracedRun,
  ): Generator<ExploreProgress, TracedRun, boolean | undefined> {
    const shrinking = shrinkPlan(this.#runs, problem, original.stretches, this.#settings.shrinkRuns);
    let step = shrinking.next();
    while (!step.done) step = shrinking.next(yield this.#progress('shortening'));
    const simple = this.#again(this.#runs.run(new GuidedPolicy(step.value)).schedule(), problem);
    return typeof simple === 'string' ? original : simple;
  }

  #notRepeated(difference: string): InputError {
    return new InputError(notRepeated(difference), this.#place);
  }

  /** The run of a schedule, with the same problem; or, in words, that it is another one. */
  #again(schedule: string, problem: Problem): TracedRun | string {
    const again = outcomeOf(() => traceRun(this.#runs, new ReplayPolicy(parseSchedule(schedule))));
    if (again instanceof Error) return notRepeated(reasonOf(again));
    const now = again.problem === null ? 'nothing wrong' : problemKey(again.problem);
    return now === problemKey(problem) ? again : notRepeated(`${problemKey(problem)}, then ${now}`);
  }

  #progress(phase: ExploreProgress['phase']): ExploreProgress {
    const { distinctStates } = this.#search.progress;
    return {
      runs: this.#made,
      distinctStates,
      deepest: this.#deepest,
      findings: this.#findings.size,
      phase,
      save: () => this.#save(),
    };
  }
}

function finding(problem: Problem, traced: TracedRun, run: number): Finding {
  return {
    ...(traced.problem ?? problem),
    run,
    schedule: traced.schedule(),
    steps: traced.steps,
    preemptions: traced.trace.filter(({ preempts }) => preempts).length,
    traced,
    remark: null,
  };
}

/** The value, or the error that was thrown on the way. */
function outcomeOf<T>(run: () => T): T | Error {
  try {
    return run();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Runs are functions of their schedules, unless programs remember something of the run before. */
const notRepeated = (difference: string): string =>
  `the same schedule gives another run: does a program use a variable from outside of it? (${difference})`;

const reasonOf = (error: Error): string => (error instanceof InputError ? error.reason : error.message);
