/** One choice of a depth-first search. */
import type { Candidate } from '../policy/policy.ts';

export class Branch {
  readonly codes: number[] = [];
  chosen = 0;
  readonly #costs: number[] = [];
  readonly #before: number;
  readonly #first: number;
  readonly #bound: number;

  constructor(
    candidates: readonly Candidate[],
    count: number,
    current: number | null,
    before: number,
    bound: number,
  ) {
    this.#before = before;
    this.#bound = bound;
    let first = -1;
    for (let index = 0; index < count; index++) {
      const { code } = candidates[index] as Candidate;
      this.codes.push(code);
      if (code === current) first = index;
    }
    for (let index = 0; index < count; index++) this.#costs.push(first < 0 || index === first ? 0 : 1);
    this.#first = Math.max(first, 0);
    this.chosen = this.#first;
  }

  /** Preemptions up to and with what is chosen. */
  get spent(): number {
    return this.#before + (this.#costs[this.chosen] as number);
  }

  /** Goes on to the next that may be chosen. @returns whether there is one */
  advance(): boolean {
    const from = this.chosen === this.#first ? 0 : this.chosen + 1;
    for (let index = from; index < this.codes.length; index++) {
      if (index === this.#first || this.#before + (this.#costs[index] as number) > this.#bound) continue;
      this.chosen = index;
      return true;
    }
    return false;
  }
}
