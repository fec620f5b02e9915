/**
 * Probabilistic concurrency testing: every task and every CPU's interrupts have a random priority, whoever has the highest
 * goes on, and at d - 1 random places of the run whoever is about to step falls below all others. A bug that takes d
 * orderings is found with a probability of at least 1/(n k^(d-1)) in a run of n actors and k places. Places are drawn
 * among steps that earlier runs showed to touch what is shared, which makes k small, and now and then among all choices.
 * A task that waits is no candidate, so the lowest gets on when all others wait; one that has gone on for very long in
 * spite of others falls, too: it may wait for them by trying again and again.
 * What the hardware does on its own account happens at a few random choices of every second run.
 * @see Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding
 * bugs", ASPLOS 2010
 */
import { mix } from '../../base/footprint.ts';
import { SeededRandom } from '../../base/random.ts';
import {
  type Candidate,
  GRACE_PERIOD_CODE,
  type Policy,
  type RunView,
  withoutHardware,
} from '../policy/policy.ts';
import { Learning } from './learning.ts';
import type { SearchOptions, Strategy } from './search.ts';
import { runNumber, seedOfRun } from './seeded.ts';
import type { SharedPoints } from './shared-points.ts';

/** Choices in a row that one actor may have while others could go on. */
const PATIENCE = 2000;
/** One change in so many is drawn among all choices. */
const CHANGES_ANYWHERE = 4;
/** Hardware choices of a run that has them, at most. */
const MOST_HARDWARE = 3;

/** How long runs are, and what in them is shared, as far as earlier runs have shown. */
export interface RunShape {
  /** Choices of the longest run so far. */
  readonly choices: number;
  /** Those of them whose step is shared. */
  readonly sharedChoices: number;
  readonly shared: SharedPoints;
}

export class PctPolicy implements Policy {
  readonly name = 'pct';
  readonly #random: SeededRandom;
  readonly #salt: number;
  readonly #shared: SharedPoints;
  /** Priorities that are not those of the start: of who has fallen. */
  readonly #fallen = new Map<number, number>();
  /** Shared choices, and choices of any kind, at which somebody falls; ascending. */
  readonly #sharedChanges: readonly number[];
  readonly #changes: readonly number[];
  /** Choices at which the hardware does something if it can. */
  readonly #hardware: readonly number[];
  #sharedSeen = 0;
  #seen = 0;
  #lowest = 0;
  #last: number | null = null;
  #inARow = 0;

  /**
   * @param seed of this run
   * @param depth d: the number of orderings that a bug takes
   */
  constructor(seed: number, depth: number, shape: RunShape) {
    this.#random = new SeededRandom(seed);
    this.#salt = this.#random.int32();
    this.#shared = shape.shared;
    const shared: number[] = [];
    const anywhere: number[] = [];
    for (let change = 1; change < depth; change++) {
      if (shape.sharedChoices === 0 || this.#random.oneIn(CHANGES_ANYWHERE)) {
        anywhere.push(this.#random.below(Math.max(shape.choices, 1)));
      } else shared.push(this.#random.below(shape.sharedChoices));
    }
    this.#sharedChanges = shared;
    this.#changes = anywhere;
    const hardware = this.#random.oneIn(2) ? this.#random.below(MOST_HARDWARE + 1) : 0;
    this.#hardware = Array.from({ length: hardware }, () => this.#random.below(Math.max(shape.choices, 1)));
  }

  choose(candidates: readonly Candidate[], count: number, _run: RunView): number {
    const ordinary = withoutHardware(candidates, count);
    const now = this.#seen++;
    if (ordinary < count && this.#hardware.includes(now)) {
      return ordinary + this.#random.below(count - ordinary);
    }
    const among = ordinary < count ? withGracePeriod(candidates, ordinary, count) : ordinary;
    let best = this.#highest(candidates, among);
    if (this.#falls(candidates[best] as Candidate, now)) {
      this.#lower((candidates[best] as Candidate).code);
      best = this.#highest(candidates, among);
    }
    return best;
  }

  #highest(candidates: readonly Candidate[], count: number): number {
    let best = 0;
    let priority = this.#priority((candidates[0] as Candidate).code);
    for (let index = 1; index < count; index++) {
      const other = this.#priority((candidates[index] as Candidate).code);
      if (other <= priority) continue;
      best = index;
      priority = other;
    }
    return best;
  }

  /** A function of the run's seed and the actor, so that actors that come later have theirs, too. */
  #priority(code: number): number {
    if (this.#fallen.size > 0) {
      const fallen = this.#fallen.get(code);
      if (fallen !== undefined) return fallen;
    }
    return mix(this.#salt ^ Math.imul(code | 0, 0x9e37_79b1)) >>> 0;
  }

  #lower(code: number): void {
    this.#fallen.set(code, --this.#lowest);
    this.#inARow = 0;
  }

  /** Does whoever would go on now fall below all others? */
  #falls({ code, point }: Candidate, now: number): boolean {
    this.#inARow = code === this.#last ? this.#inARow + 1 : 0;
    this.#last = code;
    if (this.#inARow > PATIENCE || this.#changes.includes(now)) return true;
    if (this.#sharedChanges.length === 0 || !this.#shared.has(point)) return false;
    return this.#sharedChanges.includes(this.#sharedSeen++);
  }
}

/** The end of a grace period takes part by priority, as tasks do: soon in some runs, late in others. It comes first. */
function withGracePeriod(candidates: readonly Candidate[], ordinary: number, count: number): number {
  for (let index = ordinary; index < count; index++) {
    if ((candidates[index] as Candidate).code === GRACE_PERIOD_CODE) {
      return index === ordinary ? index + 1 : ordinary;
    }
  }
  return ordinary;
}

/** PCT alone. */
export class PctStrategy implements Strategy {
  readonly name = 'pct';
  readonly #options: SearchOptions;
  readonly #learning: Learning;

  /** @param saved what `save` gave */
  constructor(options: SearchOptions, saved: unknown) {
    this.#options = options;
    this.#learning = new Learning(saved);
  }

  next(): Policy {
    const number = runNumber(this.#options, this.#learning.runs);
    const seed = seedOfRun(this.#options, number);
    return this.#learning.begin(new PctPolicy(seed, this.#options.depth, this.#learning));
  }

  ended(): boolean {
    this.#learning.end();
    return true;
  }

  save(): unknown {
    return this.#learning.save();
  }
}
