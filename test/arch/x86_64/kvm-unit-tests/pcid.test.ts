/** kvm-unit-tests x86/pcid.c: enabling PCIDs and INVPCID, and what is refused without them. */
import { describe, expect, it } from 'vitest';
import { CPU_MODELS, INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { controlRegisters, invpcid } from '../../../../src/arch/x86_64/privileged.ts';
import { TestMachine } from './test-machine.ts';

const GP = 13;
const UD = 6;

describe('pcid', () => {
  it.each(Object.entries(CPU_MODELS))('CPUID consistency: %s has no INVPCID without PCIDs', (_, model) => {
    expect(model.invpcid && !model.pcid).toBe(false);
  });

  it('Test on PCID when enabled: CR4.PCIDE can be set', () => {
    expect(new TestMachine().cr4(['PCIDE', true])).toBe(0);
  });

  it('Test on PCID when enabled: clearing CR0.PG while CR4.PCIDE = 1 is #GP', () => {
    const machine = new TestMachine();
    machine.cr4(['PCIDE', true]);
    expect(machine.cr0(['PG', false])).toBe(GP);
  });

  it('Test on PCID when enabled: setting CR4.PCIDE while CR3[11:0] is not 0 is #GP and changes nothing', () => {
    const machine = new TestMachine();
    expect(machine.cr3(0x1001n)).toBe(0);
    const before = controlRegisters(machine.mmu);
    expect(machine.cr4(['PCIDE', true])).toBe(GP);
    expect(controlRegisters(machine.mmu)).toEqual(before);
    expect(machine.cr3(0x1000n)).toBe(0);
    expect(machine.cr4(['PCIDE', true])).toBe(0);
  });

  it('Test on PCID when disabled: setting CR4.PCIDE is #GP', () => {
    const without = new TestMachine({ ...INTEL_COMPLETE, pcid: false, invpcid: false });
    expect(without.cr4(['PCIDE', true])).toBe(GP);
  });

  it.each([
    ['CR4.PCIDE = 0, type 1, PCID 0: no exception', false, 1n, 0n, 0],
    ['CR4.PCIDE = 0, type 1, PCID 1: #GP', false, 1n, 1n, GP],
    ['CR4.PCIDE = 1, type 2, PCID 10: no exception', true, 2n, 10n, 0],
  ] as const)('Test on INVPCID when enabled: %s', (_, pcide, type, pcid, vector) => {
    const machine = new TestMachine();
    if (pcide) expect(machine.cr4(['PCIDE', true])).toBe(0);
    expect(invpcid(machine.mmu, type, pcid, 0n)?.vector ?? 0).toBe(vector);
  });

  it('Test on INVPCID when disabled: #UD', () => {
    const without = new TestMachine({ ...INTEL_COMPLETE, invpcid: false });
    expect(invpcid(without.mmu, 2n, 0n, 0n)?.vector).toBe(UD);
  });
});
