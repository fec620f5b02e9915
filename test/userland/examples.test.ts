import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import missingInvlpg from '../../examples/missing-invlpg.ts';
import missingTlbi from '../../examples/missing-tlbi.ts';
import peek from '../../examples/peek.ts';
import remoteRead from '../../examples/remote-read.ts';
import { scenarioText } from '../../src/report/scenario-text.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { loadYamlScenario } from '../../src/userland/yaml/load.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const retentions = ['profile', 'adversarial', 'none'] as const;

const missing = { x86_64: missingInvlpg, arm64: missingTlbi }[architectureName];
const invalidation = { x86_64: 'INVLPG 0x\\w+ \\(PCID \\d\\)', arm64: 'TLBI VAE1IS 0x\\w+ \\(ASID \\d\\)' }[
  architectureName
];

describe('examples/missing-invlpg.ts, examples/missing-tlbi.ts', () => {
  it.each(['profile', 'adversarial'] as const)(
    'reads the secret and names the missing flush under %s',
    (retention) => {
      const result = runScenario(missing, { architecture, retention });
      expect(new Map(result.variables).get('reader sees')).toBe(0x5ec4e7n);
      expect(result.outcome.kind).toBe('assertion failed');
      expect(result.outcome).toHaveProperty(
        'text',
        expect.stringMatching(
          new RegExp(
            `cpu 0, L1 DTLB: 0x\\w+ .* maps nothing; missing: ${invalidation} on cpu 0, by flush_tlb_range\\(.*\\) of reader on cpu 0, which was left out`,
          ),
        ),
      );
    },
  );

  it('shows nothing where nothing is cached', () => {
    const result = runScenario(missing, { architecture, retention: 'none' });
    expect(result.outcome).toEqual({ kind: 'finished' });
    expect(new Map(result.variables).get('reader sees')).toBe('SIGSEGV');
  });

  it('shows nothing in a kernel that flushes', () => {
    for (const retention of retentions) {
      const result = runScenario({ ...missing, omitTlbFlushes: [] }, { architecture, retention });
      expect(result.outcome).toEqual({ kind: 'finished' });
    }
  });
});

describe.each([
  { name: 'peek.ts', scenario: peek },
  { name: 'remote-read.ts', scenario: remoteRead },
  {
    name: 'fork-cow.yaml',
    scenario: loadYamlScenario(readFileSync('examples/fork-cow.yaml', 'utf8'), 'examples/fork-cow.yaml'),
  },
])('examples/$name', ({ scenario }) => {
  it.each(retentions)('holds with TLB retention %s, on one CPU and two', (retention) => {
    expect(runScenario(scenario, { architecture, retention }).outcome).toEqual({ kind: 'finished' });
    const onOne = runScenario({ ...scenario, placement: {} }, { architecture, retention, cpus: 1 });
    expect(onOne.outcome).toEqual({ kind: 'finished' });
  });

  it('holds under 40 random schedules', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { outcome, schedule } = runScenario(scenario, { architecture, policy: 'random', seed });
      expect({ seed, outcome, schedule }).toEqual({ seed, outcome: { kind: 'finished' }, schedule });
    }
  });
});

describe('examples/remote-read.ts', () => {
  it('copies the page for the target alone', () => {
    const result = runScenario(remoteRead, { architecture });
    const variables = new Map(result.variables);
    expect(variables.get('target sees')).toBe(0xcafe_f00dn);
    expect(variables.get('child sees')).toBe(0x1122_3344_5566_7788n);
    expect(result.programs.find(({ name }) => name === 'debugger')).toMatchObject({ cpu: 1, minFlt: 1 });
  });
});

describe.runIf(architectureName === 'x86_64')('what the README shows of examples/remote-read.ts', () => {
  const printed = scenarioText(runScenario(remoteRead, { architecture }), { width: 120 });
  const excerpt = /```\n( +cycles {2}CPU 0[^`]*)```/.exec(readFileSync('README.md', 'utf8'))?.[1] ?? '';
  const parts = excerpt.split(/^ +\.\.\.\n/m).map((part) => part.trimEnd());

  it('has parts, and says where it leaves something out', () => {
    expect(parts).toHaveLength(3);
  });

  it.each(parts)('is printed: %#', (part) => {
    expect(printed).toContain(part);
  });
});

describe('examples/peek.ts', () => {
  it('is the scenario of the README', () => {
    const shown = /```ts\n([^`]*)```/.exec(readFileSync('README.md', 'utf8'))?.[1];
    expect(readFileSync('examples/peek.ts', 'utf8')).toBe(shown);
  });
});
