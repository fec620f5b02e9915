/**
 * The order in which processes leave when nobody wants to see every order: whoever runs goes on as long as it can, so that
 * a search has nothing to choose there. Its choices are recorded like all others, and a schedule replays anywhere.
 * Left out: what hardware does on its own account.
 */
import { type Candidate, CandidateKind, type Policy, type RunView } from '../sched/policy/policy.ts';

/** A task that has gone on for so many choices waits for another one by trying again and again. */
const PATIENCE = 1000;

export class ExitPolicy implements Policy {
  readonly name = 'exit';
  #code: number | null = null;
  #stayed = 0;

  choose(candidates: readonly Candidate[], count: number, { lastCode }: RunView): number {
    const others = tasksAmong(candidates, count);
    const wanted = this.#stayed < PATIENCE ? (this.#code ?? lastCode) : null;
    let chosen = -1;
    for (let index = 0; index < others; index++) {
      const { kind, code } = candidates[index] as Candidate;
      if (kind === CandidateKind.Interrupt) return index;
      if (code === wanted) chosen = index;
    }
    if (chosen < 0) chosen = this.#next(candidates, others);
    const { code } = candidates[chosen] as Candidate;
    this.#stayed = code === this.#code ? this.#stayed + 1 : 0;
    this.#code = code;
    return chosen;
  }

  /** Whoever has not run for longest. */
  #next(candidates: readonly Candidate[], count: number): number {
    let best = 0;
    for (let index = 1; index < count; index++) {
      if (lastStep(candidates[index]) < lastStep(candidates[best])) best = index;
    }
    return best;
  }
}

const lastStep = (candidate: Candidate | undefined): number => candidate?.task?.lastStep ?? 0;

/** How many of the first `count` are steps and interrupts: they come first. */
function tasksAmong(candidates: readonly Candidate[], count: number): number {
  let others = 0;
  while (others < count && (candidates[others] as Candidate).kind <= CandidateKind.Interrupt) others++;
  return others;
}
