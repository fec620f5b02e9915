import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import type { ExplainedWalk } from '../../../src/arch/explained-walk.ts';
import { PDE, PML4E, PTE } from '../../../src/arch/x86_64/entries.ts';
import { explainWalk } from '../../../src/arch/x86_64/explain.ts';
import { AMD_ZEN4, type CpuFeatures, INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import { walkText } from '../../../src/report/walk-text.ts';
import { TestMachine } from './kvm-unit-tests/test-machine.ts';

const PAGE = 0x7f00_1234_5000n;
const entriesOf = (walk: ExplainedWalk): string[] =>
  walk.steps.flatMap((step) => (step.kind === 'entry' ? [`${step.form} from ${step.source}`] : []));

describe('an explained walk', () => {
  it('names every level on a miss, nothing but the hit afterwards, and agrees with the MMU', () => {
    const machine = new TestMachine();
    machine.map(PAGE, { RW: 1, US: 1 });
    const miss = explainWalk(machine.mmu, PAGE + 0x678n, Access.User | Access.Write);
    expect(entriesOf(miss)).toEqual(['PML4E', 'PDPTE', 'PDE', 'PTE'].map((name) => `${name} from memory`));
    expect(miss.steps.filter(({ kind }) => kind === 'update')).toHaveLength(4);
    expect(miss.outcome).toMatchObject({
      kind: 'translation',
      physicalAddress: 0x20_0678n,
      memoryType: 'WB',
    });
    const hit = explainWalk(machine.mmu, PAGE, Access.User);
    expect(entriesOf(hit)).toEqual([]);
    expect(hit.steps).toMatchObject([{ kind: 'hit', text: 'L1 DTLB: hit' }]);
    expect(hit.rules[0]).toMatch(/user-mode page/);
  });

  it('leaves the observer of the MMU in place and tells it nothing', () => {
    const machine = new TestMachine();
    const before = machine.mmu.observer;
    explainWalk(machine.mmu, PAGE, Access.Read);
    expect(machine.mmu.observer).toBe(before);
  });

  it('shows the upper level that a paging-structure cache gave', () => {
    const machine = new TestMachine();
    machine.map(PAGE, { RW: 1, US: 1 });
    machine.map(PAGE + 0x1000n, { RW: 1, US: 1 });
    expect(machine.read(PAGE)).toBe('ok');
    const walk = explainWalk(machine.mmu, PAGE + 0x1000n, Access.Read);
    expect(entriesOf(walk)).toEqual(['PDE from paging-structure cache', 'PTE from memory']);
  });

  it('gives every reason of a fault, the error code bit by bit and CR2', () => {
    const machine = new TestMachine();
    machine.map(PAGE, { RW: 0, US: 0 });
    const { rules, outcome } = explainWalk(machine.mmu, PAGE + 8n, Access.User | Access.Write);
    expect(rules).toEqual([expect.stringMatching(/U\/S=0/), expect.stringMatching(/R\/W=0/)]);
    expect(outcome).toMatchObject({
      kind: 'fault',
      name: '#PF',
      syndrome: { name: 'error code', value: 7n, summary: 'P WR US' },
      address: { name: 'CR2', value: PAGE + 8n },
    });
  });

  it('prints the golden text', async () => {
    const machine = new TestMachine({ ...INTEL_COMPLETE, maxPhysAddr: 40 });
    machine.cr4(['PKE', true], ['SMAP', true], ['PGE', true]);
    machine.map(PAGE, { RW: 1, US: 1, PKEY: 3, XD: 1, G: 1 });
    const walks = [
      [PAGE + 0x678n, Access.User | Access.Write],
      [PAGE + 0x678n, Access.User | Access.Fetch],
      [PAGE + 0x678n, Access.Read],
      [0x8000_0000_0000_0000n, Access.Read | Access.StackSegment],
      [PAGE + 0x1000n, Access.User],
    ] as const;
    const text = walks
      .map(([address, access]) => walkText(explainWalk(machine.mmu, address, access)))
      .join('\n\n====\n\n');
    await expect(`${text}\n`).toMatchFileSnapshot('../../golden/walk-x86_64.txt');
  });
});

describe('reserved bits, Intel and AMD', () => {
  type Change = (entry: bigint) => bigint;
  const PML4E_AT = 0x1000n + 8n * 254n;
  const PDE_AT = 0x3000n + 8n * 145n;
  const PTE_AT = 0x4000n + 8n * 325n;
  const bit8: Change = (entry) => entry | 0x100n;
  it.each([
    ['bit 8 of a PML4E is ignored by Intel', INTEL_COMPLETE, PML4E_AT, bit8, 'ok', null],
    ['bit 8 of a PML4E must be 0 on AMD', AMD_ZEN4, PML4E_AT, bit8, '#PF(P RSVD)', /bit 8 must be 0 on AMD/],
    ['bit 8 of a PDE that references a table is ignored by AMD too', AMD_ZEN4, PDE_AT, bit8, 'ok', null],
    [
      'PS of a PML4E',
      INTEL_COMPLETE,
      PML4E_AT,
      (entry: bigint) => PML4E.set(entry, 'PS', 1),
      '#PF(P RSVD)',
      /PML4E: PS is reserved/,
    ],
    [
      'address beyond MAXPHYADDR',
      { ...INTEL_COMPLETE, maxPhysAddr: 40 } as CpuFeatures,
      PTE_AT,
      (entry: bigint) => entry | (1n << 40n),
      '#PF(P RSVD)',
      /bits 51:40/,
    ],
    [
      'bit 13 of a 2-MByte PDE',
      INTEL_COMPLETE,
      PDE_AT,
      () => PDE.encode({ P: 1, PS: 1 }) | (1n << 13n),
      '#PF(P RSVD)',
      /bits 20:13/,
    ],
    [
      'XD is no reserved bit with NXE',
      INTEL_COMPLETE,
      PTE_AT,
      (entry: bigint) => PTE.set(entry, 'XD', 1),
      'ok',
      null,
    ],
  ] as const)('%s', (_, features, at, change, want, rule) => {
    const machine = new TestMachine(features);
    machine.map(PAGE, { RW: 1, US: 1 });
    machine.memory.writeWord(at, change(machine.memory.readWord(at) ?? 0n));
    expect(machine.read(PAGE)).toBe(want);
    const { rules } = explainWalk(machine.mmu, PAGE, Access.Read);
    if (rule !== null) expect(rules).toEqual([expect.stringMatching(rule)]);
    else expect(rules.at(-1)).toBe('allowed');
  });
});
