/** A runner makes its systems from parts of earlier ones; no run can tell. */
import { expect, it } from 'vitest';
import { RandomPolicy } from '../../src/sched/policy/random.ts';
import { formatSchedule } from '../../src/sched/schedule-text.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { ScenarioRunner } from '../../src/userland/scenario-runner.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;

const scenario = defineScenario({
  title: 'a page is read by another process, and a child writes to it',
  cpus: 2,
  programs: {
    *owner(u, share) {
      const page = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, 0x1234));
      yield* u.must(
        u.fork(function* child(c) {
          yield* c.must(c.store(page, 0x5678));
        }),
      );
      share.set('page', page);
      yield* u.must(u.munmap(page + 4096n, PAGE));
    },
    *reader(u, share) {
      const page = yield* share.waitWord('page');
      return yield* u.processVmReadv(u.pidOf('owner'), [{ address: page, bytes: 8 }]);
    },
  },
});

function eventsOf(runner: ScenarioRunner, seed: number): string {
  const { counter, system, end } = runner.run(new RandomPolicy(seed), { keepEvents: 10_000 });
  expect(end.kind).toBe('finished');
  const plain = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `${value}n` : value);
  return JSON.stringify([formatSchedule(system.loop.schedule), counter.events], plain);
}

it('gives the same events in its thousandth run as in the first, and as another runner', () => {
  const runner = new ScenarioRunner(scenario, { architecture });
  const first = eventsOf(runner, 1);
  for (let seed = 2; seed < 1000; seed++) runner.run(new RandomPolicy(seed), { exit: 'left out' });
  expect(eventsOf(runner, 1)).toBe(first);
  expect(eventsOf(new ScenarioRunner(scenario, { architecture }), 1)).toBe(first);
  expect(eventsOf(runner, 2)).not.toBe(first);
});

it('runs that watch nothing take the same way as runs with events', () => {
  const runner = new ScenarioRunner(scenario, { architecture });
  for (let seed = 1; seed < 20; seed++) {
    const quiet = formatSchedule(runner.run(new RandomPolicy(seed)).system.loop.schedule);
    const loud = runner.run(new RandomPolicy(seed), { keepEvents: 10 });
    expect(formatSchedule(loud.system.loop.schedule)).toBe(quiet);
  }
});
