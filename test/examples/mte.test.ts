/** examples/mte: every experiment holds, however it is scheduled; and what they compute with is right. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import deBugger from '../../examples/mte/debugger.ts';
import { detectionRate } from '../../examples/mte/detection-rate.ts';
import doubleFree from '../../examples/mte/double-free.ts';
import heapOverflow from '../../examples/mte/heap-overflow.ts';
import { afterNext, freed, neighbour, reusedTwice } from '../../examples/mte/lib/formulas.ts';
import { EXCLUDING, POLICIES, type TagPolicy } from '../../examples/mte/lib/policies.ts';
import { clopperPearson } from '../../examples/mte/lib/statistics.ts';
import overflowInGranule from '../../examples/mte/overflow-in-granule.ts';
import reportingModes from '../../examples/mte/reporting-modes.ts';
import stackReuse from '../../examples/mte/stack-reuse.ts';
import taggingCost from '../../examples/mte/tagging-cost.ts';
import useAfterFree from '../../examples/mte/use-after-free.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { COST_PROFILES, type CostProfile } from '../../src/hardware/cost-profile.ts';
import { scenarioSummary } from '../../src/report/scenario-text.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import type { Scenario } from '../../src/userland/scenario.ts';

const architecture = architectureNamed('arm64');

const EXPERIMENTS: Readonly<Record<string, Scenario>> = {
  'debugger.ts': deBugger,
  // Fewer trials give wider intervals.
  'detection-rate.ts': detectionRate(40),
  'double-free.ts': doubleFree,
  'heap-overflow.ts': heapOverflow,
  'overflow-in-granule.ts': overflowInGranule,
  'reporting-modes.ts': reportingModes,
  'stack-reuse.ts': stackReuse,
  'tagging-cost.ts': taggingCost,
  'use-after-free.ts': useAfterFree,
};
/** What the experiments share; no scenarios. */
const LIBRARY = [
  'allocator.ts',
  'bugs.ts',
  'formulas.ts',
  'policies.ts',
  'statistics.ts',
  'step-log.ts',
  'tagged-stack.ts',
];

const table = ({ report }: ScenarioResult, section = 0): readonly (readonly unknown[])[] =>
  report[section]?.table?.rows ?? [];

it('every file of examples/mte is run here, or shared by those that are', () => {
  expect(readdirSync('examples/mte').sort()).toEqual([...Object.keys(EXPERIMENTS), 'lib'].sort());
  expect(readdirSync('examples/mte/lib').sort()).toEqual(LIBRARY);
});

describe.each(Object.entries(EXPERIMENTS))('examples/mte/%s', (_, scenario) => {
  it.each(['profile', 'adversarial', 'none'] as const)('holds with TLB retention %s', (retention) => {
    const result = runScenario(scenario, { architecture, retention, maxEvents: 0 });
    expect(result.outcome).toEqual({ kind: 'finished' });
    expect(result.report.length).toBeGreaterThan(0);
  });

  it('holds with other tags and other schedules', () => {
    for (let seed = 2; seed <= 6; seed++) {
      const { outcome } = runScenario(scenario, { architecture, policy: 'random', seed, maxEvents: 0 });
      expect({ seed, outcome }).toEqual({ seed, outcome: { kind: 'finished' } });
    }
  });
});

describe('the seed of a run', () => {
  it('chooses the tags, and the same seed chooses the same', () => {
    const tags = (seed: number): string =>
      table(runScenario(heapOverflow, { architecture, seed }))
        .map((row) => `${row[2]}`)
        .join(' ');
    expect(tags(7)).toBe(tags(7));
    expect(new Set([1, 2, 3, 4, 5, 6, 7, 8].map(tags)).size).toBeGreaterThan(4);
  });
});

describe('examples/mte/detection-rate.ts', () => {
  it('agrees with the formulas for other seeds', () => {
    for (let seed = 10; seed < 14; seed++) {
      const { outcome } = runScenario(detectionRate(300), { architecture, seed, maxEvents: 0 });
      expect({ seed, outcome }).toEqual({ seed, outcome: { kind: 'finished' } });
    }
  });

  it('notices an allocator that does not do what the formula says', () => {
    const { excludedAtFree } = EXCLUDING;
    // It keeps the tag of what is freed, as one does that forgets to change it.
    const keeping = { ...EXCLUDING, excludedAtFree: (_: unknown, tag: number) => 0xffff & ~(1 << tag) };
    Object.assign(EXCLUDING, keeping);
    const { outcome } = runScenario(detectionRate(40), { architecture, maxEvents: 0 });
    Object.assign(EXCLUDING, { excludedAtFree });
    expect(outcome).toMatchObject({
      kind: 'assertion failed',
      text: expect.stringContaining('use after free (excluding neighbours)'),
    });
  });
});

