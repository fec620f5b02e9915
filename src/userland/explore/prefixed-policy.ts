/** A search that begins where a schedule ends: what it is told of is what comes after. */

import type { Candidate, Policy, RunView } from '../../sched/policy/policy.ts';
import { ReplayPolicy } from '../../sched/policy/replay.ts';
import type { Schedule } from '../../sched/schedule-text.ts';

export class PrefixedPolicy implements Policy {
  readonly name: string;
  readonly footprints: boolean;
  readonly #choices: number;
  readonly #prefix: ReplayPolicy;
  readonly #policy: Policy;

  constructor(prefix: Schedule, policy: Policy) {
    this.name = policy.name;
    this.footprints = policy.footprints ?? false;
    this.#choices = prefix.repeats.reduce((sum, repeats) => sum + repeats, 0);
    this.#prefix = new ReplayPolicy(prefix);
    this.#policy = policy;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): ReturnType<Policy['choose']> {
    const policy = run.choices < this.#choices ? this.#prefix : this.#policy;
    return policy.choose(candidates, count, run);
  }

  /** Forced steps before the last choice of the prefix are none of the search's business. */
  beforeStep(candidate: Candidate, run: RunView): void {
    if (run.choices >= this.#choices) this.#policy.beforeStep?.(candidate, run);
  }
}
