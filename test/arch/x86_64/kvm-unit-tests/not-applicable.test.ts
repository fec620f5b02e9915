/**
 * The cases of kvm-unit-tests' access, la57, pcid, lam, pks, pku, smap and cet tests that have no row in this folder's
 * tables, each with the reason. They show up as skipped, never as passed.
 */
import { describe, expect, it } from 'vitest';

const INSTRUCTION = 'needs an instruction stream; here accesses are made, instructions are not executed';
const SEGMENT =
  'a descriptor-table, segment or MSR register that translation does not read; it is not modelled';
const EMULATOR = 'runs the instruction in the emulator of KVM, not on the processor';
const MODE = '32-bit and PAE paging are not modelled';

const NOT_APPLICABLE: readonly (readonly [test: string, name: string, reason: string])[] = [
  ['access', 'flag fep: every access again under the forced emulation prefix', EMULATOR],
  ['access', 'check_toggle_cr0_wp with fep', EMULATOR],
  ['access', '32-bit build with PAE page tables', MODE],
  ['la57', 'no fault when CR4.LA57 is set in 32-bit mode', MODE],
  ['la57', 'canonical checks of GDTR_BASE and IDTR_BASE', SEGMENT],
  ['la57', 'canonical checks of TR_BASE and LDT_BASE', SEGMENT],
  ['la57', 'canonical checks of MSR_FS_BASE, MSR_GS_BASE and MSR_KERNEL_GS_BASE', SEGMENT],
  ['la57', 'canonical checks of MSR_CSTAR and MSR_LSTAR', SEGMENT],
  ['la57', 'canonical checks of MSR_IA32_DS_AREA', SEGMENT],
  ['la57', 'canonical checks of MSR_IA32_RTIT_ADDR*', SEGMENT],
  ['la57', 'canonical checks of MSR_IA32_SYSENTER_ESP and EIP', 'skipped by la57.c itself'],
  ['la57', 'all canonical checks again with forced emulation', EMULATOR],
  [
    'lam',
    'tagged access to MMIO',
    'a device page translates as memory does; the row for memory stands for both',
  ],
  ['lam', 'INVLPG with a tagged address under forced emulation', EMULATOR],
  ['pku', 'implicit kernel access from ring 3', 'named as not done by pku.c itself'],
  ['cet', 'NEAR RET shadow-stack protection test (#CP)', INSTRUCTION],
  ['cet', 'FAR RET shadow-stack protection test (#CP)', INSTRUCTION],
  ['cet', 'Indirect-branch tracking test (#CP)', INSTRUCTION],
  [
    'cet',
    'MSR_IA32_PL3_SSP alignment test',
    'the shadow-stack pointer is no register of translation; it is not modelled',
  ],
];

describe('cases that do not apply', () => {
  it.skip.each(NOT_APPLICABLE)('%s: %s: does not apply: %s', () => {});

  it('each has a reason', () => {
    for (const [test, name, reason] of NOT_APPLICABLE) {
      expect([test, name, reason.length > 15]).toEqual([test, name, true]);
    }
    expect(new Set(NOT_APPLICABLE.map(([test, name]) => `${test} ${name}`)).size).toBe(NOT_APPLICABLE.length);
  });
});
