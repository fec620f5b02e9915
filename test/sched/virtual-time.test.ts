import { describe, expect, it } from 'vitest';
import { type Candidate, CandidateKind } from '../../src/sched/policy/policy.ts';
import { VirtualTimePolicy } from '../../src/sched/policy/virtual-time.ts';
import { SchedTask } from '../../src/sched/task.ts';

interface Given {
  readonly cpu?: number;
  readonly time?: number;
  readonly interrupt?: boolean;
  readonly switches?: boolean;
  readonly preempts?: boolean;
  readonly lastStep?: number;
}

function candidate(given: Given, id: number): Candidate {
  const task = new SchedTask(id, `t${id}`, given.cpu ?? 0);
  task.lastStep = given.lastStep ?? 0;
  return {
    ...task.candidate,
    kind: given.interrupt === true ? CandidateKind.Interrupt : CandidateKind.Step,
    time: given.time ?? 0,
    switches: given.switches ?? false,
    preempts: given.preempts ?? false,
  };
}

describe('the virtual-time policy', () => {
  it.each<[string, readonly Given[], number]>([
    ['the CPU furthest behind', [{ time: 5 }, { cpu: 1, time: 3 }, { cpu: 2, time: 4 }], 1],
    ['at equal times, whoever has waited longest', [{ lastStep: 9 }, { cpu: 1, lastStep: 8 }], 1],
    [
      'the current task, not one that would preempt it',
      [{ lastStep: 9 }, { switches: true, preempts: true }],
      0,
    ],
    [
      'an interrupt that has arrived',
      [
        { interrupt: true, time: 7, lastStep: 9 },
        { time: 7, switches: true },
      ],
      0,
    ],
    ['the task, while the interrupt is on its way', [{ interrupt: true, time: 8 }, { time: 7 }], 1],
    [
      'another CPU before a late interrupt',
      [
        { interrupt: true, time: 8 },
        { cpu: 1, time: 7 },
      ],
      1,
    ],
    [
      'whoever is ready first, on a CPU whose task waits',
      [
        { time: 9, switches: true },
        { time: 8, switches: true },
      ],
      1,
    ],
  ])('takes %s', (_, given, expected) => {
    const candidates = given.map(candidate);
    expect(new VirtualTimePolicy().choose(candidates, candidates.length)).toBe(expected);
  });

  it('looks at no more candidates than it is told', () => {
    const candidates = [{ time: 5 }, { cpu: 1, time: 4 }, { cpu: 2, time: 3 }].map(candidate);
    expect(new VirtualTimePolicy().choose(candidates, 2)).toBe(1);
  });
});