describe('examples/mte/reporting-modes.ts', () => {
  it('shows each mode: what came at once, with the next system call, and whether it was made', () => {
    const rows = table(runScenario(reportingModes, { architecture }));
    const words = rows.map(([mode, access, atOnce, later, made]) =>
      [
        mode,
        access,
        /SEGV_\w+|done/.exec(String(atOnce))?.[0],
        /SEGV_\w+|nothing/.exec(String(later))?.[0],
        made,
      ].join(', '),
    );
    expect(words).toEqual([
      'off, load, done, nothing, loaded',
      'off, store, done, nothing, stored',
      'synchronous, load, SEGV_MTESERR, nothing, no',
      'synchronous, store, SEGV_MTESERR, nothing, no',
      'asynchronous, load, done, SEGV_MTEAERR, loaded',
      'asynchronous, store, done, SEGV_MTEAERR, stored',
      'asymmetric (both, CPU prefers asymm), load, SEGV_MTESERR, nothing, no',
      'asymmetric (both, CPU prefers asymm), store, done, SEGV_MTEAERR, stored',
      'both, CPU prefers sync, load, SEGV_MTESERR, nothing, no',
      'both, CPU prefers sync, store, SEGV_MTESERR, nothing, no',
      'synchronous, TCO = 1, load, done, nothing, loaded',
      'synchronous, TCO = 1, store, done, nothing, stored',
    ]);
  });
});

