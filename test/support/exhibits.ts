/** What the tests of the museum do with an exhibit: explore it with and without its bug, and run a schedule again. */

import { architectureNamed } from '../../src/arch/registry.ts';
import { ReplayPolicy } from '../../src/sched/policy/replay.ts';
import { parseSchedule } from '../../src/sched/schedule-text.ts';
import { type ExploreConfig, settleExploration } from '../../src/userland/explore/config.ts';
import { type ExploreResult, exploreScenario } from '../../src/userland/explore/explore.ts';
import { ExploredRuns } from '../../src/userland/explore/explored-runs.ts';
import type { Problem } from '../../src/userland/explore/problem.ts';
import { traceRun } from '../../src/userland/explore/traced-run.ts';
import type { Scenario } from '../../src/userland/scenario.ts';
import type { SystemArchitecture } from '../../src/userland/system.ts';
import type { Exhibit } from '../examples/bugs-table.ts';

export type ArchitectureName = Exhibit['architectures'][number];

export async function exhibitNamed(file: string): Promise<Scenario> {
  const name = file.replace(/\.ts$/, '');
  const module = (await import(`../../examples/bugs/${name}.ts`)) as { readonly default: Scenario };
  return module.default;
}

export function explore(
  scenario: Scenario,
  arch: ArchitectureName,
  more: Omit<ExploreConfig, 'architecture'>,
): ExploreResult {
  const architecture: SystemArchitecture = architectureNamed(arch);
  const exploration = exploreScenario(scenario, { architecture, ...more });
  let step = exploration.next();
  while (!step.done) step = exploration.next();
  return step.value;
}

/** What a schedule shows in a machine of its own. */
export function replay(scenario: Scenario, arch: ArchitectureName, schedule: string): Problem | null {
  const settings = settleExploration({ architecture: architectureNamed(arch) });
  const runs = new ExploredRuns(scenario, settings.run, settings);
  return traceRun(runs, new ReplayPolicy(parseSchedule(schedule))).problem;
}

/** What the table of exhibits calls a finding: the name of a check, or the kind of anything else. */
export const findingName = ({ kind, name }: Problem): string => (kind === 'check' ? name : kind);
