/** Any candidate, each as likely as the others, as a function of the seed. */
import { SeededRandom } from '../../base/random.ts';
import type { Candidate, Policy } from './policy.ts';

export class RandomPolicy implements Policy {
  readonly name = 'random';
  readonly #random: SeededRandom;

  /** @throws RangeError when the seed is not an integer of 32 bits */
  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  choose(_candidates: readonly Candidate[], count: number): number {
    return this.#random.below(count);
  }
}
