/** Lets a policy choose and tells of every step, forced ones too, what it was and whether it cut another one short. */
import type { Candidate, Policy, RunView } from '../../sched/policy/policy.ts';
import { indexOfCode } from './guided-policy.ts';

/** Called just before a step. `preempts`: whoever made the step before could have gone on. */
export type StepObserver = (candidate: Candidate, preempts: boolean, run: RunView) => void;

export class ObservedPolicy implements Policy {
  readonly name: string;
  readonly footprints: boolean;
  readonly #policy: Policy;
  readonly #observe: StepObserver;
  #preempts = false;

  constructor(policy: Policy, observe: StepObserver) {
    this.name = policy.name;
    this.footprints = policy.footprints ?? false;
    this.#policy = policy;
    this.#observe = observe;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): ReturnType<Policy['choose']> {
    const { lastCode } = run;
    const couldGoOn = lastCode !== null && indexOfCode(candidates, count, lastCode) >= 0;
    const chosen = this.#policy.choose(candidates, count, run);
    if (typeof chosen === 'number')
      this.#preempts = couldGoOn && (candidates[chosen] as Candidate).code !== lastCode;
    return chosen;
  }

  beforeStep(candidate: Candidate, run: RunView): void {
    this.#policy.beforeStep?.(candidate, run);
    this.#observe(candidate, this.#preempts, run);
    this.#preempts = false;
  }
}
