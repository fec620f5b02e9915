/**
 * Any candidate, but now and then one CPU does nothing for a long while, as a virtual CPU that the host does not run: what
 * a task does between two of its steps may then be as much as others can do at all. A fair choice at each step hardly
 * ever gives more than a few steps in a row. What the hardware does goes on meanwhile. A function of the seed.
 */
import { SeededRandom } from '../../base/random.ts';
import { hardwareShare } from './hardware-share.ts';
import { type Candidate, type Policy, withoutHardware } from './policy.ts';

/** One choice in so many begins a stall. */
const CHOICES_PER_STALL = 30;
/** Of each run, drawn from its seed: short stalls let others into what is short, long ones into what is long. */
const LONGEST_STALLS = [150, 250, 1000, 3000];

export class StallingPolicy implements Policy {
  readonly name = 'stalling';
  readonly #random: SeededRandom;
  readonly #longest: number;
  #cpu = -1;
  #left = 0;

  /**
   * @param longest choices that a stall may last; default: drawn from the seed
   * @throws RangeError when the seed is not an integer of 32 bits
   */
  constructor(seed: number, longest?: number) {
    this.#random = new SeededRandom(seed);
    this.#longest = longest ?? (LONGEST_STALLS[this.#random.below(LONGEST_STALLS.length)] as number);
  }

  choose(candidates: readonly Candidate[], offered: number): number {
    const count = withoutHardware(candidates, offered);
    const hardware = hardwareShare(this.#random, count, offered);
    if (hardware >= 0) return hardware;
    if (this.#left-- <= 0 && this.#random.below(CHOICES_PER_STALL) === 0) {
      this.#cpu = (candidates[this.#random.below(count)] as Candidate).cpu;
      this.#left = this.#random.below(this.#longest);
    }
    const others = this.#left <= 0 ? 0 : this.#onOtherCpus(candidates, count);
    return others === 0 ? this.#random.below(count) : this.#otherAt(candidates, this.#random.below(others));
  }

  #onOtherCpus(candidates: readonly Candidate[], count: number): number {
    let others = 0;
    for (let at = 0; at < count; at++) if ((candidates[at] as Candidate).cpu !== this.#cpu) others++;
    return others;
  }

  /** Index of candidate number `wanted` among those of other CPUs. */
  #otherAt(candidates: readonly Candidate[], wanted: number): number {
    let at = 0;
    for (let left = wanted; left > 0 || (candidates[at] as Candidate).cpu === this.#cpu; at++) {
      if ((candidates[at] as Candidate).cpu !== this.#cpu) left--;
    }
    return at;
  }
}
