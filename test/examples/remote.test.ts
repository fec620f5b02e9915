/**
 * examples/remote/s* and examples/complaints: what each says must be so under every design, on both architectures and
 * however it is scheduled; what differs between designs is what the table says; and designs that are wrong on purpose
 * are caught.
 */
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import belowTheStack from '../../examples/complaints/below-the-stack.ts';
import smapsStall from '../../examples/complaints/smaps-stall.ts';
import tornProfile from '../../examples/complaints/torn-profile.ts';
import userfaultfdWakeRace from '../../examples/complaints/userfaultfd-wake-race.ts';
import s01 from '../../examples/remote/s01-cmdline-during-mprotect.ts';
import s02 from '../../examples/remote/s02-two-vmas.ts';
import s03 from '../../examples/remote/s03-file-thp-retract.ts';
import s04 from '../../examples/remote/s04-mprotect-none.ts';
import s05 from '../../examples/remote/s05-dontneed-reuse.ts';
import s06 from '../../examples/remote/s06-force-write-dontneed.ts';
import s07 from '../../examples/remote/s07-stack-growth.ts';
import s08 from '../../examples/remote/s08-userfaultfd-missing.ts';
import s09 from '../../examples/remote/s09-shared-upper-table.ts';
import s10 from '../../examples/remote/s10-exit-during-copy.ts';
import s11 from '../../examples/remote/s11-vma-reuse.ts';
import s12 from '../../examples/remote/s12-readers-and-writers.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { DESIGN_NAMES, type DesignName } from '../../src/kernel/remote/design-names.ts';
import { StallingPolicy } from '../../src/sched/policy/stalling.ts';
import type { RunConfig } from '../../src/userland/run-config.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import type { Scenario } from '../../src/userland/scenario.ts';

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'below-the-stack.ts': belowTheStack,
  's01-cmdline-during-mprotect.ts': s01,
  's02-two-vmas.ts': s02,
  's03-file-thp-retract.ts': s03,
  's04-mprotect-none.ts': s04,
  's05-dontneed-reuse.ts': s05,
  's06-force-write-dontneed.ts': s06,
  's07-stack-growth.ts': s07,
  's08-userfaultfd-missing.ts': s08,
  's09-shared-upper-table.ts': s09,
  's10-exit-during-copy.ts': s10,
  's11-vma-reuse.ts': s11,
  's12-readers-and-writers.ts': s12,
  'smaps-stall.ts': smapsStall,
  'torn-profile.ts': tornProfile,
  'userfaultfd-wake-race.ts': userfaultfdWakeRace,
};
/** Tens of thousands of steps: by other schedules under one design only. */
const LONG = ['s12-readers-and-writers.ts', 'smaps-stall.ts', 's01-cmdline-during-mprotect.ts'];
const ARCHITECTURES = ['x86_64', 'arm64'] as const;
const RIGHT = DESIGN_NAMES.filter((name) => name.startsWith('v'));
const FINISHED = { kind: 'finished' };

const run = (
  scenario: Scenario,
  arch: (typeof ARCHITECTURES)[number],
  design: DesignName,
  config: Partial<RunConfig> = {},
): ScenarioResult =>
  runScenario(scenario, { architecture: architectureNamed(arch), design, maxEvents: 0, ...config });

const stalling = (seed: number, longest?: number): Partial<RunConfig> => ({
  policy: new StallingPolicy(seed, longest),
});
const random = (seed: number): Partial<RunConfig> => ({ policy: 'random', seed });

/** The cells of the first table: rows by their first cells. */
function cells({ report }: ScenarioResult): ReadonlyMap<string, readonly unknown[]> {
  return new Map(report[0]?.table?.rows.map(([name, ...rest]) => [String(name), rest]));
}
const first = (result: ScenarioResult, row: string): number => Number(cells(result).get(row)?.[0]);

it('every scenario of remote access and every complaint is run here', () => {
  const files = [...readdirSync('examples/remote'), ...readdirSync('examples/complaints')];
  expect(files.filter((file) => !/^(vmas|gup|v2)-/.test(file)).sort()).toEqual(Object.keys(SCENARIOS).sort());
});

describe.each(Object.keys(SCENARIOS))('%s', (file) => {
  const scenario = SCENARIOS[file] as Scenario;

  it.each(ARCHITECTURES)('holds under every design on %s, also under wrong ones by default', (arch) => {
    for (const design of DESIGN_NAMES) {
      const { outcome } = run(scenario, arch, design);
      expect({ design, outcome }).toEqual({ design, outcome: FINISHED });
    }
  });

  it('holds under right designs however it is scheduled', () => {
    for (const [at, design] of (LONG.includes(file) ? (['v1'] as const) : RIGHT).entries()) {
      const arch = ARCHITECTURES[at % 2] as 'x86_64';
      for (const [policy, config] of Object.entries({ random: random(at + 1), stalling: stalling(at + 1) })) {
        const { outcome } = run(scenario, arch, design, config);
        expect({ design, arch, policy, outcome }).toEqual({ design, arch, policy, outcome: FINISHED });
      }
    }
  });
});

