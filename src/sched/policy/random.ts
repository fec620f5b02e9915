/**
 * Any candidate, each as likely as the others, as a function of the seed. Speculative fills, where the run has them, get
 * one choice in sixteen together, so that tasks still get on.
 */
import { SeededRandom } from '../../base/random.ts';
import { type Candidate, type Policy, withoutHardware } from './policy.ts';

const CHOICES_PER_FILL = 16;

export class RandomPolicy implements Policy {
  readonly name = 'random';
  readonly #random: SeededRandom;

  /** @throws RangeError when the seed is not an integer of 32 bits */
  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  choose(candidates: readonly Candidate[], count: number): number {
    const others = withoutHardware(candidates, count);
    if (others === count) return this.#random.below(count);
    if (this.#random.below(CHOICES_PER_FILL) > 0) return this.#random.below(others);
    return others + this.#random.below(count - others);
  }
}
