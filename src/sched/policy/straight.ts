/**
 * As few context switches as there can be: the CPU that made the last step goes on until it waits or has nothing to do;
 * an interrupt is taken as soon as it can be. A task that goes on for very long makes room, so that one that spins
 * sees what it spins for. No seed: it is what goes on past the end of a schedule.
 */
import { type Candidate, CandidateKind, type Policy, type RunView } from './policy.ts';

/** Choices in a row that one CPU gets while others could go on. */
const MOST_IN_A_ROW = 1000;

export class StraightPolicy implements Policy {
  readonly name = 'straight';
  #cpu = -1;
  #inRow = 0;

  choose(candidates: readonly Candidate[], count: number, run: RunView): number {
    const chosen = this.#pick(candidates, count, run);
    const { cpu } = candidates[chosen] as Candidate;
    this.#inRow = cpu === this.#cpu ? this.#inRow + 1 : 0;
    this.#cpu = cpu;
    return chosen;
  }

  #pick(candidates: readonly Candidate[], count: number, { lastCode }: RunView): number {
    let same = -1;
    let sameCpu = -1;
    for (let index = 0; index < count; index++) {
      const { kind, code, cpu, switches } = candidates[index] as Candidate;
      if (kind === CandidateKind.Interrupt) return index;
      if (kind !== CandidateKind.Step) continue;
      if (code === lastCode) same = index;
      if (cpu === this.#cpu && !switches) sameCpu = index;
    }
    if (this.#inRow >= MOST_IN_A_ROW) return longestIdle(candidates, count, this.#cpu);
    if (same >= 0) return same;
    return sameCpu >= 0 ? sameCpu : longestIdle(candidates, count, -1);
  }
}

/** The task that has stood still longest, on another CPU than `cpu` if there is one. */
function longestIdle(candidates: readonly Candidate[], count: number, cpu: number): number {
  let best = -1;
  let bestAway = false;
  for (let index = 0; index < count; index++) {
    const candidate = candidates[index] as Candidate;
    if (candidate.kind !== CandidateKind.Step) continue;
    const away = candidate.cpu !== cpu || candidate.switches;
    const longer = best < 0 || lastStep(candidate) < lastStep(candidates[best] as Candidate);
    if (away === bestAway ? longer : away) {
      best = index;
      bestAway = away;
    }
  }
  return Math.max(best, 0);
}

const lastStep = ({ task }: Candidate): number => task?.lastStep ?? 0;
