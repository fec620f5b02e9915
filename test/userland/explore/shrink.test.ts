/** What is found is told in its simplest form. */
import { describe, expect, it } from 'vitest';
import { type ExploreConfig, exploreScenario } from '../../../src/index.ts';
import type { ExploreResult } from '../../../src/userland/explore/explore.ts';
import { defineScenario, type Scenario } from '../../../src/userland/scenario.ts';
import { architecture } from '../../support/architecture.ts';

function explore(scenario: Scenario, config: Partial<ExploreConfig> = {}): ExploreResult {
  const exploration = exploreScenario(scenario, { architecture, runs: 300, ...config });
  for (;;) {
    const step = exploration.next();
    if (step.done) return step.value;
  }
}

/** A counter that two processes read and write in two calls each. */
const lostUpdate = defineScenario({
  title: 'two processes count on one page',
  cpus: 2,
  programs: {
    *first(u, share) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw', shared: true }));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.must(c.store(page, (yield* c.must(c.load(page))) + 1n));
        }, 'second'),
      );
      yield* u.must(u.store(page, (yield* u.must(u.load(page))) + 1n));
      yield* u.must(u.wait(child));
      share.set('sum', yield* u.must(u.load(page)));
    },
  },
  placement: { first: 0, second: 1 },
  finally: { 'both have counted': (world) => world.share.get('sum') === 2n },
});

describe('a lost update', () => {
  it.each(['auto', 'dfs', 'pct', 'random', 'stalling'] as const)(
    'found by %s is shown with one turn taken away',
    (policy) => {
      const [finding] = explore(lostUpdate, { policy }).findings;
      expect(finding).toMatchObject({ kind: 'assertion', name: 'both have counted', preemptions: 1 });
    },
  );

  it('is told with the schedule of a run that shows it', () => {
    const [finding] = explore(lostUpdate).findings;
    const { ended, findings } = explore(lostUpdate, { schedule: finding?.schedule as string });
    expect(ended).toBe('replayed');
    expect(findings[0]?.traced.events).toEqual(finding?.traced.events);
  });

  it('is not found where the caller ends the exploration before', () => {
    const exploration = exploreScenario(lostUpdate, { architecture, policy: 'dfs', preemptions: 0 });
    exploration.next();
    const end = exploration.next(true);
    expect(end).toMatchObject({ done: true, value: { ended: 'stopped', findings: [] } });
  });
});

describe('what is no finding', () => {
  const waiting = defineScenario({
    title: 'one spins until the other has come',
    cpus: 2,
    programs: {
      *first(u, share) {
        while (share.get('come') !== true) yield* u.must(u.brk(0n));
      },
      *second(u, share) {
        yield* u.must(u.brk(0n));
        share.set('come', true);
      },
    },
  });

  it('a schedule may starve a task: the run ends by turns', () => {
    const result = explore(waiting, { schedule: '2*2500', maxSteps: 2000 });
    expect(result).toMatchObject({ ended: 'replayed', findings: [], slow: 1 });
  });

  it('tasks that never end are a livelock', () => {
    const { second: _, ...programs } = waiting.programs;
    const result = explore({ ...waiting, programs }, { maxSteps: 200, shrinkRuns: 10 });
    expect(result.findings[0]).toMatchObject({ kind: 'livelock' });
  });
});
