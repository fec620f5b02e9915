/**
 * Any candidate, but now and then one CPU does nothing for a long while, as a virtual CPU that the host does not run: what
 * a task does between two of its steps may then be as much as others can do at all. A fair choice at each step hardly
 * ever gives more than a few steps in a row.
 */
import { SeededRandom } from '../../src/base/random.ts';
import type { Candidate, Policy } from '../../src/sched/policy/policy.ts';

/** One choice in so many begins a stall. */
const CHOICES_PER_STALL = 30;
const LONGEST_STALL = 250;

export class StallingPolicy implements Policy {
  readonly name = 'stalling';
  readonly #random: SeededRandom;
  readonly #longest: number;
  #cpu = -1;
  #left = 0;

  /** @param longest choices that a stall may last */
  constructor(seed: number, longest = LONGEST_STALL) {
    this.#random = new SeededRandom(seed);
    this.#longest = longest;
  }

  choose(candidates: readonly Candidate[], count: number): number {
    if (this.#left-- <= 0 && this.#random.below(CHOICES_PER_STALL) === 0) {
      this.#cpu = (candidates[this.#random.below(count)] as Candidate).cpu;
      this.#left = this.#random.below(this.#longest);
    }
    const others: number[] = [];
    for (let at = 0; at < count; at++) {
      if (this.#left <= 0 || (candidates[at] as Candidate).cpu !== this.#cpu) others.push(at);
    }
    return others.length === 0
      ? this.#random.below(count)
      : (others[this.#random.below(others.length)] as number);
  }
}
