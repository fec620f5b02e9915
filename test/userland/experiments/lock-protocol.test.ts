/**
 * The lock protocol of each design as its runs give it, against what the proposals and their reviews say of it. Where the two
 * differ docs/decisions/0012-remote-access.md says why.
 */
import { describe, expect, it } from 'vitest';
import { DESIGN_NAMES, type DesignName } from '../../../src/kernel/remote/design-names.ts';
import { designNamed } from '../../../src/kernel/remote/designs/registry.ts';
import { writePresentPage } from '../../../src/userland/experiments/lock-protocol/absent-and-written.ts';
import { contradictions } from '../../../src/userland/experiments/lock-protocol/claims.ts';
import {
  lockProtocolExperiment,
  lockProtocolOf,
  PROTOCOL_ROWS,
  type ProtocolRow,
} from '../../../src/userland/experiments/lock-protocol/lock-protocol.ts';
import { ProtocolMachine } from '../../../src/userland/experiments/lock-protocol/machine.ts';
import { readPresentPages } from '../../../src/userland/experiments/lock-protocol/steady.ts';
import { architecture } from '../../support/architecture.ts';

const protocols = new Map(DESIGN_NAMES.map((name) => [name, lockProtocolOf(architecture, name)]));
const protocolOf = (name: DesignName) => protocols.get(name) as ReturnType<typeof lockProtocolOf>;

const V = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;
const N = ['n1', 'n2', 'n3', 'n4'] as const;
/** All of them left to today's code. */
const left = (reason: string): string => `falls back (${reason})`;
const PER_PAGE_PTL = 'per page 1 on ptl, 2 on page count';

/** In the order of the names. */
const EXPECTED: Readonly<Record<ProtocolRow, readonly string[]>> = {
  stability: [
    'mmap_lock read, whole call',
    'VMA read, per page',
    'VMA read, per page',
    'VMA read, whole call',
    'VMA read or mmap_lock read, whole call',
    'VMA read, whole call',
    'none; sequence of mmap_lock, validated at the end',
  ],
  severalVmas: [
    'yes, consistent',
    'yes, may tear',
    'two at a border, may tear; else falls back (more than a page), consistent',
    ...Array<string>(4).fill('falls back (several VMAs), consistent'),
  ],
  absentPage: [
    'faults under mmap_lock',
    left('absent page'),
    left('absent page'),
    left('absent page'),
    'faults under the VMA lock; else (lock lost in a fault) on under mmap_lock',
    left('absent page'),
    left('absent page'),
  ],
  writes: [
    'yes',
    left('write'),
    left('write'),
    left('write'),
    'yes, under the VMA lock',
    'if the pte is writable; else falls back (lockless walk stopped)',
    left('write'),
  ],
  stackGrowth: [
    'yes',
    left('hole or stack growth'),
    left('hole or stack growth'),
    left('hole or stack growth'),
    'in its lock function, by mmap_lock (hole or stack growth)',
    left('hole or stack growth'),
    left('hole or stack growth'),
  ],
  device: [
    'by the access operation',
    left('device memory'),
    left('device memory'),
    left('device memory'),
    'in its lock function, by mmap_lock (device memory)',
    left('device memory'),
    left('device memory'),
  ],
  deviceWithoutAccess: [
    '0 bytes',
    `${left('device memory')}, 0 bytes`,
    `${left('device memory')}, 0 bytes`,
    `${left('device memory')}, 0 bytes`,
    'in its lock function, by mmap_lock (device memory), 0 bytes',
    `${left('device memory')}, 0 bytes`,
    `${left('device memory')}, 0 bytes`,
  ],
  hugetlb: [
    'GUP',
    left('hugetlb'),
    left('hugetlb'),
    left('hugetlb'),
    'GUP under the VMA lock',
    left('hugetlb'),
    left('hugetlb'),
  ],
  tableLifetime: [
    'mmap_lock + RCU + ptl',
    'VMA + RCU + ptl',
    'VMA + interrupts off + RCU + ptl',
    'VMA + RCU + ptl',
    'VMA + RCU + ptl',
    'VMA + interrupts off; entries read again, no ptl',
    'interrupts off; entries read again, no ptl',
  ],
  atomics: [
    `2 on mmap_lock; ${PER_PAGE_PTL}`,
    'per page 2 on vm_refcnt, 1 on ptl, 2 on page count',
    'per page 2 on vm_refcnt, 1 on ptl, 2 on page count',
    `2 on vm_refcnt; ${PER_PAGE_PTL}`,
    `2 on vm_refcnt; ${PER_PAGE_PTL}`,
    '2 on vm_refcnt; per page 2 on page count',
    'per page 2 on page count',
  ],
  unrelatedWriter: ['yes', ...Array<string>(5).fill('only if that VMA is write-locked'), 'yes'],
};

describe.each(Object.keys(PROTOCOL_ROWS) as ProtocolRow[])('%s', (row) => {
  it.each(V.map((name, at) => [name, EXPECTED[row][at] as string] as const))(
    'of %s: %s',
    (name, expected) => {
      expect(protocolOf(name).rows[row]).toBe(expected);
    },
  );
});

describe('the wrong designs', () => {
  it.each([
    ['n1', 'stability', 'nothing'],
    ['n1', 'unrelatedWriter', 'no'],
    ['n2', 'stability', 'VMA read at the first page, then nothing'],
    ['n3', 'tableLifetime', 'VMA + RCU; no ptl, entries not read again'],
    ['n4', 'absentPage', 'falls back (absent page), the VMA locked meanwhile'],
  ] as const)('%s is seen by its protocol: %s is %s', (name, row, seen) => {
    expect(protocolOf(name).rows[row]).toBe(seen);
  });

  it.each([
    ['n1', { afterProtNone: true, foreignPage: false, deadlock: false }],
    ['n2', { afterProtNone: true, foreignPage: false, deadlock: false }],
    ['n3', { afterProtNone: false, foreignPage: true, deadlock: false }],
    ['n4', { afterProtNone: false, foreignPage: false, deadlock: true }],
  ] as const)('%s goes wrong beside a writer in its own way', (name, hazards) => {
    expect(protocolOf(name).hazards).toEqual(hazards);
  });

  it.each(V)('and %s does not', (name) => {
    expect(Object.values(protocolOf(name).hazards)).not.toContain(true);
  });
});

describe('what a design says that it serves', () => {
  it.each([...V, ...N])('is what the runs of %s did', (name) => {
    expect(protocolOf(name).contradictions).toEqual([]);
  });

  it('is found to be wrong where it is', () => {
    const machine = (): ProtocolMachine => new ProtocolMachine(architecture, 'v3');
    const read = readPresentPages(machine()).onePage;
    const written = writePresentPage(machine());
    const runs = {
      reads: read,
      writes: written,
      absentPages: written,
      stackGrowth: read,
      hugetlb: read,
      pfnmap: read,
      multiVma: written,
    };
    const { serves } = designNamed('v3');
    const claim = { ...serves, writes: true, multiVma: 'mmap_lock' as const };
    expect(contradictions({ ...designNamed('v3'), serves: claim }, runs)).toEqual([
      'writes',
      'stackGrowth',
      'hugetlb',
      'pfnmap',
    ]);
  });
});

describe('the experiment', () => {
  it('ends after a design when it is told to, with what there is', () => {
    const running = lockProtocolExperiment(architecture, ['v5', 'v6']);
    expect(running.next(false)).toEqual({ done: false, value: 1 });
    expect(running.next(true)).toEqual({ done: true, value: [protocolOf('v5')] });
  });
});
