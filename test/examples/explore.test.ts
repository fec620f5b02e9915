import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import faultsBesideWriters from '../../examples/explore/faults-beside-writers.ts';
import movedAndGrown from '../../examples/explore/moved-and-grown.ts';
import secretAfterMprotect from '../../examples/explore/secret-after-mprotect.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import type { DesignName } from '../../src/kernel/remote/design-names.ts';
import { exploreScenario } from '../../src/userland/explore/explore.ts';
import type { Scenario } from '../../src/userland/scenario.ts';

const FILES: readonly (readonly [string, Scenario])[] = [
  ['faults-beside-writers.ts', faultsBesideWriters],
  ['moved-and-grown.ts', movedAndGrown],
  ['secret-after-mprotect.ts', secretAfterMprotect],
];

function explored(scenario: Scenario, arch: string, design: DesignName, runs: number): readonly string[] {
  const architecture = architectureNamed(arch);
  const exploration = exploreScenario(scenario, { architecture, design, seed: 1, runs, shrinkRuns: 0 });
  let step = exploration.next();
  while (!step.done) step = exploration.next();
  return step.value.findings.map(({ name }) => name);
}

describe('examples/explore', () => {
  it('has a row for each file', () => {
    expect(readdirSync('examples/explore').sort()).toEqual(FILES.map(([file]) => file));
  });

  it.each(FILES)('%s finds nothing wrong', (_, scenario) => {
    for (const design of ['v0', 'v3', 'v4', 'v5', 'v6'] as const) {
      expect(explored(scenario, 'x86_64', design, 8)).toEqual([]);
      expect(explored(scenario, 'arm64', design, 3)).toEqual([]);
    }
  });

  it('shows the secret where rights are asked for too early', () => {
    expect(explored(secretAfterMprotect, 'x86_64', 'n1', 600)).not.toEqual([]);
  });
});
