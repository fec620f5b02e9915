/**
 * The scenarios of examples/questions, each run once under every design. What searches find in them is in
 * docs/questions.md, whose test makes the searches.
 */
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { DESIGN_NAMES } from '../../src/kernel/remote/design-names.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { scenarioNamed } from '../support/question-rows.ts';

const FILES = readdirSync('examples/questions').map((file) => `questions/${file.replace(/\.ts$/, '')}`);
const ARCHITECTURES = ['x86_64', 'arm64'] as const;

describe.each(FILES)('examples/%s', (file) => {
  it.each(ARCHITECTURES)(
    'ends well under every design on %s, where it is not about another',
    async (arch) => {
      const scenario = await scenarioNamed(file);
      if (scenario.arch !== undefined && scenario.arch !== arch) return;
      for (const design of DESIGN_NAMES) {
        const { outcome } = runScenario(scenario, {
          architecture: architectureNamed(arch),
          design,
          maxEvents: 0,
        });
        expect({ design, outcome }).toEqual({ design, outcome: { kind: 'finished' } });
      }
    },
  );
});

describe.each(ARCHITECTURES)('faults by kind, on %s', (arch) => {
  const kinds = async (design: (typeof DESIGN_NAMES)[number]): Promise<ScenarioResult['report'][number]> => {
    const scenario = await scenarioNamed('questions/faults-under-vma-lock');
    const { report } = runScenario(scenario, { architecture: architectureNamed(arch), design });
    const [section] = report;
    if (section === undefined) throw new Error('no report');
    return section;
  };

  it('v4 leaves only stacks and devices to mmap_lock, and userfaultfd ends it', async () => {
    const rows = (await kinds('v4')).table?.rows ?? [];
    expect(rows.length).toBe(18);
    for (const [name, , remote] of rows) {
      const expected = /device,/.test(String(name))
        ? 'no: device memory; EIO'
        : /stack/.test(String(name))
          ? 'no: hole or stack growth; served'
          : /userfaultfd/.test(String(name))
            ? 'yes; EIO'
            : 'yes; served';
      expect([name, remote]).toEqual([name, expected]);
    }
  });

  it('a program needs mmap_lock for a driver without map_pages, for userfaultfd and below a stack', async () => {
    const rows = (await kinds('v0')).table?.rows ?? [];
    const others = rows.filter(([, program]) => program !== 'yes').map(([name]) => String(name));
    expect(others).toEqual([
      'device, page by page (no map_pages)',
      'device, VM_MIXEDMAP (no map_pages)',
      'just below a stack',
      'userfaultfd, missing',
    ]);
  });
});
