import { describe, expect, it } from 'vitest';
import { AMD_ZEN4, type CpuFeatures, INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import { Msr } from '../../../src/arch/x86_64/model-specific-registers.ts';
import {
  controlRegisters,
  invlpg,
  invpcid,
  movToCr0,
  movToCr3,
  movToCr4,
  setAlignmentCheck,
  wrmsr,
  wrpkru,
} from '../../../src/arch/x86_64/privileged.ts';
import { CR3_PCIDE } from '../../../src/arch/x86_64/registers.ts';
import { TestMachine } from './kvm-unit-tests/test-machine.ts';

const LOCAL = 0x40_0000n;
const GLOBAL = 0x40_1000n;

/** Two pages cached under PCID 5, one of them global, then taken away in memory without an invalidation. */
function staleMachine(features: CpuFeatures = INTEL_COMPLETE): TestMachine {
  const machine = new TestMachine(features, 4, 'adversarial');
  machine.cr4(['PGE', true], ['PCIDE', true]);
  const local = machine.map(LOCAL, { RW: 1 });
  const global = machine.map(GLOBAL, { RW: 1, G: 1 });
  machine.cr3(0x1005n);
  expect([machine.read(LOCAL), machine.read(GLOBAL)]).toEqual(['ok', 'ok']);
  machine.memory.writeWord(local, 0n);
  machine.memory.writeWord(global, 0n);
  expect([machine.read(LOCAL), machine.read(GLOBAL)]).toEqual(['ok', 'ok']);
  return machine;
}

type Step = (machine: TestMachine) => unknown;

// What the SDM ("Invalidation of TLBs and Paging-Structure Caches") lets a processor keep of the two.
const FLUSHES: readonly (readonly [name: string, step: Step, local: boolean, global: boolean])[] = [
  ['nothing', () => null, true, true],
  ['INVLPG of the page', (m) => invlpg(m.mmu, LOCAL + 5n), false, true],
  ['INVLPG of the global page', (m) => invlpg(m.mmu, GLOBAL), true, false],
  ['INVPCID 0, PCID 5', (m) => invpcid(m.mmu, 0n, 5n, LOCAL), false, true],
  ['INVPCID 0, another PCID', (m) => invpcid(m.mmu, 0n, 6n, LOCAL), true, true],
  ['INVPCID 1, PCID 5', (m) => invpcid(m.mmu, 1n, 5n, 0n), false, true],
  ['INVPCID 2', (m) => invpcid(m.mmu, 2n, 0n, 0n), false, false],
  ['INVPCID 3', (m) => invpcid(m.mmu, 3n, 0n, 0n), false, true],
  ['MOV to CR3, same PCID', (m) => movToCr3(m.mmu, 0x1005n), false, true],
  ['MOV to CR3, same PCID, bit 63', (m) => movToCr3(m.mmu, 0x1005n | CR3_PCIDE.mask('NO_FLUSH')), true, true],
  ['CR4.PGE off and on', (m) => [m.cr4(['PGE', false]), m.cr4(['PGE', true])], false, false],
  ['CR4.SMEP on', (m) => m.cr4(['SMEP', true]), false, false],
  ['CR4.SMAP on', (m) => m.cr4(['SMAP', true]), true, true],
  ['CR0.WP off', (m) => m.cr0(['WP', false]), true, true],
  ['WRPKRU', (m) => [m.cr4(['PKE', true]), wrpkru(m.mmu, 0)], true, true],
  ['WRMSR to IA32_PAT', (m) => wrmsr(m.mmu, Msr.IA32_PAT, 0x0606n), true, true],
  ['a refused MOV to CR3', (m) => movToCr3(m.mmu, 1n << 60n), true, true],
  ['a refused INVPCID', (m) => invpcid(m.mmu, 4n, 0n, 0n), true, true],
  ['INVLPG at CPL 3', (m) => invlpg(m.mmu, LOCAL, 3), true, true],
];

describe('what a step leaves in the caches', () => {
  it.each(FLUSHES)('%s', (_, step, local, global) => {
    const machine = staleMachine();
    step(machine);
    const stale = [local, global].map((kept) => (kept ? 'ok' : '#PF()'));
    expect([machine.read(LOCAL), machine.read(GLOBAL)]).toEqual(stale);
  });

  it.each([
    ['CR4.SMEP on', (m: TestMachine) => m.cr4(['SMEP', true]), 'ok'],
    ['CR4.PKE on', (m: TestMachine) => m.cr4(['PKE', true]), '#PF()'],
    ['a write to an MTRR', (m: TestMachine) => wrmsr(m.mmu, Msr.IA32_MTRR_DEF_TYPE, 0x806n), '#PF()'],
  ] as const)('%s on AMD', (_, step, want) => {
    const machine = staleMachine(AMD_ZEN4);
    step(machine);
    expect(machine.read(GLOBAL)).toBe(want);
  });
});

describe('an operand that is no 64-bit word', () => {
  it.each<readonly [string, Step]>([
    ['MOV to CR0', (m) => movToCr0(m.mmu, (1n << 64n) | 0x8005_0033n)],
    ['MOV to CR3', (m) => movToCr3(m.mmu, 1n << 64n)],
    ['MOV to CR3, negative', (m) => movToCr3(m.mmu, -1n)],
    ['MOV to CR4', (m) => movToCr4(m.mmu, (1n << 64n) | 0x20n)],
    ['WRMSR', (m) => wrmsr(m.mmu, Msr.IA32_PAT, 1n << 64n)],
    ['INVLPG', (m) => invlpg(m.mmu, 1n << 64n)],
    ['INVPCID type -1', (m) => invpcid(m.mmu, -1n, 0n, 0n)],
    ['INVPCID type', (m) => invpcid(m.mmu, 1n << 64n, 0n, 0n)],
    ['INVPCID descriptor', (m) => invpcid(m.mmu, 0n, 1n << 64n, 0n)],
    ['INVPCID address', (m) => invpcid(m.mmu, 0n, 0n, -1n)],
  ])('%s: a RangeError, and nothing changes', (_, step) => {
    const machine = staleMachine();
    const before = structuredClone({ ...machine.mmu.state });
    expect(() => step(machine)).toThrow(RangeError);
    expect({ ...machine.mmu.state }).toEqual(before);
    expect([machine.read(LOCAL), machine.read(GLOBAL)]).toEqual(['ok', 'ok']);
  });
});

describe('a refused step', () => {
  it.each([
    ['MOV to CR3', (m: TestMachine) => movToCr3(m.mmu, 1n << 60n)],
    ['MOV to CR3 at CPL 3', (m: TestMachine) => movToCr3(m.mmu, 0x2000n, 3)],
    ['WRMSR', (m: TestMachine) => wrmsr(m.mmu, Msr.IA32_EFER, 0n)],
    ['WRMSR at CPL 3', (m: TestMachine) => wrmsr(m.mmu, Msr.IA32_PAT, 0x0606n, 3)],
    ['WRPKRU without CR4.PKE', (m: TestMachine) => wrpkru(m.mmu, -1)],
    ['STAC at CPL 3', (m: TestMachine) => setAlignmentCheck(m.mmu, true, 3)],
  ] as const)('%s changes no register', (_, step) => {
    const machine = new TestMachine();
    const before = structuredClone({ ...machine.mmu.state });
    expect(step(machine)).toMatchObject({ rule: expect.any(String) });
    expect({ ...machine.mmu.state }).toEqual(before);
  });

  it('reads back what an accepted step stored', () => {
    const machine = new TestMachine();
    expect(movToCr3(machine.mmu, 0x1fffn)).toBeNull();
    expect(controlRegisters(machine.mmu).cr3).toBe(0x1fffn);
  });
});
