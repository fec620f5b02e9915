/** kvm-unit-tests x86/la57.c: CR4.LA57 in 64-bit mode, and canonical checks of the registers that hold linear addresses. */
import { describe, expect, it } from 'vitest';
import { INTEL_BROADWELL, INTEL_COMPLETE } from '../../../../src/arch/x86_64/features.ts';
import { invpcid } from '../../../../src/arch/x86_64/privileged.ts';
import { TestMachine } from './test-machine.ts';

const CANONICAL_48 = 0xffff_aaaa_aaaa_a000n;
const CANONICAL_57 = 0xffaa_aaaa_aaaa_a000n;
const NONCANONICAL = 0xaaaa_aaaa_aaaa_a000n;

describe('la57', () => {
  it.each([
    ['supported', INTEL_COMPLETE],
    ['not supported', INTEL_BROADWELL],
  ] as const)('#GP when CR4.LA57 is set in 64-bit mode, LA57 %s', (_, features) => {
    expect(new TestMachine(features).cr4(['LA57', true])).toBe(13);
  });

  it.each([
    ['48-bit canonical, LA57 not supported', INTEL_BROADWELL, 4, CANONICAL_48, 0],
    ['57-bit canonical, LA57 not supported', INTEL_BROADWELL, 4, CANONICAL_57, 13],
    ['not canonical, LA57 not supported', INTEL_BROADWELL, 4, NONCANONICAL, 13],
    ['48-bit canonical, LA57 supported and off', INTEL_COMPLETE, 4, CANONICAL_48, 0],
    ['57-bit canonical, LA57 supported and off', INTEL_COMPLETE, 4, CANONICAL_57, 0],
    ['not canonical, LA57 supported and off', INTEL_COMPLETE, 4, NONCANONICAL, 13],
    ['57-bit canonical, LA57 on', INTEL_COMPLETE, 5, CANONICAL_57, 0],
    ['not canonical, LA57 on', INTEL_COMPLETE, 5, NONCANONICAL, 13],
  ] as const)('INVPCID type 0: %s', (_, features, levels, address, vector) => {
    const machine = new TestMachine(features, levels);
    expect(machine.cr4(['PCIDE', true])).toBe(0);
    expect(invpcid(machine.mmu, 0n, 10n, address)?.vector ?? 0).toBe(vector);
  });

  // The same values as addresses of an access follow CR4.LA57, not what is supported.
  it.each([
    [4, CANONICAL_57, '#GP'],
    [5, CANONICAL_57, '#PF()'],
    [5, NONCANONICAL, '#GP'],
  ] as const)('a read with %i levels of 0x%s gives %s', (levels, address, want) => {
    expect(new TestMachine(INTEL_COMPLETE, levels).read(address)).toBe(want);
  });
});
