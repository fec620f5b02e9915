/** Makes a search: the strategy that its options name, with the count of what it has seen. */
import { InputError } from '../../base/input-error.ts';
import type { Policy } from '../policy/policy.ts';
import { RandomPolicy } from '../policy/random.ts';
import { StallingPolicy } from '../policy/stalling.ts';
import { AutoStrategy } from './auto.ts';
import { CountingPolicy } from './counting-policy.ts';
import { DepthFirst } from './depth-first.ts';
import { PctStrategy } from './pct.ts';
import type { Search, SearchOptions, SearchProgress, SearchState, Strategy } from './search.ts';
import { SeededStrategy } from './seeded.ts';
import { StateCounter } from './state-hash.ts';

/**
 * @param state what `save` of a search with the same options gave: goes on where that one was
 * @throws InputError when the state is of other options
 */
export function createSearch(options: SearchOptions, state?: SearchState): Search {
  if (state !== undefined) checkState(options, state);
  const search = new CountedSearch(options, createStrategy(options, state?.rest));
  if (state !== undefined) search.restore(state);
  return search;
}

function createStrategy(options: SearchOptions, saved: unknown): Strategy {
  switch (options.policy) {
    case 'auto':
      return new AutoStrategy(options, saved);
    case 'dfs':
      return new DepthFirst(options, saved);
    case 'pct':
      return new PctStrategy(options, saved);
    case 'random':
      return new SeededStrategy('random', options, (_, seed) => new RandomPolicy(seed), saved);
    case 'stalling':
      return new SeededStrategy('stalling', options, (_, seed) => new StallingPolicy(seed), saved);
  }
}

function checkState(options: SearchOptions, state: SearchState): void {
  const known = state.version === 1;
  if (known && JSON.stringify(ordered(state.options)) === JSON.stringify(ordered(options))) return;
  throw new InputError('this search cannot go on from there', {
    expected: `a search with ${JSON.stringify(ordered(options))}`,
    found: known ? JSON.stringify(ordered(state.options)) : `version ${state.version}`,
  });
}

function ordered(options: SearchOptions): SearchOptions {
  const { policy, seed, preemptions, depth, reduction, shard } = options;
  return { policy, seed, preemptions, depth, reduction, shard: { index: shard.index, count: shard.count } };
}

class CountedSearch implements Search {
  readonly #options: SearchOptions;
  readonly #strategy: Strategy;
  readonly #states = new StateCounter();
  #policy: CountingPolicy | null = null;
  #runs = 0;
  #redundant = 0;
  #depth = 0;

  constructor(options: SearchOptions, strategy: Strategy) {
    this.#options = ordered(options);
    this.#strategy = strategy;
  }

  get name(): string {
    return this.#strategy.name;
  }

  get progress(): SearchProgress {
    return {
      runs: this.#runs,
      redundant: this.#redundant,
      distinctStates: this.#states.count,
      depth: this.#depth,
    };
  }

  next(): Policy | null {
    const policy = this.#strategy.next();
    if (policy === null) return null;
    this.#policy ??= new CountingPolicy(policy, this.#states);
    this.#policy.begin(policy);
    return this.#policy;
  }

  ended(): void {
    const policy = this.#policy;
    if (policy === null) throw new Error('no run of this search has begun');
    policy.end();
    if (this.#strategy.ended()) this.#runs++;
    else this.#redundant++;
    if (policy.choices > this.#depth) this.#depth = policy.choices;
  }

  save(): SearchState {
    const options = this.#options;
    return {
      version: 1,
      options,
      progress: this.progress,
      states: this.#states.save(),
      rest: this.#strategy.save(),
    };
  }

  restore({ progress, states }: SearchState): void {
    this.#runs = progress.runs;
    this.#redundant = progress.redundant;
    this.#depth = progress.depth;
    this.#states.restore(states);
  }
}
