/**
 * What CPUs do on their own account between the steps of tasks, as one more thing that can happen next: filling a
 * translation ahead of any access. Only a policy that means to chooses it.
 * Left out: other speculation (loads, stores, branches).
 */
import { PointKind, SchedPoint, SharedObject } from '../base/task.ts';
import type { Machine } from '../hardware/machine.ts';
import { type Candidate, CandidateKind, FILLS_PER_CPU, fillCode } from './policy/policy.ts';

/** Where the fills come from. */
export interface Speculation {
  /** How many fills a CPU could make now, at most `FILLS_PER_CPU`. A function of the machine's state. */
  count(cpu: number): number;
  /** Makes fill `index` of those. */
  fill(cpu: number, index: number): void;
}

/** Offers the fills as candidates. Takes no time: the walk is beside the instructions. */
export class FillCandidates {
  readonly #machine: Machine;
  readonly #point = new SchedPoint(PointKind.Read, new SharedObject('page tables'), 'speculative fill');
  /** By code; made when first offered. */
  readonly #made = new Map<number, Candidate>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Puts the fills of every CPU into `candidates` from index `count` on and returns the new count. */
  offer(speculation: Speculation, candidates: Candidate[], count: number): number {
    let next = count;
    for (const { id, time } of this.#machine.cpus) {
      const fills = Math.min(speculation.count(id), FILLS_PER_CPU);
      for (let index = 0; index < fills; index++) {
        const candidate = this.#candidate(id, index);
        candidate.time = time;
        candidates[next++] = candidate;
      }
    }
    return next;
  }

  #candidate(cpu: number, index: number): Candidate {
    const code = fillCode(cpu, index);
    let candidate = this.#made.get(code);
    if (candidate === undefined) {
      const kind = CandidateKind.Fill;
      candidate = {
        kind,
        code,
        cpu,
        task: null,
        point: this.#point,
        time: 0,
        switches: false,
        preempts: false,
      };
      this.#made.set(code, candidate);
    }
    return candidate;
  }
}
