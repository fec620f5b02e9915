/** Runs scenarios with checks, until one finds something. */
import { inject } from 'vitest';
import { architectureNamed } from '../../../src/arch/registry.ts';
import type { CheckFinding } from '../../../src/check/races/check.ts';
import { type AttachedChecks, attachChecks } from '../../../src/check/races/registry.ts';
import type { Retention } from '../../../src/hardware/retention.ts';
import type { BugName } from '../../../src/kernel/bugs.ts';
import type { DesignName } from '../../../src/kernel/remote/design-names.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { StallingPolicy } from '../../../src/sched/policy/stalling.ts';
import type { Scenario } from '../../../src/userland/scenario.ts';
import { ScenarioRunner } from '../../../src/userland/scenario-runner.ts';
import type { System } from '../../../src/userland/system.ts';

export interface CheckRun {
  readonly design?: DesignName;
  readonly bugs?: readonly BugName[];
  /** Default: `profile`. */
  readonly retention?: Retention;
  /** Seeds from 1 on, each with the policies that draw and that stall. */
  readonly seeds: number;
  /** Who waits in a way that a fatal signal ends may get one. */
  readonly kills?: boolean;
  /** Breaks something in the kernel before anything runs. */
  readonly spoil?: (system: System) => void;
}

/** What the named checks find in the first run in which they find anything. */
export function firstFindings(
  scenario: Scenario,
  checks: readonly string[],
  { design = 'v0', bugs = [], retention = 'profile', kills = false, seeds, spoil }: CheckRun,
): readonly CheckFinding[] {
  const architecture = architectureNamed(inject('architecture'));
  const settings = { design, kernelBugs: bugs, retention, hardware: { kills }, maxSteps: 100_000 };
  const runner = new ScenarioRunner(scenario, { architecture, ...settings });
  for (let seed = 1; seed <= seeds; seed++) {
    for (const policy of [new RandomPolicy(seed), new StallingPolicy(seed)]) {
      const all: AttachedChecks[] = [];
      const attach = (system: System): void => {
        all.push(attachChecks(system, checks));
        spoil?.(system);
      };
      const { end } = runner.run(policy, { attach });
      for (const { findings, finish } of all) {
        if (end.kind === 'finished' && findings.length === 0) finish();
        if (findings.length > 0) return findings;
      }
    }
  }
  return [];
}
