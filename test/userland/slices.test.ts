import { describe, expect, it } from 'vitest';
import { runScenario, runScenarioInSlices } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const scenario = defineScenario({
  title: 'two programs take turns',
  cpus: 2,
  programs: {
    *first(u, share) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      for (let value = 1n; value <= 20n; value++) yield* u.must(u.store(page, value));
      share.set('done', true);
    },
    *second(u, share) {
      yield* u.compute(5);
      yield* share.wait('done');
    },
  },
});
const config = { architecture, policy: 'random', seed: 3 } as const;

describe('a run in slices', () => {
  it('is the same run, however small the slices are', () => {
    const whole = runScenario(scenario, config);
    for (const firstSlice of [1, 7]) {
      const slices = runScenarioInSlices(scenario, config, firstSlice);
      let slice = slices.next();
      while (!slice.done) slice = slices.next();
      expect(slice.value).toEqual(whole);
    }
  });

  it('can be ended between two slices, with what happened until then', () => {
    const slices = runScenarioInSlices(scenario, config, 10);
    expect(slices.next()).toEqual({ done: false, value: 10 });
    const { done, value } = slices.next(true);
    expect(done).toBe(true);
    expect(value).toMatchObject({
      steps: 10,
      outcome: { kind: 'interrupted', text: 'interrupted after 10 steps' },
    });
  });

  it('keeps to its bound on steps', () => {
    const slices = runScenarioInSlices(scenario, { ...config, maxSteps: 15 }, 10);
    slices.next();
    expect(slices.next()).toMatchObject({
      done: true,
      value: { steps: 15, outcome: { kind: 'step bound' } },
    });
  });
});
