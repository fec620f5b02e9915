/** examples/remote/v2-own-mm.ts: V2 waits for ever under some seeds where a flush interrupts other CPUs, no other design does. */
import { describe, expect, it } from 'vitest';
import scenario from '../../examples/remote/v2-own-mm.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { DESIGN_NAMES, type DesignName } from '../../src/kernel/remote/design-names.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';

const SEEDS = [1, 2, 3, 4, 5, 6];

const run = (arch: string, design: DesignName, seed: number): ScenarioResult =>
  runScenario(scenario, {
    architecture: architectureNamed(arch),
    design,
    policy: 'random',
    seed,
    lockdep: true,
    maxEvents: 0,
  });
const ends = (arch: string, design: DesignName): readonly string[] => [
  ...new Set(SEEDS.map((seed) => run(arch, design, seed).outcome.kind)),
];

describe('a thread that reads memory of its own process', () => {
  it.each(DESIGN_NAMES.filter((name) => name.startsWith('v') && name !== 'v2'))(
    'ends under %s, whatever the seed',
    (design) => {
      for (const arch of ['x86_64', 'arm64'])
        expect([arch, ...ends(arch, design)]).toEqual([arch, 'finished']);
    },
  );

  it('waits for ever under v2 on x86-64', () => {
    const { outcome } = run('x86_64', 'v2', 1);
    expect(outcome.kind).toBe('deadlock');
    expect(JSON.stringify(outcome)).toMatch(/csd_lock_wait.*spin_lock|spin_lock.*csd_lock_wait/);
  });

  it('ends under v2 on arm64', () => {
    expect(ends('arm64', 'v2')).toEqual(['finished']);
  });
});
