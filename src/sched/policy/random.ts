/**
 * Any candidate, each as likely as the others, as a function of the seed. Speculative fills, where the run has them, get
 * one choice in sixteen together with whatever else happens beside steps, so that tasks still get on.
 */
import { SeededRandom } from '../../base/random.ts';
import { hardwareShare } from './hardware-share.ts';
import { type Candidate, type Policy, withoutHardware } from './policy.ts';

export class RandomPolicy implements Policy {
  readonly name = 'random';
  readonly #random: SeededRandom;

  /** @throws RangeError when the seed is not an integer of 32 bits */
  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  choose(candidates: readonly Candidate[], count: number): number {
    const others = withoutHardware(candidates, count);
    const hardware = hardwareShare(this.#random, others, count);
    return hardware < 0 ? this.#random.below(others) : hardware;
  }
}
