/**
 * One CPU does nothing for a long while, from a point on that is shared: as a virtual CPU that its host takes off at the
 * worst moment, its interrupts with it. The others go on by priority or by turns, until nobody else can, or for as long as
 * the run drew. Of all simple schedules the one most races of real kernels were found by.
 */
import { mix } from '../../base/footprint.ts';
import { SeededRandom } from '../../base/random.ts';
import { hardwareShare } from '../policy/hardware-share.ts';
import { type Candidate, type Policy, withoutHardware } from '../policy/policy.ts';
import type { RunShape } from './pct.ts';
import type { SharedPoints } from './shared-points.ts';

/** Choices that a stall lasts at most, drawn by run: into what is short, and for good. */
const LONGEST = [40, 200, 1000, Number.POSITIVE_INFINITY];
/** Choices in a row that one actor may have while others could go on. */
const PATIENCE = 500;

export class OneStallPolicy implements Policy {
  readonly name = 'one-stall';
  readonly #random: SeededRandom;
  readonly #shared: SharedPoints;
  /** Otherwise by priority: whoever goes on goes on as long as it can. */
  readonly #byTurns: boolean;
  /** The shared choice, or choice, at which it begins. */
  readonly #begin: number;
  readonly #anywhere: boolean;
  readonly #longest: number;
  readonly #salt: number;
  #stalled = -1;
  #left = 0;
  #seen = 0;
  #last = 0;
  #inARow = 0;

  /** @param seed of this run */
  constructor(seed: number, shape: RunShape) {
    this.#random = new SeededRandom(seed);
    this.#shared = shape.shared;
    this.#byTurns = this.#random.oneIn(2);
    this.#anywhere = shape.sharedChoices === 0 || this.#random.oneIn(4);
    this.#begin = this.#random.below(Math.max(this.#anywhere ? shape.choices : shape.sharedChoices, 1));
    this.#longest = this.#random.pick(LONGEST);
    this.#salt = this.#random.int32();
  }

  choose(candidates: readonly Candidate[], offered: number): number {
    const count = withoutHardware(candidates, offered);
    if (count === 0) return 0;
    const hardware = hardwareShare(this.#random, count, offered);
    if (hardware >= 0) return hardware;
    let chosen = this.#stalled >= 0 ? this.#whileStalled(candidates, count) : this.#next(candidates, count);
    if (this.#begins(candidates[chosen] as Candidate)) {
      this.#stalled = (candidates[chosen] as Candidate).cpu;
      this.#left = this.#longest;
      chosen = this.#whileStalled(candidates, count);
    }
    const { code } = candidates[chosen] as Candidate;
    this.#inARow = code === this.#last ? this.#inARow + 1 : 0;
    this.#last = code;
    return chosen;
  }

  #begins({ point }: Candidate): boolean {
    if (this.#stalled !== -1) return false;
    if (!this.#anywhere && !this.#shared.has(point)) return false;
    return this.#seen++ === this.#begin;
  }

  #whileStalled(candidates: readonly Candidate[], count: number): number {
    const chosen = this.#left-- > 0 ? this.#next(candidates, count) : -1;
    if (chosen >= 0 && (candidates[chosen] as Candidate).cpu !== this.#stalled) return chosen;
    // It is over, and does not come again.
    this.#stalled = -2;
    return this.#next(candidates, count);
  }

  /** The candidate of highest standing, of CPUs that do not stall if there is one. */
  #next(candidates: readonly Candidate[], count: number): number {
    let best = -1;
    let standing = 0;
    for (let index = 0; index < count; index++) {
      const candidate = candidates[index] as Candidate;
      const own = this.#standing(candidate);
      if (best >= 0 && own <= standing) continue;
      best = index;
      standing = own;
    }
    return best;
  }

  #standing({ code, cpu }: Candidate): number {
    if (cpu === this.#stalled) return -2;
    if (this.#byTurns) return this.#random.int32() >>> 0;
    if (code === this.#last && this.#inARow > PATIENCE) return -1;
    return mix(this.#salt ^ Math.imul(code, 0x9e37_79b1)) >>> 0;
  }
}
