/**
 * Follows a rough plan of a run: who goes on until when, counted in steps of his own. What the plan wants and cannot
 * have is passed over, so every plan gives a run: a schedule can be cut up and put together again. What was chosen
 * then is recorded as a schedule, which is exact.
 */
import type { Candidate, Policy, RunView } from '../../sched/policy/policy.ts';
import { StraightPolicy } from '../../sched/policy/straight.ts';

/** One stretch of a run. */
export interface Stretch {
  /** As schedules write it: a task, an interrupt, a choice of the hardware. */
  readonly code: number;
  /** It goes on until this code has made so many steps since the run began. */
  readonly until: number;
}

/** Notes who makes which step: the run as stretches. */
export class StretchRecorder {
  readonly stretches: { code: number; until: number }[] = [];
  readonly counts = new Map<number, number>();

  add(code: number): void {
    const count = (this.counts.get(code) ?? 0) + 1;
    this.counts.set(code, count);
    const last = this.stretches[this.stretches.length - 1];
    if (last !== undefined && last.code === code) last.until = count;
    else this.stretches.push({ code, until: count });
  }
}

export class GuidedPolicy implements Policy {
  readonly name = 'guided';
  /** What the run did, forced steps too. */
  readonly recorder = new StretchRecorder();
  /** How often somebody else was chosen than who made the last step and could have gone on. */
  preemptions = 0;
  readonly #plan: readonly Stretch[];
  readonly #after = new StraightPolicy();
  #at = 0;

  constructor(plan: readonly Stretch[]) {
    this.#plan = plan;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): number {
    const chosen = this.#pick(candidates, count, run);
    const { lastCode } = run;
    const other = lastCode !== null && (candidates[chosen] as Candidate).code !== lastCode;
    if (other && indexOfCode(candidates, count, lastCode) >= 0) this.preemptions++;
    return chosen;
  }

  #pick(candidates: readonly Candidate[], count: number, run: RunView): number {
    for (; this.#at < this.#plan.length; this.#at++) {
      const { code, until } = this.#plan[this.#at] as Stretch;
      if ((this.recorder.counts.get(code) ?? 0) >= until) continue;
      const index = indexOfCode(candidates, count, code);
      if (index >= 0) return index;
    }
    return this.#after.choose(candidates, count, run);
  }

  beforeStep({ code }: Candidate): void {
    this.recorder.add(code);
  }
}

/** -1 when it is not there. */
export function indexOfCode(candidates: readonly Candidate[], count: number, code: number): number {
  for (let index = 0; index < count; index++) {
    if ((candidates[index] as Candidate).code === code) return index;
  }
  return -1;
}
