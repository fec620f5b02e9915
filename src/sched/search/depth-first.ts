/**
 * Depth-first search: a run is the path of its choices; the next one goes back to the last of them that has something left
 * to try, and from there on again goes on with whoever goes on, so that the first run has no preemption. Every run is made
 * from the start. A bound on preemptions leaves out runs that take a task's turn more often while it could go on.
 * @see tokio-rs/loom src/rt/path.rs; Musuvathi, Qadeer, "Iterative context bounding for systematic testing of
 * multithreaded programs", PLDI 2007
 */
import type { Candidate, Policy, RunView } from '../policy/policy.ts';
import { Branch } from './branch.ts';
import type { SearchOptions, Strategy } from './search.ts';

export class DepthFirst implements Strategy, Policy {
  readonly name = 'dfs';
  readonly #bound: number;
  readonly #path: Branch[] = [];
  #at = 0;
  #over = false;

  constructor({ preemptions }: SearchOptions, _saved: unknown) {
    this.#bound = preemptions ?? Number.POSITIVE_INFINITY;
  }

  next(): Policy | null {
    this.#at = 0;
    return this.#over ? null : this;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): number {
    const known = this.#path[this.#at];
    const branch = known ?? this.#grow(candidates, count, run);
    this.#at++;
    return branch.chosen;
  }

  ended(): boolean {
    this.#path.length = this.#at;
    for (let last = this.#path.at(-1); last !== undefined; last = this.#path.at(-1)) {
      if (last.advance()) return true;
      this.#path.pop();
    }
    this.#over = true;
    return true;
  }

  save(): unknown {
    return null;
  }

  #grow(candidates: readonly Candidate[], count: number, run: RunView): Branch {
    const before = this.#path.at(-1);
    const branch = new Branch(candidates, count, run.lastCode, before?.spent ?? 0, this.#bound);
    this.#path.push(branch);
    return branch;
  }
}
