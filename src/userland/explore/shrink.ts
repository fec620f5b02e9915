/**
 * Makes a failing run simple: few context switches, and then few steps, with the same thing wrong. The run is taken as
 * stretches (who goes on until when); stretches are left out, alone and in blocks, put together with an earlier one
 * of the same task, or made to end elsewhere, and what the rest of the plan makes of it is tried. Delta debugging on plans that always run.
 * @see Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002
 */
import type { ExploredRuns } from './explored-runs.ts';
import { GuidedPolicy, type Stretch } from './guided-policy.ts';
import { type Problem, problemKey } from './problem.ts';

type Plan = readonly Stretch[];

/** Yields after every run it makes; `next(true)` ends it with the best so far. */
export type Shrinking = Generator<void, Plan, boolean | undefined>;

/** @param start a plan that leads to `problem` @param budget runs to make, at most */
export function* shrinkPlan(runs: ExploredRuns, problem: Problem, start: Plan, budget: number): Shrinking {
  const attempts = new Attempts(runs, problem, start);
  const passes = [cutTail(attempts), untilNothingHelps(attempts)];
  for (const pass of passes) {
    while (attempts.made < budget && !pass.next().done) {
      if (yield) return attempts.best;
    }
  }
  return attempts.best;
}

/** Steps that an attempt may take beyond twice those of the run that is made simple. */
const MOST_STEPS_MORE = 1000;

class Attempts {
  best: Plan;
  made = 0;
  readonly #runs: ExploredRuns;
  readonly #key: string;
  /** The end of a livelock is no part of its plan. */
  readonly #endless: boolean;
  readonly #tried = new Set<string>();
  readonly #longest: number;
  /** Turns taken away, stretches, steps. */
  #score: readonly number[] = [Number.POSITIVE_INFINITY, 0, 0];

  constructor(runs: ExploredRuns, problem: Problem, start: Plan) {
    this.#runs = runs;
    this.#key = problemKey(problem);
    this.#endless = problem.kind === 'livelock';
    this.best = start;
    this.#longest = [...new Set(start.map(({ code }) => code))].reduce(
      (sum, code) => sum + stepsOf(start, code),
      0,
    );
  }

  /** Does the plan lead to the same problem, on a simpler way than any before? Then it is the best one. */
  try(plan: Plan): boolean {
    const text = plan.map(({ code, until }) => `${code}:${until}`).join(' ');
    if (this.#tried.has(text)) return false;
    this.#tried.add(text);
    this.made++;
    const policy = new GuidedPolicy(plan);
    // A plan that lets a task spin while it waits for another is no way to anything simple.
    const { problem, steps } = this.#endless
      ? this.#runs.run(policy)
      : this.#runs.run(policy, undefined, MOST_STEPS_MORE + 2 * this.#longest);
    if (problem === null || problemKey(problem) !== this.#key) return false;
    const found = this.#endless ? plan : policy.recorder.stretches;
    const score = [policy.preemptions, found.length, steps];
    if (!isLess(score, this.#score)) return false;
    this.best = found;
    this.#score = score;
    return true;
  }
}

/** The first number that differs decides. */
function isLess(one: readonly number[], other: readonly number[]): boolean {
  const at = one.findIndex((number, index) => number !== other[index]);
  return at >= 0 && (one[at] as number) < (other[at] as number);
}

type Pass = Generator<void, boolean, void>;

/** How much of the beginning does it take, if everything goes straight on from there? */
function* cutTail(attempts: Attempts): Pass {
  const whole = attempts.best;
  for (let kept = 0; kept < whole.length; kept = Math.max(1, kept * 2)) {
    yield;
    if (attempts.try(whole.slice(0, kept))) return true;
  }
  return false;
}

function* untilNothingHelps(attempts: Attempts): Pass {
  let better = true;
  while (better) {
    const fewer = yield* leaveOut(attempts);
    const earlier = yield* putTogether(attempts);
    const elsewhere = yield* switchElsewhere(attempts);
    better = fewer || earlier || elsewhere;
  }
  return false;
}

/** Blocks of stretches first, then single ones, from the end. */
function* leaveOut(attempts: Attempts): Pass {
  let better = false;
  for (let size = Math.ceil(attempts.best.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = attempts.best.length - size; at >= 0; at = Math.min(at - 1, attempts.best.length - size)) {
      yield;
      const { best } = attempts;
      if (attempts.try([...best.slice(0, at), ...best.slice(at + size)])) better = true;
    }
  }
  return better;
}

/** A task that goes on later goes on at once instead. */
function* putTogether(attempts: Attempts): Pass {
  let better = false;
  for (let at = 0; at < attempts.best.length; at++) {
    const { best } = attempts;
    const stretch = best[at] as Stretch;
    const later = best.findIndex(({ code }, index) => index > at && code === stretch.code);
    if (later < 0) continue;
    yield;
    const { until } = best[later] as Stretch;
    const plan = best.map((other, index) => (index === at ? { ...stretch, until } : other));
    if (attempts.try(plan.filter((_, index) => index !== later))) better = true;
  }
  return better;
}

/** Places at which a switch is tried. */
const PLACES = 200;
const LONGER = 1.5;
/** Plans of more stretches are no simple ones, whatever is done to one switch. */
const MOST_STRETCHES = 16;

/** A task goes on until somewhere else, and who comes after it then as long as it can: two switches may become one. */
function* switchElsewhere(attempts: Attempts): Pass {
  const { best } = attempts;
  if (best.length > MOST_STRETCHES) return false;
  for (let at = 0; at + 1 < best.length; at++) {
    const { code } = best[at] as Stretch;
    const other = (best[at + 1] as Stretch).code;
    // A way may be longer when it comes first: it then does what the other one did for both.
    const next = { code: other, until: Math.ceil(stepsOf(best, other) * LONGER) };
    for (const until of placesBelow(Math.ceil(stepsOf(best, code) * LONGER))) {
      yield;
      if (attempts.try([...best.slice(0, at), { code, until }, next])) return true;
    }
  }
  return false;
}

const stepsOf = (plan: Plan, code: number): number =>
  Math.max(...plan.filter((stretch) => stretch.code === code).map(({ until }) => until));

/** Numbers of steps below `last`, all or evenly spread, the late ones first. */
function placesBelow(last: number): number[] {
  const count = Math.min(PLACES, last - 1);
  return Array.from({ length: count }, (_, index) => Math.round(((count - index) * last) / (count + 1)));
}
