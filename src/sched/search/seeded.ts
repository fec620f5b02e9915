/** Searches whose runs have nothing to do with each other: each is a function of the seed and its number. */
import { mix } from '../../base/footprint.ts';
import type { Policy } from '../policy/policy.ts';
import type { SearchOptions, Strategy } from './search.ts';

/** What makes the policy of run `number`, counted from 0 over all shards, whose own seed is `seed`. */
export type PolicyOfRun = (number: number, seed: number) => Policy;

/** The number of a shard's run `index` among the runs of all shards. */
export const runNumber = ({ shard }: SearchOptions, index: number): number =>
  index * shard.count + shard.index;

/** The seed of run `number`: an int32. */
export const seedOfRun = ({ seed }: SearchOptions, number: number): number =>
  mix(mix(seed ^ 0x6a09_e667) ^ Math.imul(number + 1, 0x9e37_79b1));

export class SeededStrategy implements Strategy {
  readonly name: string;
  readonly #options: SearchOptions;
  readonly #policyOf: PolicyOfRun;
  #made: number;

  /** @param saved what `save` gave, to go on from there */
  constructor(name: string, options: SearchOptions, policyOf: PolicyOfRun, saved?: unknown) {
    this.name = name;
    this.#options = options;
    this.#policyOf = policyOf;
    this.#made = typeof saved === 'number' ? saved : 0;
  }

  next(): Policy {
    const number = runNumber(this.#options, this.#made);
    return this.#policyOf(number, seedOfRun(this.#options, number));
  }

  ended(): boolean {
    this.#made++;
    return true;
  }

  save(): unknown {
    return this.#made;
  }
}