describe('examples/mte/debugger.ts', () => {
  const result = runScenario(deBugger, { architecture });

  // Linux 6.18 did so: tags are off the remote address, except for the requests of ptrace that are about tags.
  it('shows what each path makes of a tag in the remote address', () => {
    const stripped = ['done', 'done', 'done', 'done', 'EFAULT', 'stripped, not checked'];
    const file = ['done', 'done', 'done', 'EINVAL', 'EIO', 'stripped, not checked'];
    const traced = ['done', 'done', 'done', 'done', 'EIO', 'stripped, not checked'];
    const refused = ['done', 'EIO', 'EIO', 'EIO', 'EIO', 'refused'];
    expect(table(result)).toEqual([
      ['process_vm_readv', ...stripped],
      ['process_vm_writev', ...stripped],
      ['pread of /proc/PID/mem', ...file],
      ['pwrite of /proc/PID/mem', ...file],
      ['PTRACE_PEEKDATA', ...traced],
      ['PTRACE_POKEDATA', ...traced],
      ['PTRACE_PEEKMTETAGS', ...refused],
      ['PTRACE_POKEMTETAGS', ...refused],
    ]);
  });

  it('prints the table of the README', () => {
    const shown = /```\n(What does a tag in the remote address do\?[^`]*)```/.exec(
      readFileSync('README.md', 'utf8'),
    );
    expect(scenarioSummary(result)).toContain(shown?.[1] ?? 'no table');
  });

  it("shows that the debugger's own buffer is checked as its mode says", () => {
    // Asymmetric mode: reads are checked at once; without the ABI no tagged pointer is taken.
    const written = ['done', 'EFAULT', 'done', 'done', 'EFAULT', 'checked'];
    const read = ['done', 'EFAULT', 'done', 'EFAULT', 'EFAULT', 'checked'];
    expect(table(result, 1)).toEqual([
      ['process_vm_readv', ...written],
      ['process_vm_writev', ...read],
      ['pread of /proc/PID/mem', ...written],
      ['pwrite of /proc/PID/mem', ...read],
      ['PTRACE_PEEKDATA', ...written],
      ['PTRACE_PEEKMTETAGS', ...written],
      ['PTRACE_POKEMTETAGS', ...read],
      ['read of /proc/PID/cmdline', ...written],
      ['read of /proc/PID/environ', ...written],
    ]);
  });

  it('shows that of the writes only that of tags changes a tag', () => {
    expect(table(result, 2).map(([path, , before, after]) => [path, before, after])).toEqual([
      ['process_vm_writev', 5, 5],
      ['pwrite of /proc/PID/mem', 5, 5],
      ['PTRACE_POKEDATA', 5, 5],
      ['PTRACE_POKEMTETAGS', 5, 6],
    ]);
  });
});

describe('examples/mte/tagging-cost.ts', () => {
  it('takes a store for two granules, and a block instruction for four', () => {
    const run = (profile: string): readonly (readonly unknown[])[] =>
      table(
        runScenario(taggingCost, {
          architecture,
          maxEvents: 0,
          profile: COST_PROFILES[profile] as CostProfile,
        }),
      );
    const of = (profile: string, bytes: number) => run(profile).find(([size]) => size === bytes);
    expect(of('neoverse-v2', 4096)).toEqual([4096, 0, '0.0 %', 256, 130, 128, 66, '63 + 3', 67]);
    expect(of('neoverse-v2', 24)).toEqual([24, 8, '25.0 %', 2, 3, 1, 3, '0 + 1', 3]);
    expect(of('flat', 4096)).toEqual([4096, 0, '0.0 %', 256, 257, 128, 129, '63 + 3', 67]);
    expect(of('zen4', 4096)).toEqual([4096, 0, '0.0 %', 256, '-', 128, '-', '63 + 3', '-']);
  });

  it('names the profile, and where each figure is from', () => {
    const profile = COST_PROFILES['neoverse-v2'] as CostProfile;
    const result = runScenario(taggingCost, { architecture, maxEvents: 0, profile });
    expect(result.report[0]?.heading).toContain('neoverse-v2');
    expect(table(result, 1).map(([figure, , grade]) => [figure, grade])).toEqual([
      ['IRG, once', 'of a sister core'],
      ['two tag stores', 'published'],
      ['DC GVA, 64 bytes', 'a guess'],
    ]);
  });
});

const TAGS = Array.from({ length: 16 }, (_, tag) => tag);
const allowedBy = (mask: number): readonly number[] => TAGS.filter((tag) => ((mask >>> tag) & 1) === 0);

/** The mean of `outcome` over the tags that a mask allows, each as likely as the others. */
const mean = (mask: number, outcome: (tag: number) => number): number => {
  const tags = allowedBy(mask);
  return tags.reduce((sum, tag) => sum + outcome(tag), 0) / tags.length;
};

interface Three {
  readonly index: number;
  readonly tags: readonly [number, number, number];
}

/** The mean over all tags of three objects in a row, at an even and an odd place. */
const overThree = (policy: TagPolicy, outcome: (three: Three) => number): number => {
  const allocate = (index: number, left: number): number =>
    policy.excludedAtAllocation({ index, left, right: 0 });
  const at = (index: number): number =>
    mean(allocate(index, 0), (a) =>
      mean(allocate(index + 1, a), (b) =>
        mean(allocate(index + 2, b), (c) => outcome({ index, tags: [a, b, c] })),
      ),
    );
  return (at(0) + at(1)) / 2;
};

describe.each(POLICIES.map((policy) => [policy.name, policy] as const))(
  'the formulas for tags %s',
  (_, policy) => {
    const free = ({ index, tags: [left, , right] }: Three, previous: number): number =>
      policy.excludedAtFree({ index: index + 1, left, right }, previous);

    it('are the mean over all tags that the policy can choose', () => {
      const found = (same: boolean): number => (same ? 0 : 1);
      expect(overThree(policy, ({ tags: [a, b] }) => found(a === b))).toBeCloseTo(
        neighbour(policy).probability,
      );
      expect(overThree(policy, ({ tags: [a, , c] }) => found(a === c))).toBeCloseTo(
        afterNext(policy).probability,
      );
      expect(
        overThree(policy, (three) => mean(free(three, three.tags[1]), (tag) => found(tag === three.tags[1]))),
      ).toBeCloseTo(freed(policy).probability);
      expect(
        overThree(policy, (three) =>
          mean(free(three, three.tags[1]), (second) =>
            mean(free(three, second), (third) => found(third === three.tags[1])),
          ),
        ),
      ).toBeCloseTo(reusedTwice(policy).probability);
    });
  },
);

describe('the Clopper-Pearson interval', () => {
  // R: binom.test(x, n, conf.level = 1 - error)$conf.int
  it.each([
    [5, 10, 0.05, 0.1870860284, 0.8129139716],
    [0, 10, 0.05, 0, 0.3084971078],
    [10, 10, 0.05, 0.6915028922, 1],
    [1, 20, 0.01, 0.0002506019, 0.3171004],
  ])('of %i in %i, error %f', (hits, trials, error, low, high) => {
    const interval = clopperPearson(hits, trials, error);
    expect(interval.low).toBeCloseTo(low, 6);
    expect(interval.high).toBeCloseTo(high, 4);
  });
});
