import { describe, expect, it } from 'vitest';
import { StepCost } from '../../src/base/task.ts';
import { type FigureName, figureMeanings } from '../../src/hardware/cost-figures.ts';
import { COST_PROFILES, flatProfile } from '../../src/hardware/cost-profile.ts';

const names = Object.keys(figureMeanings) as FigureName[];

describe.each(Object.entries(COST_PROFILES))('the cost profile %s', (name, profile) => {
  it('is found by its name and gives every figure a source', () => {
    expect(profile.name).toBe(name);
    expect(Object.keys(profile.data.figures).sort()).toEqual([...names].sort());
    for (const figure of names) {
      const { cycles, confidence, source } = profile.data.figures[figure];
      expect(Number.isInteger(cycles) && cycles >= 0).toBe(true);
      expect(['high', 'medium', 'low']).toContain(confidence);
      expect(source).not.toBe('');
    }
  });

  it('has its memory levels in order', () => {
    const levels = (['l1Hit', 'l2Hit', 'l3Hit', 'memory'] as const).map((figure) => profile.cycles(figure));
    expect(levels).toEqual([...levels].sort((a, b) => a - b));
  });

  it('charges for every kind of step but none', () => {
    for (const cost of Object.values(StepCost)) {
      expect((profile.steps[cost] as number) > 0).toBe(cost !== StepCost.None);
    }
  });

  it('turns cycles into nanoseconds by its frequency', () => {
    expect(profile.nanoseconds(profile.gigahertz * 1000)).toBeCloseTo(1000);
  });
});

it('the flat profile costs one cycle a step and nothing beside', () => {
  expect(flatProfile.lineTransfer).toBe(0);
  expect(flatProfile.interruptSendPerTarget).toBe(0);
  expect([...flatProfile.steps.slice(1)]).toEqual([1, 1, 1, 1, 1, 1, 1]);
});
