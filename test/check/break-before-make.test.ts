/**
 * The kernel held against break-before-make: as it is, and with a flush left out. The rule is arm64's; x86-64 has none.
 * What the check finds in single writes is in test/arch/arm64/break-before-make.test.ts.
 */
import { describe, expect, it } from 'vitest';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Scenario } from '../../src/userland/scenario.ts';
import { noBreakBeforeMakeViolation } from '../../src/userland/world-view.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const SIZE = 0x4000n;
const AT = 0x10_0000_0000n;

/** Zero page, copy on write after fork, protections taken and given, pages given back, tables freed and made again. */
const busy: Scenario = defineScenario({
  title: 'page tables change in every way',
  cpus: 2,
  retention: 'adversarial',
  programs: {
    *parent(u) {
      const at = yield* u.must(u.mmap({ address: AT, fixed: true, bytes: SIZE, prot: 'rw' }));
      for (let page = 0n; page < 4n; page++) yield* u.must(u.load(at + page * 0x1000n));
      for (let page = 0n; page < 4n; page++) yield* u.must(u.store(at + page * 0x1000n, page));
      yield* u.must(
        u.fork(function* (c) {
          for (let page = 0n; page < 4n; page++) yield* c.must(c.store(at + page * 0x1000n, 100n + page));
          yield* c.must(c.munmap(at, SIZE));
          yield* c.must(c.mmap({ address: AT, fixed: true, bytes: SIZE, prot: 'rw' }));
          yield* c.must(c.store(at, 7n));
        }),
      );
      for (let page = 0n; page < 4n; page++) yield* u.must(u.store(at + page * 0x1000n, 200n + page));
      yield* u.must(u.mprotect(at, SIZE, 'r'));
      yield* u.must(u.load(at));
      yield* u.must(u.mprotect(at, SIZE, 'rw'));
      yield* u.must(u.store(at, 1n));
      yield* u.must(u.munmap(at, SIZE));
      yield* u.must(u.mmap({ address: AT, fixed: true, bytes: SIZE, prot: 'rw', populate: true }));
      yield* u.must(u.store(at, 2n));
      yield* u.must(u.wait());
    },
  },
  always: { 'no entry is changed under the CPUs': noBreakBeforeMakeViolation },
});

const run = (
  scenario: Scenario,
  options: { readonly policy?: 'random'; readonly seed?: number } = {},
): ScenarioResult => runScenario(scenario, { architecture, ...options });

describe('the kernel as it is', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('follows the sequence wherever it has to, seed %i', (seed) => {
    expect(run(busy, { policy: 'random', seed }).outcome).toEqual({ kind: 'finished' });
  });
});

describe.runIf(architectureName === 'arm64')('a flush that is left out', () => {
  const textOf = ({ outcome }: ScenarioResult): string =>
    outcome.kind === 'assertion failed' ? outcome.text : outcome.kind;

  it('of a copied page: the zero page was mapped before, and may still be cached', () => {
    const text = textOf(run({ ...busy, omitTlbFlushes: ['flush_tlb_page'] }));
    expect(text).toMatch(
      /^0x100000[0-3]000: 0x[0-9a-f]+ \(level 3\) became 0x[0-9a-f]+ \(level 3\): output address, with write permission; missing: an invalidation; cpu 0, 1 may still have the old one/,
    );
    expect(text).toMatch(/CONSTRAINED UNPREDICTABLE: a TLB conflict abort/);
  });

  it('of an unmapped range: another page is mapped there', () => {
    const text = textOf(run({ ...busy, omitTlbFlushes: ['flush_tlb_range'] }));
    expect(text).toMatch(/output address, with write permission; missing: an invalidation;/);
  });

  it('is not watched for with other retentions, and so never found', () => {
    const scenario: Scenario = { ...busy, retention: 'profile', omitTlbFlushes: ['flush_tlb_page'] };
    expect(textOf(run(scenario))).not.toMatch(/output address/);
  });
});
