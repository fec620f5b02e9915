/** Translations that CPUs fill ahead of any access, when the schedule says so. */
import { describe, expect, it } from 'vitest';
import { fillCode, type Policy, withoutHardware } from '../../src/sched/policy/policy.ts';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Scenario } from '../../src/userland/scenario.ts';
import { noStaleTranslation } from '../../src/userland/world-view.ts';
import { architecture } from '../support/architecture.ts';

const SEEDS = Array.from({ length: 60 }, (_, index) => index + 1);

/** The program never touches the page before it is made inaccessible, so no TLB has it but by speculation. */
const protectsUntouchedPage: Scenario = defineScenario({
  title: 'a page is made inaccessible before anybody touched it',
  cpus: 2,
  programs: {
    *owner(u, share) {
      const at = yield* u.must(u.mmap({ bytes: 0x1000n, prot: 'rw', populate: true }));
      yield* u.must(u.mprotect(at, 0x1000n, 'none'));
      const seen = yield* u.attempt(u.load(at));
      share.set('seen', seen.ok ? seen.value : 'signal' in seen ? seen.signal : seen.errno);
    },
  },
  finally: {
    'the load is refused': (world) => world.share.get('seen') === 'SIGSEGV',
  },
});
const withoutFlush: Scenario = { ...protectsUntouchedPage, omitTlbFlushes: ['flush_tlb_range'] };

const run = (scenario: Scenario, config: Omit<RunConfig, 'architecture'>): ScenarioResult =>
  runScenario(scenario, { architecture, retention: 'adversarial', ...config });

const failing = (scenario: Scenario, config: Omit<RunConfig, 'architecture'>): ScenarioResult | undefined =>
  SEEDS.map((seed) => run(scenario, { policy: 'random', seed, ...config })).find(
    ({ outcome }) => outcome.kind !== 'finished',
  );

describe('a flush that is left out for a page nobody touched', () => {
  it('is not seen without speculation, under any of 60 seeds', () => {
    expect(failing(withoutFlush, {})).toBeUndefined();
  });

  it('is seen through a speculative fill within 60 seeds, and its schedule gives the same run again', () => {
    const found = failing(withoutFlush, { speculation: true });
    expect(found?.outcome).toMatchObject({ kind: 'assertion failed', name: 'the load is refused' });
    const schedule = found?.schedule ?? '';
    expect(schedule).toMatch(/(^| )f0:\d/);
    expect(found?.events).toContainEqual(
      expect.objectContaining({
        kind: 'note',
        cpu: 0,
        text: expect.stringMatching(/^speculative fill of 0x/),
      }),
    );
    for (const config of [{ schedule, speculation: true }, { schedule }]) {
      const again = run(withoutFlush, config);
      expect({ ...again, config: null }).toEqual({ ...found, config: null });
    }
  });

  it('is named by the check for stale translations', () => {
    const checked = { ...withoutFlush, finally: { 'nothing is stale': noStaleTranslation } };
    const outcome = failing(checked, { speculation: true })?.outcome;
    expect(outcome).toMatchObject({ text: expect.stringMatching(/L1 DTLB: .*by flush_tlb_range\(/) });
  });
});

it('a kernel that flushes after it changed the tables is right under any of 60 seeds with speculation', () => {
  const checked = {
    ...protectsUntouchedPage,
    finally: { ...protectsUntouchedPage.finally, 'nothing is stale': noStaleTranslation },
  };
  expect(failing(checked, { speculation: true })).toBeUndefined();
});

/** Chooses every fill that is offered once before each step. */
class Eager implements Policy {
  readonly name = 'eager';
  readonly codes = new Set<number>();
  #fill = 0;

  choose(candidates: Parameters<Policy['choose']>[0], count: number): number {
    const others = withoutHardware(candidates, count);
    for (let index = others; index < count; index++) this.codes.add(candidates[index]?.code ?? 0);
    const next = others + this.#fill++;
    if (next < count) return next;
    this.#fill = 0;
    return 0;
  }
}

it('offers what the loaded page tables map: nothing to a CPU that runs no process', () => {
  const policy = new Eager();
  expect(run(protectsUntouchedPage, { policy, speculation: true }).outcome).toEqual({ kind: 'finished' });
  expect([...policy.codes]).toEqual([fillCode(0, 0)]);
});

it('changes nothing for the policies that do not speculate: no fill is offered unless it is asked for', () => {
  const policy = new Eager();
  run({ ...withoutFlush, cpus: 1 }, { policy });
  expect(policy.codes.size).toBe(0);
});

it.each([
  [
    { retention: 'profile', policy: 'random' },
    'speculative fills need TLB retention adversarial: found profile',
  ],
  [
    { policy: 'virtual-time' },
    "the policy virtual-time never chooses speculative fills: expected policy 'random'",
  ],
  [{}, "the policy virtual-time never chooses speculative fills: expected policy 'random'"],
] as const)('refuses speculation with %o', (config, message) => {
  expect(() => run(protectsUntouchedPage, { ...config, speculation: true })).toThrow(message);
});
