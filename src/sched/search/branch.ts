/** One choice on the path of a depth-first search: what was offered, what it costs, what has been tried, what sleeps. */
import type { Candidate } from '../policy/policy.ts';
import type { Sleeper } from './sleeper.ts';

/** What is to become of a candidate. */
export const Fate = {
  /** Nobody has asked for it. */
  Open: 0,
  /** To be tried. */
  Wanted: 1,
  Tried: 2,
  /** Other runs show what it would show. */
  Asleep: 3,
  /** It would be one preemption too many. */
  TooDear: 4,
} as const;
export type Fate = (typeof Fate)[keyof typeof Fate];

/** Plain JSON. */
export interface SavedBranch {
  readonly codes: readonly number[];
  readonly costs: readonly number[];
  readonly fates: readonly number[];
  readonly chosen: number;
  readonly before: number;
  readonly sleepers: readonly Sleeper[];
  readonly free: boolean;
}

export class Branch {
  /** Of the candidates, in their order. */
  readonly codes: number[] = [];
  /** Preemptions that each of them is: 0 or 1. */
  readonly costs: number[] = [];
  readonly fates: number[] = [];
  /** Index of the one that the run under way takes. */
  chosen = 0;
  /** Preemptions before. */
  readonly before: number;
  /** What sleeps here: what slept when the run came, and what was tried since. */
  sleepers: readonly Sleeper[];
  /** Of the first choices of a shard: everything is tried, and nothing sleeps. */
  readonly free: boolean;

  constructor(before: number, sleepers: readonly Sleeper[], free: boolean) {
    this.before = before;
    this.sleepers = sleepers;
    this.free = free;
  }

  static of(saved: SavedBranch): Branch {
    const branch = new Branch(saved.before, saved.sleepers, saved.free);
    branch.codes.push(...saved.codes);
    branch.costs.push(...saved.costs);
    branch.fates.push(...saved.fates);
    branch.chosen = saved.chosen;
    return branch;
  }

  save(): SavedBranch {
    const { codes, costs, fates, chosen, before, sleepers, free } = this;
    return { codes, costs, fates, chosen, before, sleepers, free };
  }

  /** @param bound on preemptions; @param wanted whether it is to be tried whatever happens */
  add({ code }: Candidate, cost: number, bound: number, wanted: boolean): void {
    this.codes.push(code);
    this.costs.push(cost);
    this.fates.push(this.#fate(code, cost, bound, wanted));
  }

  #fate(code: number, cost: number, bound: number, wanted: boolean): Fate {
    for (let index = 0; index < this.sleepers.length; index++) {
      if ((this.sleepers[index] as Sleeper).code === code) return Fate.Asleep;
    }
    if (this.before + cost > bound) return Fate.TooDear;
    return wanted ? Fate.Wanted : Fate.Open;
  }

  /** Preemptions up to and with what is chosen. */
  get spent(): number {
    return this.before + (this.costs[this.chosen] as number);
  }

  addSleeper(sleeper: Sleeper): void {
    this.sleepers = [...this.sleepers, sleeper];
  }

  /** Asks that the candidate with this index be tried, unless it has been or need not be. */
  want(index: number): void {
    if (this.fates[index] === Fate.Open) this.fates[index] = Fate.Wanted;
  }

  /** Somebody else tries it. */
  leave(index: number): void {
    this.fates[index] = Fate.Asleep;
  }

  wantAll(): void {
    for (let index = 0; index < this.fates.length; index++) this.want(index);
  }

  /** Goes on to the next that is wanted. @returns whether there is one */
  advance(): boolean {
    const index = this.fates.indexOf(Fate.Wanted);
    if (index < 0) return false;
    this.take(index);
    return true;
  }

  take(index: number): void {
    this.chosen = index;
    this.fates[index] = Fate.Tried;
  }
}
