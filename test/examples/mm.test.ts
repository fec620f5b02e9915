/** examples/mm: every one ends as its file says, on both architectures and however it is scheduled. */
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import execCmdline from '../../examples/mm/exec-cmdline.ts';
import growingArray from '../../examples/mm/growing-array.ts';
import hugePages from '../../examples/mm/huge-pages.ts';
import hugetlbReservation from '../../examples/mm/hugetlb-reservation.ts';
import lockOrder from '../../examples/mm/lock-order.ts';
import swapSecondChance from '../../examples/mm/swap-second-chance.ts';
import userfaultfdPostCopy from '../../examples/mm/userfaultfd-post-copy.ts';
import vmaLocks from '../../examples/mm/vma-locks.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import type { Scenario } from '../../src/userland/scenario.ts';

const GOOD: Readonly<Record<string, Scenario>> = {
  'exec-cmdline.ts': execCmdline,
  'growing-array.ts': growingArray,
  'huge-pages.ts': hugePages,
  'hugetlb-reservation.ts': hugetlbReservation,
  'swap-second-chance.ts': swapSecondChance,
  'userfaultfd-post-copy.ts': userfaultfdPostCopy,
  'vma-locks.ts': vmaLocks,
};

it('every file of examples/mm is run here', () => {
  expect(readdirSync('examples/mm').sort()).toEqual([...Object.keys(GOOD), 'lock-order.ts'].sort());
});

describe.each(['x86_64', 'arm64'] as const)('on %s', (name) => {
  const architecture = architectureNamed(name);

  it.each(Object.keys(GOOD))('%s holds, with every TLB retention', (file) => {
    for (const retention of ['profile', 'adversarial', 'none'] as const) {
      const { outcome } = runScenario(GOOD[file] as Scenario, { architecture, retention });
      expect(outcome).toEqual({ kind: 'finished' });
    }
  });

  it.each(['exec-cmdline.ts', 'hugetlb-reservation.ts', 'userfaultfd-post-copy.ts', 'vma-locks.ts'])(
    '%s holds under random schedules',
    (file) => {
      for (let seed = 1; seed <= 15; seed++) {
        const { outcome, schedule } = runScenario(GOOD[file] as Scenario, {
          architecture,
          policy: 'random',
          seed,
        });
        expect({ seed, outcome, schedule }).toEqual({ seed, outcome: { kind: 'finished' }, schedule });
      }
    },
  );

  it('vma-locks.ts: only the faults beside their own VMA fall back; without VMA locks all take mmap_lock', () => {
    const rows = runScenario(vmaLocks, { architecture }).report[0]?.table?.rows ?? [];
    expect(rows.map((row) => [row[0], Number(row[3]) > 0])).toEqual([
      ['beside another VMA', false],
      ['beside its own VMA', true],
    ]);
    const without = runScenario(vmaLocks, { architecture, perVmaLocks: false }).report[0]?.table?.rows ?? [];
    expect(without.map((row) => [row[2], row[3]])).toEqual([
      [0, 31],
      [0, 31],
    ]);
  });

  it('lock-order.ts tells of the order, deadlocks under some seed, and is silent in a kernel without the bug', () => {
    const told = runScenario(lockOrder, { architecture }).outcome;
    expect(told).toHaveProperty(
      'text',
      expect.stringContaining('possible deadlock (mmap_lock under a VMA lock)'),
    );
    expect(told).toHaveProperty(
      'text',
      expect.stringMatching(/writer on cpu 1:\n +down_write_killable mmap_lock/),
    );
    const seeds = Array.from({ length: 30 }, (_, i) => i + 1);
    const kinds = (bugs: Scenario['kernelBugs']) =>
      new Set(
        seeds.map(
          (seed) =>
            runScenario({ ...lockOrder, kernelBugs: bugs ?? [] }, { architecture, policy: 'random', seed })
              .outcome.kind,
        ),
      );
    expect(kinds(lockOrder.kernelBugs)).toContain('deadlock');
    expect(kinds([])).toEqual(new Set(['finished']));
  });

  it('swap-second-chance.ts: with room for all nothing goes to swap', () => {
    const { counters } = runScenario(swapSecondChance, { architecture, memory: '64MiB' });
    expect(counters['swap-out']).toBeUndefined();
  });
});