describe.each(ARCHITECTURES)('what differs between designs, on %s', (arch) => {
  it('S1: with mmap_lock a look at the arguments takes as long as mprotect, with a VMA lock it does not', () => {
    for (const design of RIGHT) {
      const result = run(s01, arch, design);
      const mprotect = first(result, 'the longest mprotect of the target');
      const slowest = first(result, 'a read of cmdline, slowest');
      const stalls = design === 'v0' || design === 'v6';
      expect({ design, stalls: slowest > mprotect / 2 }).toEqual({ design, stalls });
    }
  });

  it('S2: V1 mixes two layouts, the others that are right do not', () => {
    for (const design of RIGHT) {
      const torn = Number(cells(run(s02, arch, design)).get('both mappings, replaced at once')?.[2]);
      expect({ design, torn: torn > 0 }).toEqual({ design, torn: design === 'v1' });
    }
  });

  it('S12: writers slow down readers that take mmap_lock only', () => {
    for (const design of RIGHT) {
      const rows = run(s12, arch, design).report[0]?.table?.rows ?? [];
      const slowest = (readers: number, writers: number): number =>
        Number(rows.find((row) => row[0] === readers && row[1] === writers)?.[5]);
      const slower = slowest(4, 2) > 3 * slowest(4, 0);
      expect({ design, slower }).toEqual({ design, slower: design === 'v0' || design === 'v6' });
    }
  });

  it('a reader of smaps stalls mmap, and a debugger under V0 only', () => {
    for (const design of RIGHT) {
      const [, mmap, , read] = cells(run(smapsStall, arch, design)).get('smaps') ?? [];
      expect({ design, mmap: Number(mmap) > 300 }).toEqual({ design, mmap: true });
      expect({ design, read: Number(read) > 300 }).toEqual({ design, read: design === 'v0' });
    }
  });

  it('samples of a program that runs are torn, whatever the design', () => {
    for (const design of RIGHT) {
      const table = cells(run(tornProfile, arch, design));
      const torn = Number(table.get('process_vm_readv')?.[1]) + Number(table.get('/proc/PID/mem')?.[1]);
      expect({ design, torn: torn > 0 }).toEqual({ design, torn: true });
    }
  });
});

/** The first of many schedules under which a run is as wanted. */
function hunt(
  scenario: Scenario,
  design: DesignName,
  longest: number,
  wanted: (result: ScenarioResult) => boolean,
): ScenarioResult | null {
  for (let seed = 1; seed <= 400; seed++) {
    const result = run(scenario, 'x86_64', design, stalling(seed, longest));
    if (wanted(result)) return result;
  }
  return null;
}

describe('designs that are wrong on purpose are caught', { timeout: 120_000 }, () => {
  it.each([
    ['n1', 'S4', s04, 250, 'no read gave what was written after mprotect'],
    ['n2', 'S4', s04, 250, 'no read gave what was written after mprotect'],
    ['n3', 'S3', s03, 3000, 'no read gave memory of another process'],
    ['n3', 'S5', s05, 250, 'no read gave memory of another process'],
  ] as const)('%s by %s: some schedule shows it', (design, _, scenario, longest, name) => {
    const caught = hunt(scenario, design, longest, ({ outcome }) => outcome.kind !== 'finished');
    expect(caught?.outcome).toEqual({ kind: 'assertion failed', name, text: 'does not hold' });
  });

  it.each([
    ['S3', 'n3', s03, 'stalling', 100],
    ['S4', 'n1', s04, 'random', 50],
    ['S4', 'n2', s04, 'random', 50],
    ['S5', 'n3', s05, 'stalling', 50],
  ] as const)(
    '%s: the seeds that its first lines name have one that catches %s',
    (_, design, scenario, policy, seeds) => {
      const kinds = Array.from(
        { length: seeds },
        (_, at) => () => run(scenario, 'x86_64', design, { policy, seed: at + 1 }).outcome.kind,
      );
      expect(kinds.some((kind) => kind() === 'assertion failed')).toBe(true);
    },
  );

  it('n4 by S2: it waits for mmap_lock with the lock of a VMA, whose writer waits for it', () => {
    const caught = hunt(s02, 'n4', 250, ({ outcome }) => outcome.kind !== 'finished');
    expect(caught?.outcome).toHaveProperty('kind', 'deadlock');
    expect(caught?.outcome).toHaveProperty('cycle', expect.arrayContaining(['target', 'reader']));
  });

  it('S11: the VMA of another process is seen by its mm, and the read goes well', () => {
    const foreign = ({ report }: ScenarioResult): boolean =>
      report[1]?.table?.rows.some(([reason, times]) => reason === 'foreign mm' && Number(times) > 0) === true;
    const seen = hunt(s11, 'v3', 150, foreign);
    expect(seen?.outcome).toEqual(FINISHED);
  });
});
