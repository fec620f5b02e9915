/**
 * The default search: several kinds of schedule by turns, each run a function of the seed, its number and what earlier
 * runs have shown to be shared. No kind is good at everything: few changes of order at the right places find most races
 * of long runs, long stalls those whose window takes another task's whole call, fair choice those of many orderings.
 */
import type { Policy } from '../policy/policy.ts';
import { RandomPolicy } from '../policy/random.ts';
import { RoundRobinPolicy } from '../policy/round-robin.ts';
import { StallingPolicy } from '../policy/stalling.ts';
import { FewSwitchesPolicy } from './few-switches.ts';
import { Learning } from './learning.ts';
import { OneStallPolicy } from './one-stall.ts';
import { PctPolicy } from './pct.ts';
import type { SearchOptions, Strategy } from './search.ts';
import { runNumber, seedOfRun } from './seeded.ts';

/** Runs by turns; the first ones are also those that show what is shared. */
const TURNS: readonly ((seed: number, learning: Learning) => Policy)[] = [
  (seed) => new RandomPolicy(seed),
  (seed, learning) => new PctPolicy(seed, 1, learning),
  (seed) => new StallingPolicy(seed),
  (seed, learning) => new PctPolicy(seed, 2, learning),
  (seed, learning) => new OneStallPolicy(seed, learning),
  (seed, learning) => new PctPolicy(seed, 3, learning),
  (seed, learning) => new FewSwitchesPolicy(seed, learning.shared),
  (seed, learning) => new PctPolicy(seed, 2, learning),
  (seed, learning) => new OneStallPolicy(seed, learning),
  (seed, learning) => new PctPolicy(seed, 3, learning),
  (seed) => new StallingPolicy(seed),
  (seed, learning) => new PctPolicy(seed, 4, learning),
  (seed, learning) => new FewSwitchesPolicy(seed, learning.shared),
  (seed, learning) => new PctPolicy(seed, 2, learning),
];

export class AutoStrategy implements Strategy {
  readonly name = 'auto';
  readonly #options: SearchOptions;
  readonly #learning: Learning;

  /** @param saved what `save` gave */
  constructor(options: SearchOptions, saved: unknown) {
    this.#options = options;
    this.#learning = new Learning(saved);
  }

  next(): Policy {
    const number = runNumber(this.#options, this.#learning.runs);
    return this.#learning.begin(this.#policy(number, seedOfRun(this.#options, number)));
  }

  ended(): boolean {
    this.#learning.end();
    return true;
  }

  save(): unknown {
    return this.#learning.save();
  }

  #policy(number: number, seed: number): Policy {
    if (number === 0) return new RoundRobinPolicy();
    const turn = TURNS[number % TURNS.length] as (typeof TURNS)[number];
    return turn(seed, this.#learning);
  }
}
