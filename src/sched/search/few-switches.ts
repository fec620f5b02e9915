/**
 * At random, but whoever goes on stays on: most choices are no choice, and the mean length of a stretch is drawn for each
 * run. Between a fair choice at each step, which hardly ever lets anybody get far ahead, and one stall in the whole run.
 */
import { SeededRandom } from '../../base/random.ts';
import { hardwareShare } from '../policy/hardware-share.ts';
import {
  type Candidate,
  isHardwareCode,
  type Policy,
  type RunView,
  withoutHardware,
} from '../policy/policy.ts';
import type { SharedPoints } from './shared-points.ts';

/** Shared choices between two switches, on average. */
const STRETCHES = [2, 4, 8, 16];
/** How much rarer a switch is before a step that is not known to touch what is shared. */
const RARER = 8;

export class FewSwitchesPolicy implements Policy {
  readonly name = 'few-switches';
  readonly #random: SeededRandom;
  readonly #shared: SharedPoints;
  readonly #stretch: number;
  /** Of the step before what the hardware did. */
  #last: number | null = null;

  /** @param seed of this run */
  constructor(seed: number, shared: SharedPoints) {
    this.#random = new SeededRandom(seed);
    this.#shared = shared;
    this.#stretch = this.#random.pick(STRETCHES);
  }

  choose(candidates: readonly Candidate[], offered: number, { lastCode }: RunView): number {
    const count = withoutHardware(candidates, offered);
    if (count === 0) return 0;
    if (lastCode !== null && !isHardwareCode(lastCode)) this.#last = lastCode;
    const hardware = hardwareShare(this.#random, count, offered);
    if (hardware >= 0) return hardware;
    let current = -1;
    for (let index = 0; index < count; index++) {
      if ((candidates[index] as Candidate).code === this.#last) current = index;
    }
    if (current < 0) return this.#random.below(count);
    const shared = this.#shared.size === 0 || this.#shared.has((candidates[current] as Candidate).point);
    const stretch = shared ? this.#stretch : RARER * this.#stretch;
    return this.#random.oneIn(stretch) ? this.#random.below(count) : current;
  }
}
