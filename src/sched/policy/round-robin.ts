/**
 * Every candidate in turn: the one that has not run for longest, interrupts first. Deterministic, without regard to
 * time: the plainest way to make tasks alternate. Left out: quanta longer than one step,
 * speculative fills.
 */
import { type Candidate, CandidateKind, type Policy, withoutHardware } from './policy.ts';

export class RoundRobinPolicy implements Policy {
  readonly name = 'round-robin';

  choose(candidates: readonly Candidate[], count: number): number {
    const others = withoutHardware(candidates, count);
    let best = 0;
    for (let index = 0; index < others; index++) {
      const candidate = candidates[index] as Candidate;
      if (candidate.kind === CandidateKind.Interrupt) return index;
      if (lastStep(candidate) < lastStep(candidates[best] as Candidate)) best = index;
    }
    return best;
  }
}

const lastStep = (candidate: Candidate): number => candidate.task?.lastStep ?? 0;
