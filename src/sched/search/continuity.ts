/**
 * Who goes on if nobody interferes: whoever made the last step, and within an interrupt whoever its handler runs over.
 * At the end of a handler, and for somebody who has gone on for very long, it is nobody: whoever comes then preempts
 * nobody.
 */
import { type Candidate, CandidateKind } from '../policy/policy.ts';

/** Steps in a row after which the others get on: it may wait for them by trying again and again. */
const PATIENCE = 2000;

export class Continuity {
  /** Of the last step that was not the hardware's own. */
  #code: number | null = null;
  /** Its CPU, when it was in an interrupt handler; else -1. */
  #handlerOn = -1;
  #inARow = 0;

  reset(): void {
    this.#code = null;
    this.#handlerOn = -1;
    this.#inARow = 0;
  }

  /** Has somebody gone on for so long that others should? */
  get exhausted(): boolean {
    return this.#inARow > PATIENCE;
  }

  /** A step is about to be made. */
  step(candidate: Candidate): void {
    const { code, kind, cpu } = candidate;
    if (kind >= CandidateKind.Fill) return;
    this.#inARow = code === this.#code ? this.#inARow + 1 : 0;
    this.#code = code;
    this.#handlerOn = kind === CandidateKind.Interrupt || isNested(candidate) ? cpu : -1;
  }

  /** Index of the candidate that goes on, or -1. */
  current(candidates: readonly Candidate[], count: number): number {
    if (this.exhausted) return -1;
    for (let index = 0; index < count; index++) {
      if (this.goesOn(candidates[index] as Candidate)) return index;
    }
    return -1;
  }

  /** Does whoever made the last step go on with this one? */
  goesOn(candidate: Candidate): boolean {
    if (candidate.kind !== CandidateKind.Step || candidate.switches) return false;
    if (this.#handlerOn < 0) return candidate.code === this.#code;
    return candidate.cpu === this.#handlerOn && isNested(candidate);
  }
}

/** Is the next step one of an interrupt handler or a context switch, not of the task's own path? */
export const isNested = ({ task }: Candidate): boolean =>
  task !== null && task.frames.length > (task.id < 0 ? 0 : 1);
