/**
 * Follows a recorded schedule choice by choice. The same scenario, configuration and schedule give the same run. When
 * the schedule ends before the run does, another policy goes on if one was given. A choice that is not among the
 * candidates means that the schedule belongs to another run; it is reported and nothing is guessed.
 */
import { type Schedule, ScheduleReader } from '../schedule-text.ts';
import type { Candidate, ImpossibleChoice, Policy, Redundant, RunView } from './policy.ts';

export class ReplayPolicy implements Policy {
  readonly name = 'replay';
  readonly #reader: ScheduleReader;
  readonly #afterEnd: Policy | null;

  /** @param afterEnd goes on past the end of the schedule; without it the end is an impossible choice */
  constructor(schedule: Schedule, afterEnd: Policy | null = null) {
    this.#reader = new ScheduleReader(schedule);
    this.#afterEnd = afterEnd;
  }

  choose(
    candidates: readonly Candidate[],
    count: number,
    run: RunView,
  ): number | ImpossibleChoice | Redundant {
    const position = this.#reader.position;
    const wanted = this.#reader.next();
    if (wanted === null) {
      return this.#afterEnd === null ? { position, wanted } : this.#afterEnd.choose(candidates, count, run);
    }
    for (let index = 0; index < count; index++) {
      if ((candidates[index] as Candidate).code === wanted) return index;
    }
    return { position, wanted };
  }
}
