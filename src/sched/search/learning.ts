/**
 * Looks on while other policies choose, and keeps what later runs are drawn by: how long a run is and which of its points
 * are shared. Footprints make a run slower, so only the first runs and then every 64th are looked at with them.
 */
import type { Footprint } from '../../base/footprint.ts';
import type { SchedPoint } from '../../base/task.ts';
import type { Candidate, Policy, RunView } from '../policy/policy.ts';
import type { RunShape } from './pct.ts';
import { SharedPoints } from './shared-points.ts';

const FIRST_RUNS = 6;
const THEN_EVERY = 64;

interface SavedLearning {
  readonly runs: number;
  readonly choices: number;
  readonly sharedChoices: number;
  readonly shared: readonly number[];
}

export class Learning implements RunShape {
  /** Ended so far. */
  runs = 0;
  choices = 0;
  sharedChoices = 0;
  readonly shared = new SharedPoints();
  readonly #policy: LearningPolicy;

  /** @param saved what `save` gave */
  constructor(saved?: unknown) {
    this.#policy = new LearningPolicy(this.shared);
    if (saved === undefined) return;
    const { runs, choices, sharedChoices, shared } = saved as SavedLearning;
    this.runs = runs;
    this.choices = choices;
    this.sharedChoices = sharedChoices;
    this.shared.restore(shared);
  }

  /** A run under `policy` begins. @returns the policy to run with instead */
  begin(policy: Policy): Policy {
    this.#policy.begin(policy, this.runs < FIRST_RUNS || this.runs % THEN_EVERY === 0);
    return this.#policy;
  }

  /** It is over. */
  end(): void {
    this.#policy.end();
    this.runs++;
    this.choices = Math.max(this.choices, this.#policy.choices);
    this.sharedChoices = Math.max(this.sharedChoices, this.#policy.sharedChoices);
  }

  save(): SavedLearning {
    const { runs, choices, sharedChoices, shared } = this;
    return { runs, choices, sharedChoices, shared: shared.save() };
  }
}

class LearningPolicy implements Policy {
  footprints = false;
  choices = 0;
  sharedChoices = 0;
  readonly #shared: SharedPoints;
  #policy: Policy | null = null;
  #point: SchedPoint | null = null;
  #actor = 0;
  #footprint: Footprint | null = null;

  constructor(shared: SharedPoints) {
    this.#shared = shared;
  }

  get name(): string {
    return this.#policy?.name ?? 'none';
  }

  begin(policy: Policy, footprints: boolean): void {
    this.#policy = policy;
    this.footprints = footprints;
    this.choices = 0;
    this.sharedChoices = 0;
    this.#point = null;
    this.#footprint = null;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): ReturnType<Policy['choose']> {
    this.choices++;
    const chosen = (this.#policy as Policy).choose(candidates, count, run);
    if (typeof chosen === 'number' && this.#shared.has((candidates[chosen] as Candidate).point)) {
      this.sharedChoices++;
    }
    return chosen;
  }

  beforeStep(candidate: Candidate, run: RunView): void {
    this.#policy?.beforeStep?.(candidate, run);
    if (!this.footprints) return;
    this.#addStep(run.footprint);
    this.#point = candidate.point;
    this.#actor = candidate.code;
    this.#footprint = run.footprint;
  }

  end(): void {
    if (this.#footprint === null) return;
    this.#addStep(this.#footprint);
    this.#shared.endRun();
  }

  #addStep(footprint: Footprint): void {
    if (this.#point !== null) this.#shared.addStep(this.#actor, this.#point, footprint);
    this.#point = null;
  }
}
