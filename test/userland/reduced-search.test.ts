/** A depth-first search with reduction shows of real kernels what one without shows: every end, in a part of the runs. */
import { expect, it } from 'vitest';
import { createSearch } from '../../src/sched/search/create-search.ts';
import type { Scenario } from '../../src/userland/scenario.ts';
import { type RunOutcome, ScenarioRunner } from '../../src/userland/scenario-runner.ts';
import { WatchingChecks } from '../../src/userland/watching-checks.ts';
import { architecture } from '../support/architecture.ts';
import { exhibitNamed } from '../support/exhibits.ts';
import { endDigest } from './end-digest.ts';
import { RACE_SCENARIOS } from './race-scenarios.ts';

const MOST_RUNS = 2000;

function endOf(outcome: RunOutcome, checks: WatchingChecks): string {
  const { end } = outcome;
  const found = checks.finding(end);
  if (found !== null) return `check ${found.check}`;
  if (end.kind === 'finished') return endDigest(outcome);
  return `${end.kind} ${'text' in end ? end.text.replace(/after \d+ steps/, '') : ''}`;
}

interface Explored {
  readonly runs: number;
  readonly ends: readonly string[];
}

function explore(scenario: Scenario, preemptions: number, reduction: boolean): Explored {
  const runner = new ScenarioRunner(scenario, { architecture });
  const shard = { index: 0, count: 1 };
  const search = createSearch({ policy: 'dfs', seed: 1, preemptions, depth: 2, reduction, shard });
  const checks = new WatchingChecks(true);
  const ends = new Set<string>();
  for (let policy = search.next(); policy !== null; policy = search.next()) {
    const outcome = runner.run(policy, { exit: 'left out', maxSteps: 20_000, attach: checks.attach });
    if (outcome.end.kind !== 'stopped') ends.add(endOf(outcome, checks));
    search.ended();
    if (search.progress.runs > MOST_RUNS) throw new Error('too many runs to compare');
  }
  return { runs: search.progress.runs, ends: [...ends].sort() };
}

it.each([
  // A look at the number of a VMA without its lock: two ends, one of them a deadlock.
  'bpf-iterator-vma-lock.ts',
  'bpf-iterator-mmap-lock.ts',
  'dirty-cow.ts',
  'shmem-dirty-cow.ts',
  'nested-tlb-gather.ts',
  'new-vma-visible-before-locked.ts',
  'stackrot.ts',
  'vmas-after-split.ts',
  'vmas-after-unlock.ts',
])('%s has the same ends with and without reduction, with at most one preemption', async (file) => {
  const scenario = await exhibitNamed(file);
  const all = explore(scenario, 1, false);
  const reduced = explore(scenario, 1, true);
  expect(reduced.ends).toEqual(all.ends);
  expect(reduced.runs).toBeLessThan(all.runs);
});

it.each(Object.keys(RACE_SCENARIOS))('%s: the same ends and findings with and without reduction', (title) => {
  const scenario = RACE_SCENARIOS[title] as Scenario;
  const all = explore(scenario, 1, false);
  const reduced = explore(scenario, 1, true);
  expect(reduced.ends).toEqual(all.ends);
  expect(reduced.ends.some((end) => end.startsWith('finished'))).toBe(true);
  expect(reduced.runs).toBeLessThan(all.runs);
});
