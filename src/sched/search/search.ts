/**
 * What a search over schedules is: it gives a policy for each run, is told when the run is over, and can be saved and
 * gone on with elsewhere. The same options give the same runs on any machine.
 */
import type { Policy } from '../policy/policy.ts';

export const SEARCH_POLICIES = ['auto', 'dfs', 'pct', 'random', 'stalling'] as const;
export type SearchPolicy = (typeof SEARCH_POLICIES)[number];

export interface SearchOptions {
  readonly policy: SearchPolicy;
  /** An integer of 32 bits. */
  readonly seed: number;
  /** Of `dfs`: most preemptions in a run; null: no bound. */
  readonly preemptions: number | null;
  /** Of `pct`: how many orderings a bug takes; at least 1. */
  readonly depth: number;
  /** Of `dfs`: leave out schedules that only swap steps that commute. */
  readonly reduction: boolean;
  /** The runs of all shards together are those of one search without shards, as long as nothing is learnt from runs. */
  readonly shard: { readonly index: number; readonly count: number };
}

export interface SearchProgress {
  /** Made to their ends. */
  readonly runs: number;
  /** Given up because other runs show the same. */
  readonly redundant: number;
  /**
   * States that were reached, where two that differ only in the order of steps that commute are one; estimated, about
   * 1 in 100 off when there are many.
   */
  readonly distinctStates: number;
  /** Choices of the longest run. */
  readonly depth: number;
}

/** Plain JSON. */
export interface SearchState {
  readonly version: 1;
  readonly options: SearchOptions;
  readonly progress: SearchProgress;
  /** Registers of the count of states, as hexadecimal text. */
  readonly states: string;
  /** Of the strategy. */
  readonly rest: unknown;
}

/** A way of choosing schedules. */
export interface Strategy {
  readonly name: string;
  /** The policy of the next run; null: everything has been tried. */
  next(): Policy | null;
  /** The run of the last policy is over. @returns false when it was given up and does not count */
  ended(): boolean;
  /** What `next` depends on beside the options, as plain JSON. */
  save(): unknown;
}

export interface Search {
  readonly name: string;
  readonly progress: SearchProgress;
  /** The policy of the next run; null: everything within the bounds has been tried. */
  next(): Policy | null;
  /** The run of the last policy is over. To be called before the next one is asked for. */
  ended(): void;
  /** Between runs: all that `createSearch` needs to go on. */
  save(): SearchState;
}
