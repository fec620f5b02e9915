/** The three ways in which the `vmas` of get_user_pages went wrong, and that today's call does not. */
import { describe, expect, it } from 'vitest';
import vmasAfterSplit from '../../examples/remote/vmas-after-split.ts';
import vmasAfterUnlock from '../../examples/remote/vmas-after-unlock.ts';
import vmasDroppedLock from '../../examples/remote/vmas-dropped-lock.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';

describe.each(['x86_64', 'arm64'] as const)('on %s', (name) => {
  const architecture = architectureNamed(name);

  it.each([
    ['vmas-after-unlock.ts', vmasAfterUnlock],
    ['vmas-after-split.ts', vmasAfterSplit],
    ['vmas-dropped-lock.ts', vmasDroppedLock],
  ])('examples/remote/%s shows the failure and the cure, however it is scheduled', (_, scenario) => {
    expect(runScenario(scenario, { architecture }).outcome).toEqual({ kind: 'finished' });
    for (let seed = 1; seed <= 15; seed++) {
      const { outcome } = runScenario(scenario, { architecture, policy: 'random', seed });
      expect({ seed, outcome }).toEqual({ seed, outcome: { kind: 'finished' } });
    }
  });
});
