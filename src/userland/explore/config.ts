/** What an exploration may be told: which search, how far, which hardware choices, which checks. */
import { InputError } from '../../base/input-error.ts';
import { fillOf } from '../../sched/policy/policy.ts';
import { parseSchedule } from '../../sched/schedule-text.ts';
import { SEARCH_POLICIES, type SearchOptions, type SearchPolicy } from '../../sched/search/search.ts';
import type { RunConfig } from '../run-config.ts';

interface ExploreOptions {
  /** Default: `auto`, several searches by turns. */
  readonly policy?: SearchPolicy;
  /** Default 1. The same seed gives the same runs on any machine. */
  readonly seed?: number;
  /** Most runs; default none: the search ends when it has seen everything, or its caller ends it. */
  readonly runs?: number;
  /** Preemptions in a run, at most: of `dfs`; null: any number. Default 2. */
  readonly preemptions?: number | null;
  /** Depth of `pct`: the number of places that have to be in a certain order for the bug; default 3. */
  readonly depth?: number;
  /** Partial-order reduction of `dfs`; default true. */
  readonly reduction?: boolean;
  /** One of `count` parts of the search, by its index from 0. */
  readonly shard?: SearchOptions['shard'];
  /** Steps of one run after which the tasks must come to their end by turns; default 100,000. */
  readonly maxSteps?: number;
  /**
   * Choices that every run begins with. Where `policy` is given it searches among what can come after; else one run is
   * made, and goes on past the end of the schedule with as few context switches as there can be.
   */
  readonly schedule?: string;
  /** Checks that are off, by name; default none. */
  readonly checksOff?: readonly string[];
  /** Goes on after a finding and collects those that differ; default false. */
  readonly keepGoing?: boolean;
  /** Goes on where another exploration with the same scenario and configuration was: what its `save` gave. */
  readonly resume?: unknown;
  /** Text of the scenario's file: a checkpoint of an exploration that had another one does not fit. */
  readonly source?: string;
  /** Runs that the shortening of one finding's schedule may take; default 2000. */
  readonly shrinkRuns?: number;
}

/** What is given to an exploration beside the configuration of its runs. */
export interface ExploreConfig
  extends Omit<RunConfig, 'policy' | 'schedule' | 'atEnd' | 'maxEvents' | 'seed' | 'maxSteps'>,
    ExploreOptions {}

export interface ExploreSettings extends Required<Omit<ExploreOptions, 'runs' | 'schedule' | 'resume'>> {
  readonly runs: number;
  readonly resume: unknown;
  readonly schedule: string | null;
  /** One run, of `schedule`. */
  readonly replays: boolean;
  /** What every run is made with. */
  readonly run: RunConfig;
}

/** Steps of one run, unless it is told otherwise. */
export const DEFAULT_STEPS = 100_000;

const DEFAULTS: Required<Omit<ExploreOptions, 'runs' | 'schedule' | 'resume'>> = {
  policy: 'auto',
  seed: 1,
  preemptions: 2,
  depth: 3,
  reduction: true,
  shard: { index: 0, count: 1 },
  maxSteps: DEFAULT_STEPS,
  checksOff: [],
  keepGoing: false,
  source: '',
  shrinkRuns: 2000,
};

/** @throws InputError for a policy or shard that is not there */
export function settleExploration(config: ExploreConfig): ExploreSettings {
  const { policy, seed, runs, preemptions, depth, reduction, shard, ...rest } = config;
  const { schedule, resume, maxSteps, checksOff, keepGoing, source, shrinkRuns, ...run } = rest;
  const given = {
    policy,
    seed,
    preemptions,
    depth,
    reduction,
    shard,
    maxSteps,
    checksOff,
    keepGoing,
    source,
    shrinkRuns,
  };
  const settings: ExploreSettings = {
    ...DEFAULTS,
    ...withoutUndefined(given),
    runs: runs ?? Number.POSITIVE_INFINITY,
    schedule: schedule ?? null,
    resume: resume ?? null,
    replays: schedule !== undefined && policy === undefined,
    run: withFills({ ...run, seed: seed ?? DEFAULTS.seed }, schedule),
  };
  check(settings);
  return settings;
}

function check({ policy, shard }: ExploreSettings): void {
  if (!SEARCH_POLICIES.includes(policy)) {
    throw new InputError('the search is not known', { expected: SEARCH_POLICIES.join(', '), found: policy });
  }
  const { index, count } = shard;
  if (!Number.isInteger(count) || count < 1 || !Number.isInteger(index) || index < 0 || index >= count) {
    throw new InputError('there is no such shard', {
      expected: 'an index from 0 to count - 1',
      found: `${index} of ${count}`,
    });
  }
}

/** A schedule with fills needs a machine that offers them. Each run has a policy of its own: this is one that may choose them. */
function withFills(run: RunConfig, schedule: string | undefined): RunConfig {
  const fills = schedule !== undefined && parseSchedule(schedule).codes.some((code) => fillOf(code) !== null);
  return fills || run.speculation === true ? { ...run, speculation: true, policy: 'random' } : run;
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

function withoutUndefined<T extends object>(values: T): Partial<Defined<T>> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<
    Defined<T>
  >;
}
