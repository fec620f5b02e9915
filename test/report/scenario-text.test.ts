import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { scenarioSummary } from '../../src/report/scenario-text.ts';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program, type Scenario } from '../../src/userland/scenario.ts';

const architecture = architectureNamed('x86_64');

function summary(
  program: Program,
  more: Partial<Scenario> = {},
  config: Partial<RunConfig> = {},
  options: { readonly all?: boolean } = {},
): string {
  const scenario = defineScenario({ title: 'a run', programs: { program }, ...more });
  return scenarioSummary(runScenario(scenario, { architecture, ...config }), options);
}

function* idle(): Generator<never, void> {}

describe('the summary of a run', () => {
  it('speaks of assertions only where there are some', () => {
    expect(summary(idle)).toMatch(/^a run: finished\n/);
    expect(summary(idle, { finally: { holds: () => true } })).toMatch(
      /^a run: finished, every assertion holds\n/,
    );
  });

  it('says that a program has returned when an assertion about the end fails', () => {
    const text = summary(idle, { finally: { 'never holds': () => false } });
    expect(text).toMatch(/^program +2 +0 +returned /m);
    expect(text).toMatch(/^a run: ASSERTION FAILED: "never holds"/);
  });

  it('says that a program is still running when it is', () => {
    const text = summary(
      function* (u) {
        for (;;) yield* u.compute(1);
      },
      {},
      { maxSteps: 100 },
    );
    expect(text).toMatch(/^a run: STEP BOUND: not finished after 100 steps/);
    expect(text).toMatch(/^program +2 +0 +still running /m);
  });

  it('names the signal that another process sent', () => {
    const text = summary(
      function* (u) {
        const child = yield* u.must(
          u.fork(function* (c) {
            for (;;) yield* c.compute(1);
          }, 'child'),
        );
        yield* u.must(u.kill(child, 'SIGKILL'));
        yield* u.must(u.wait(child));
      },
      { cpus: 2, placement: { program: 0, child: 1 } },
    );
    expect(text).toMatch(/^child +3 +1 +killed by SIGKILL /m);
  });

  it('writes a deadlock once, with the variables in quotes and one schedule', () => {
    const text = summary(function* (_u, share) {
      yield* share.wait('never set');
    });
    expect(text).toMatch(
      /^a run: DEADLOCK after \d+ steps?\n {2}program on cpu 0 waits in share\.wait of the shared variable "never set"\n\n/,
    );
    expect(text.match(/schedule/g) ?? []).toHaveLength(/^schedule: /m.test(text) ? 1 : 0);
  });

  it('writes numbers alike, whatever type holds them', () => {
    const text = summary(function* (u, share) {
      share.set('a', 3);
      share.set('b', 3n);
      share.set('c', 0x12345);
      share.set('d', 0x12345n);
      yield* u.compute(1);
    });
    expect(text).toContain('shared variables: a = 3, b = 3, c = 0x12345, d = 0x12345\n');
  });

  it('counts events only when all is asked for', () => {
    expect(summary(idle)).not.toMatch(/^events:/m);
    expect(summary(idle, {}, {}, { all: true })).toMatch(/^events: /m);
  });

  it('has a schedule and a seed only where they say something', () => {
    const two: Partial<Scenario> = { cpus: 2, programs: { one: idle, two: idle } };
    expect(summary(idle, two)).not.toMatch(/schedule:|seed/);
    expect(summary(idle, two, { policy: 'random', seed: 4 })).toMatch(
      /policy random, seed 4,(.|\n)*\nschedule: /,
    );
  });
});
