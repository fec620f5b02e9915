/** The registers of a CPU as Linux sets them up. @see the registers of a running Debian kernel 6.12 on QEMU 7.2, `-cpu max,lpa2=off` */
import { describe, expect, it } from 'vitest';
import { ARM64_COMPLETE, ARM64_QEMU_7_2, NEOVERSE_V2 } from '../../../../src/arch/arm64/features.ts';
import {
  kernelIndirection,
  kernelMair,
  kernelSctlr,
  kernelTcr,
  setUpCpu,
} from '../../../../src/arch/arm64/kernel/cpu-setup.ts';
import { Arm64PagingFormat } from '../../../../src/arch/arm64/kernel/paging-format.ts';
import { untaggedAddress } from '../../../../src/arch/arm64/kernel/untagged-address.ts';
import { TCR_EL1 } from '../../../../src/arch/arm64/registers.ts';
import { Arm64State } from '../../../../src/arch/arm64/state.ts';
import { SCTLR_EL1 } from '../../../../src/arch/arm64/system-registers.ts';

const format = new Arm64PagingFormat({ granule: 12, addressSize: 48 });
const wide = new Arm64PagingFormat({ granule: 12, addressSize: 52 });
const hex = (value: bigint): string => `0x${value.toString(16)}`;

describe('a CPU under Linux', () => {
  it('has the TCR_EL1 and MAIR_EL1 of a real one', () => {
    expect(hex(kernelTcr(ARM64_QEMU_7_2, format))).toBe('0x15001f5b5503510');
    expect(hex(kernelMair(ARM64_QEMU_7_2))).toBe('0x40044f0ff');
  });

  it('has the SCTLR_EL1 of a real one, but for BTI and what belongs to the task', () => {
    const real = 0x200_0c78_fc74_791dn;
    const others = SCTLR_EL1.mask('BT0', 'BT1', 'TCF0');
    expect(hex(kernelSctlr(ARM64_QEMU_7_2))).toBe(hex(real & ~others));
  });

  it('without MTE has no tagged memory and ignores no top byte in the kernel', () => {
    const plain = { ...NEOVERSE_V2, mte: 0 } as const;
    expect(hex(kernelMair(plain))).toBe('0x40044ffff');
    expect(TCR_EL1.has(kernelTcr(plain, format), 'TBI1')).toBe(false);
    expect(TCR_EL1.has(kernelTcr(plain, format), 'TBI0')).toBe(true);
    expect(SCTLR_EL1.has(kernelSctlr(plain), 'ATA0')).toBe(false);
  });

  it.each([
    ['no hardware update', 0, false, false],
    ['the Access flag', 1, true, false],
    ['dirty state', 2, true, true],
  ] as const)('FEAT_HAFDBS, %s', (_name, hafdbs, ha, hd) => {
    const tcr = kernelTcr({ ...NEOVERSE_V2, hafdbs }, format);
    expect([TCR_EL1.has(tcr, 'HA'), TCR_EL1.has(tcr, 'HD')]).toEqual([ha, hd]);
  });

  // As a build of the kernel computes PIE_E0 and PIE_E1 for its assembly, guarded control stacks included.
  it('turns permission indirection on where the CPU has it, with the PIRE0_EL1 and PIR_EL1 of a real one', () => {
    expect(kernelIndirection(ARM64_COMPLETE)).toEqual({
      pire0: 0x5010_9080_7032_0000n,
      pir: 0xcc88_0e0a_c080_0000n,
    });
    expect(kernelIndirection(NEOVERSE_V2)).toBe(null);
    const states = [ARM64_COMPLETE, NEOVERSE_V2].map((features) => {
      const state = new Arm64State();
      setUpCpu(state, features, format);
      return [state.tcr2Lo, state.pirHi, state.pire0Hi].map((word) => hex(BigInt(word >>> 0)));
    });
    expect(states).toEqual([
      ['0x2', '0xcc880e0a', '0x50109080'],
      ['0x0', '0x0', '0x0'],
    ]);
  });

  it('with 5 levels has 52-bit addresses on both sides', () => {
    const tcr = kernelTcr(ARM64_COMPLETE, wide);
    expect(TCR_EL1.has(tcr, 'DS')).toBe(true);
    expect([TCR_EL1.get(tcr, 'T0SZ'), TCR_EL1.get(tcr, 'T1SZ'), TCR_EL1.get(tcr, 'IPS')]).toEqual([
      12n,
      12n,
      6n,
    ]);
  });
});

describe('untagged_addr', () => {
  it.each([
    ['a user address loses its top byte', 0xa500_1234_5678_9abcn, 0x1234_5678_9abcn],
    ['a kernel address stays', 0xffff_1234_5678_9abcn, 0xffff_1234_5678_9abcn],
    ['with bit 55 set the tag stays', 0x0080_0000_0000_0000n, 0x0080_0000_0000_0000n],
    ['bits 54:48 are no tag', 0x1177_0000_0000_0000n, 0x0077_0000_0000_0000n],
  ])('%s', (_name, address, expected) => {
    expect(hex(untaggedAddress(address))).toBe(hex(expected));
  });
});
