/** What the hardware and the outside may do shows ends that no order of the tasks' own steps leads to. */
import { describe, expect, it } from 'vitest';
import { CHECK_NAMES } from '../../../src/check/races/registry.ts';
import type { ExploreConfig } from '../../../src/userland/explore/config.ts';
import { exploreScenario } from '../../../src/userland/explore/explore.ts';
import { defineScenario, type Scenario } from '../../../src/userland/scenario.ts';
import { architecture } from '../../support/architecture.ts';

const PAGE = 4096;
const AT = 0x1000_0000n;
const RUNS = 300;
/** A depth-first search goes through what comes late in a run first. */
const DEPTH_FIRST_RUNS = 4000;

/** Does a run come to an end in which `finally` does not hold? The checks are off: they may see more. */
function isFound(scenario: Scenario, config: Partial<ExploreConfig>): boolean {
  const exploration = exploreScenario(scenario, {
    architecture,
    runs: config.policy === 'dfs' ? DEPTH_FIRST_RUNS : RUNS,
    shrinkRuns: 20,
    checksOff: CHECK_NAMES,
    ...config,
  });
  let step = exploration.next();
  while (!step.done) step = exploration.next();
  return step.value.findings.length > 0;
}

/** A translation that is in a TLB stays usable, as nothing flushes it; unless the CPU forgets it. */
const staleTranslation = defineScenario({
  title: 'a page that is read, taken away without a flush, and read again',
  retention: 'adversarial',
  omitTlbFlushes: ['flush_tlb_range', 'flush_tlb_page', 'flush_tlb_mm'],
  programs: {
    *main(u, share) {
      yield* u.must(u.mmap({ address: AT, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(AT, 1));
      yield* u.must(u.load(AT));
      yield* u.must(u.mprotect(AT, PAGE, 'none'));
      share.set('read', (yield* u.attempt(u.load(AT))).ok);
    },
  },
  finally: { 'the old translation is used': ({ share }) => share.get('read') === true },
});

/** A page that nobody has touched: no access has filled a translation of it. */
const untouched = defineScenario({
  title: 'a page that is taken away without a flush before it is read',
  retention: 'adversarial',
  omitTlbFlushes: ['flush_tlb_range', 'flush_tlb_page', 'flush_tlb_mm'],
  programs: {
    *main(u, share) {
      yield* u.must(u.mmap({ address: AT, bytes: PAGE, prot: 'rw', fixed: true, populate: true }));
      yield* u.must(u.mprotect(AT, PAGE, 'none'));
      share.set('read', (yield* u.attempt(u.load(AT))).ok);
    },
  },
  finally: { 'it cannot be read': ({ share }) => share.get('read') === false },
});

const copied = defineScenario({
  title: 'a process forks',
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: AT, bytes: PAGE, prot: 'rw', fixed: true }));
      return (yield* u.fork(function* () {}, 'child')).ok;
    },
  },
  finally: { 'it can': (world) => world.value('main') === true },
});

/** A reader behind a writer waits in a way that SIGKILL ends. */
const waiter = defineScenario({
  title: 'a read of a process whose mmap_lock is held',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: AT, bytes: PAGE, prot: 'rw', fixed: true }));
      share.set('mapped', true);
      for (let turn = 0; turn < 4; turn++) yield* u.must(u.mprotect(AT, PAGE, turn % 2 === 0 ? 'r' : 'rw'));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      yield* u.attempt(u.accessProcessVm(u.pidOf('target'), AT, 8));
      share.set('over', true);
    },
  },
  finally: { 'the reader comes to its end': ({ share }) => share.get('over') === true },
});

describe.each([
  ['evictions', staleTranslation, { hardware: { evictions: true } }],
  ['fills', untouched, { speculation: true }],
  ['failing allocations', copied, { hardware: { failAllocations: 1 } }],
  ['SIGKILL', waiter, { hardware: { kills: true } }],
] as const)('%s', (_, scenario, offered) => {
  it.each(['random', 'stalling', 'pct', 'auto', 'dfs'] as const)('make a difference under %s', (policy) => {
    expect(isFound(scenario, { policy, ...offered })).toBe(true);
  });

  it.each(['stalling', 'auto'] as const)('which nobody sees without under %s', (policy) => {
    expect(isFound(scenario, { policy })).toBe(false);
  });
});
