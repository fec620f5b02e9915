/**
 * The default: the CPU whose clock is furthest behind goes on, so that CPUs run side by side as real ones do and
 * contention costs what it costs. On one CPU a task keeps running until it waits, offers its CPU or has used its slice
 * while another is ready; interrupts are taken when they arrive. Left out: priorities and nice levels, speculative fills.
 */
import { type Candidate, CandidateKind, type Policy, withoutHardware } from './policy.ts';

export class VirtualTimePolicy implements Policy {
  readonly name = 'virtual-time';
  readonly #sliceCycles: number;

  /** @param sliceCycles how long a task keeps its CPU while others on it are ready; 3,000,000 is 1 ms at 3 GHz */
  constructor(sliceCycles = 3_000_000) {
    this.#sliceCycles = sliceCycles;
  }

  choose(candidates: readonly Candidate[], offered: number): number {
    const count = withoutHardware(candidates, offered);
    const contended = someonePreempts(candidates, count);
    let best = -1;
    for (let index = 0; index < count; index++) {
      const candidate = candidates[index] as Candidate;
      if (contended && this.#holdsBack(candidates, count, candidate)) continue;
      if (best < 0 || isBefore(candidate, candidates[best] as Candidate)) best = index;
    }
    return best;
  }

  /** Does this candidate leave its CPU to another one of the same CPU? */
  #holdsBack(candidates: readonly Candidate[], count: number, candidate: Candidate): boolean {
    if (candidate.kind === CandidateKind.Interrupt) return false;
    for (let index = 0; index < count; index++) {
      const other = candidates[index] as Candidate;
      if (other.cpu !== candidate.cpu || other === candidate || other.kind === CandidateKind.Interrupt)
        continue;
      if (candidate.preempts && !other.switches) return !this.#sliceUsed(other);
      if (!candidate.switches && other.preempts) return this.#sliceUsed(candidate);
    }
    return false;
  }

  #sliceUsed(current: Candidate): boolean {
    const task = current.task;
    return task !== null && (task.yielding || current.time - task.switchedInAt >= this.#sliceCycles);
  }
}

/** Without this look first, the default policy is half as fast where every CPU has one task. */
function someonePreempts(candidates: readonly Candidate[], count: number): boolean {
  for (let index = 0; index < count; index++) {
    if ((candidates[index] as Candidate).preempts) return true;
  }
  return false;
}

/** By time; then whoever has not run for longer, so that steps that cost nothing cannot starve anybody. */
function isBefore(a: Candidate, b: Candidate): boolean {
  if (a.time !== b.time) return a.time < b.time;
  if (a.cpu === b.cpu && a.kind !== b.kind) return a.kind === CandidateKind.Interrupt;
  return (a.task?.lastStep ?? 0) < (b.task?.lastStep ?? 0);
}
