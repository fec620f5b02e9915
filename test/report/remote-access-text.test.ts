import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { COST_PROFILES, type CostProfile } from '../../src/hardware/cost-profile.ts';
import type { RemoteAccessHeading } from '../../src/report/remote-access-text.ts';
import { accessText, remoteAccessText, sizeText } from '../../src/report/remote-access-text.ts';
import {
  type RemoteAccessFindings,
  remoteAccessExperiment,
} from '../../src/userland/experiments/remote-access.ts';
import type { RemoteAccessCost } from '../../src/userland/experiments/remote-access-cost.ts';

const cost = (design: RemoteAccessCost['design'], changed: Partial<RemoteAccessCost>): RemoteAccessCost => ({
  design,
  bytes: 8,
  write: false,
  present: true,
  vmas: 1,
  moved: 8,
  cycles: 364,
  atomics: 5,
  lines: { mmapLock: 2, vmaRefcount: 0, pageTableLock: 1, pageRefcount: 2, other: 0 },
  stepsWithInterruptsOff: 0,
  vmaLookups: 3,
  walks: 1,
  fallbacks: new Map(),
  ...changed,
});
const nobody = { writes: 0, writesPerMillion: 0 };
const beside = { calls: 6, median: 364, p99: 1364.4, longest: 2000, callsPerMillion: 2719.4 };
const findings: RemoteAccessFindings = {
  alone: [
    cost('v0', {}),
    cost('v5', { cycles: 203, stepsWithInterruptsOff: 9 }),
    cost('v0', { bytes: 2 ** 20, present: false, vmas: 2, cycles: 1_162_949 }),
    cost('v1', {
      bytes: 2 ** 20,
      present: false,
      vmas: 2,
      fallbacks: new Map([
        ['absent page', 1],
        ['several VMAs', 2],
      ]),
    }),
  ],
  together: [
    { design: 'v0', readers: 1, writer: 'none', ...nobody, ...beside },
    { design: 'v1', readers: 1, writer: 'none', ...nobody, ...beside },
    {
      design: 'v0',
      readers: 2,
      writer: 'mprotect of another VMA',
      writes: 201,
      writesPerMillion: 91_103.2,
      ...beside,
    },
  ],
};
const heading: RemoteAccessHeading = {
  arch: 'x86_64',
  profile: 'sapphire-rapids',
  write: false,
  callsOfReader: 3,
};

describe('the report of bench remote-access', () => {
  it('has a table of calls alone and one of readers beside each other', async () => {
    await expect(remoteAccessText(findings, heading)).toMatchFileSnapshot('../golden/remote-access.txt');
  });

  it.each([
    [8, '8 B'],
    [4096, '4 KiB'],
    [6144, '6 KiB'],
    [2 ** 21, '2 MiB'],
    [1000, '1000 B'],
  ])('calls %i bytes %s', (bytes, text) => {
    expect(sizeText(bytes)).toBe(text);
  });

  it('says what was written', () => {
    expect(accessText(cost('v0', { write: true, present: false }))).toBe(
      'write of 8 B, pages absent, one VMA',
    );
  });
});

describe('the experiment', () => {
  const wanted = {
    architecture: architectureNamed('x86_64'),
    profile: COST_PROFILES['flat'] as CostProfile,
    designs: ['v0', 'v4'] as const,
    sizes: [8],
    write: true,
    readers: [1],
    callsOfReader: 2,
  };

  it('stops after a measurement when it is told to, with those made', () => {
    const running = remoteAccessExperiment(wanted);
    expect(running.next(false)).toMatchObject({ value: 1, done: false });
    const { value, done } = running.next(true);
    expect(done).toBe(true);
    expect(value).toMatchObject({ alone: [{ design: 'v0', moved: 8, write: true }], together: [] });
  });

  it('measures each case of each design, and the same again', () => {
    const all = (): RemoteAccessFindings => {
      const running = remoteAccessExperiment(wanted);
      let next = running.next(false);
      while (!next.done) next = running.next(false);
      return next.value;
    };
    const { alone, together } = all();
    expect(alone.map(({ design, moved }) => `${design} ${moved}`)).toEqual(
      Array(4).fill(['v0 8', 'v4 8']).flat(),
    );
    expect(together.map(({ calls }) => calls)).toEqual([2, 2, 2, 2]);
    expect(all()).toEqual({ alone, together });
  });
});
