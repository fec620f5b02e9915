/** Registers written and read as words by name. */
import { describe, expect, it } from 'vitest';
import { assembleTagInstruction } from '../../../src/arch/arm64/mte/assemble.ts';
import { executeTagInstruction } from '../../../src/arch/arm64/mte/encodings.ts';
import { mrs, msr } from '../../../src/arch/arm64/register-access.ts';
import { Arm64State } from '../../../src/arch/arm64/state.ts';
import { DATA, SmallMachine } from './small-machine.ts';

const WORD = 0x8123_4567_89ab_cdefn;

describe('msr and mrs', () => {
  it.each([
    ['SCTLR_EL1', 'sctlr'],
    ['TCR_EL1', 'tcr'],
    ['TCR2_EL1', 'tcr2'],
    ['TTBR0_EL1', 'ttbr0'],
    ['TTBR1_EL1', 'ttbr1'],
    ['MAIR_EL1', 'mair'],
    ['PIR_EL1', 'pir'],
    ['PIRE0_EL1', 'pire0'],
    ['POR_EL1', 'porEl1'],
    ['POR_EL0', 'porEl0'],
    ['PAR_EL1', 'par'],
  ] as const)('%s is the two halves of its own and of no other register', (name, field) => {
    const { mmu } = new SmallMachine();
    Object.assign(mmu.state, new Arm64State());
    msr(mmu, { [name]: WORD });
    expect(mmu.state).toEqual({
      ...new Arm64State(),
      [`${field}Hi`]: 0x8123_4567 | 0,
      [`${field}Lo`]: 0x89ab_cdef | 0,
    });
    expect(mrs(mmu, name)).toBe(WORD);
  });

  // "GCR_EL1", "RGSR_EL1", "TFSR_EL1", "TFSRE0_EL1": RES0 bits are not kept.
  it.each([
    ['GCR_EL1', 0x1_cdefn],
    ['RGSR_EL1', 0x23_4567_89ab_cd0fn],
    ['TFSR_EL1', 3n],
    ['TFSRE0_EL1', 3n],
  ] as const)('%s is what the instructions see, without its RES0 bits', (name, kept) => {
    const { mmu, instructions, registers } = new SmallMachine();
    msr(mmu, { [name]: WORD });
    expect(mrs(mmu, name)).toBe(kept);
    executeTagInstruction(
      { mmu, instructions, registers },
      assembleTagInstruction(`mrs x1, ${name.toLowerCase()}`),
      0,
    );
    expect([registers.high(1), registers.low(1) >>> 0]).toEqual([
      Number(kept >> 32n),
      Number(kept & 0xffff_ffffn),
    ]);
  });

  it('what is written has effect at once', () => {
    const machine = new SmallMachine().map(0x40_0000n, DATA);
    expect(machine.read(0x40_0000n)).toBe('none');
    const tcr = mrs(machine.mmu, 'TCR_EL1');
    msr(machine.mmu, { TCR_EL1: tcr | (1n << 7n) });
    machine.mmu.dropAll();
    expect(machine.read(0x40_0000n), 'TCR_EL1.EPD0').toBe('not present ESR 96000004 FAR 400000');
  });

  it.each([-1n, 1n << 64n])('refuses %d, before anything is written', (value) => {
    const { mmu } = new SmallMachine();
    expect(() => msr(mmu, { TTBR0_EL1: 0x20000n, TTBR1_EL1: value })).toThrow(RangeError);
    expect(mrs(mmu, 'TTBR0_EL1')).toBe(0x10000n);
  });
});
