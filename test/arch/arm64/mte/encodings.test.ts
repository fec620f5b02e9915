import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  decodeTagInstruction,
  encodeTagInstruction,
  formatTagInstruction,
  TAG_ENCODINGS,
} from '../../../../src/arch/arm64/mte/encodings.ts';
import { operandValue } from '../../../../src/arch/arm64/mte/operands.ts';
import { openCapstone } from './capstone.ts';

/** What Capstone 5.0 makes of a word, where it is not what the manual says. */
const NO_STGP = 'Capstone does not know STGP';
const NO_CMPP = 'Capstone does not know the alias CMPP';
const NO_DEEP = 'Capstone does not know the Point of Deep Persistence of tags';

/** Words put together by hand from the encoding diagrams of the manual, not by the table. */
const words: readonly [section: string, word: number, text: string, difference: string | null][] = [
  ['IRG', 0x9ac0_1000, 'irg x0, x0, x0', null],
  ['IRG', 0x9adf_1023, 'irg x3, x1', null],
  ['IRG: Xm is optional, XZR by default', 0x9adf_13ff, 'irg sp, sp', null],
  ['IRG', 0x9ac2_13e3, 'irg x3, sp, x2', null],
  ['GMI', 0x9ac0_1441, 'gmi x1, x2, x0', null],
  ['GMI: Xd and Xm are XZR, Xn is SP', 0x9adf_17ff, 'gmi xzr, sp, xzr', null],
  ['SUBP', 0x9ac0_0041, 'subp x1, x2, x0', null],
  ['SUBP: Xd is XZR, Xn and Xm are SP', 0x9adf_03ff, 'subp xzr, sp, sp', null],
  ['SUBPS', 0xbac2_03e1, 'subps x1, sp, x2', null],
  ['CMPP: SUBPS with Xd = XZR', 0xbac0_005f, 'cmpp x2, x0', NO_CMPP],
  ['CMPP', 0xbadf_03ff, 'cmpp sp, sp', NO_CMPP],
  ['ADDG', 0x9180_0000, 'addg x0, x0, #0, #0', null],
  ['ADDG: uimm6 in units of 16', 0x91bf_3fff, 'addg sp, sp, #1008, #15', null],
  ['ADDG', 0x9181_0841, 'addg x1, x2, #16, #2', null],
  ['SUBG', 0xd182_0422, 'subg x2, x1, #32, #1', null],
  ['STG, post-index', 0xd920_1441, 'stg x1, [x2], #16', null],
  ['STG, post-index: an offset of 0 is written', 0xd920_0441, 'stg x1, [x2], #0', null],
  ['STG, signed offset', 0xd930_0841, 'stg x1, [x2, #-4096]', null],
  ['STG, signed offset: Xt and Xn are SP', 0xd920_0bff, 'stg sp, [sp]', null],
  ['STG, pre-index', 0xd92f_fc41, 'stg x1, [x2, #4080]!', null],
  ['STG, pre-index: an offset of 0 is written', 0xd920_0c41, 'stg x1, [x2, #0]!', null],
  ['STZG, post-index', 0xd960_1441, 'stzg x1, [x2], #16', null],
  ['STZG, signed offset', 0xd960_0841, 'stzg x1, [x2]', null],
  ['STZG, pre-index', 0xd97f_fc5f, 'stzg sp, [x2, #-16]!', null],
  ['ST2G, post-index', 0xd9a0_07ff, 'st2g sp, [sp], #0', null],
  ['ST2G, signed offset', 0xd9a0_2841, 'st2g x1, [x2, #32]', null],
  ['ST2G, pre-index', 0xd9a0_2c41, 'st2g x1, [x2, #32]!', null],
  ['STZ2G, post-index', 0xd9e0_2441, 'stz2g x1, [x2], #32', null],
  ['STZ2G, signed offset', 0xd9e0_0841, 'stz2g x1, [x2]', null],
  ['STZ2G, pre-index', 0xd9e0_2c41, 'stz2g x1, [x2, #32]!', null],
  ['LDG', 0xd960_0041, 'ldg x1, [x2]', null],
  ['LDG: Xt is XZR', 0xd97f_f05f, 'ldg xzr, [x2, #-16]', null],
  ['LDG: Xn is SP', 0xd960_13e0, 'ldg x0, [sp, #16]', null],
  ['STZGM', 0xd920_0041, 'stzgm x1, [x2]', null],
  ['STGM', 0xd9a0_0041, 'stgm x1, [x2]', null],
  ['LDGM: Xt is XZR, Xn is SP', 0xd9e0_03ff, 'ldgm xzr, [sp]', null],
  ['STGP, post-index', 0x6880_8041, 'stgp x1, x0, [x2], #16', NO_STGP],
  ['STGP, signed offset', 0x6900_03ff, 'stgp xzr, x0, [sp]', NO_STGP],
  ['STGP, signed offset: imm7 in units of 16', 0x6920_7c41, 'stgp x1, xzr, [x2, #-1024]', NO_STGP],
  ['STGP, pre-index', 0x699f_8c41, 'stgp x1, x3, [x2, #1008]!', NO_STGP],
  ['DC GVA: SYS #3, C7, C4, #3', 0xd50b_7461, 'dc gva, x1', null],
  ['DC GZVA: SYS #3, C7, C4, #4', 0xd50b_749f, 'dc gzva, xzr', null],
  ['MSR (immediate), TCO: op1 = 3, op2 = 4', 0xd503_419f, 'msr tco, #1', null],
  ['TCO: op0 3, op1 3, CRn 4, CRm 2, op2 7', 0xd53b_42e1, 'mrs x1, tco', null],
  ['TCO', 0xd51b_42e1, 'msr tco, x1', null],
  ['RGSR_EL1: op0 3, op1 0, CRn 1, CRm 0, op2 5', 0xd538_10a2, 'mrs x2, rgsr_el1', null],
  ['RGSR_EL1', 0xd518_10a2, 'msr rgsr_el1, x2', null],
  ['GCR_EL1: op0 3, op1 0, CRn 1, CRm 0, op2 6', 0xd538_10c2, 'mrs x2, gcr_el1', null],
  ['GCR_EL1', 0xd518_10c2, 'msr gcr_el1, x2', null],
  ['TFSR_EL1: op0 3, op1 0, CRn 5, CRm 6, op2 0', 0xd538_5603, 'mrs x3, tfsr_el1', null],
  ['TFSR_EL1', 0xd518_5603, 'msr tfsr_el1, x3', null],
  ['TFSRE0_EL1: op0 3, op1 0, CRn 5, CRm 6, op2 1', 0xd538_5623, 'mrs x3, tfsre0_el1', null],
  ['TFSRE0_EL1', 0xd518_563f, 'msr tfsre0_el1, xzr', null],
  ['DC IGVAC: op1 0, CRm 6, op2 3', 0xd508_7663, 'dc igvac, x3', null],
  ['DC IGDVAC: op1 0, CRm 6, op2 5', 0xd508_76a3, 'dc igdvac, x3', null],
  ['DC IGSW: op1 0, CRm 6, op2 4', 0xd508_7683, 'dc igsw, x3', null],
  ['DC IGDSW: op1 0, CRm 6, op2 6', 0xd508_76c3, 'dc igdsw, x3', null],
  ['DC CGSW: op1 0, CRm 10, op2 4', 0xd508_7a83, 'dc cgsw, x3', null],
  ['DC CGDSW: op1 0, CRm 10, op2 6', 0xd508_7ac3, 'dc cgdsw, x3', null],
  ['DC CIGSW: op1 0, CRm 14, op2 4', 0xd508_7e83, 'dc cigsw, x3', null],
  ['DC CIGDSW: op1 0, CRm 14, op2 6', 0xd508_7ec3, 'dc cigdsw, x3', null],
  ['DC CGVAC: op1 3, CRm 10, op2 3', 0xd50b_7a63, 'dc cgvac, x3', null],
  ['DC CGDVAC: op1 3, CRm 10, op2 5', 0xd50b_7aa3, 'dc cgdvac, x3', null],
  ['DC CGVAP: op1 3, CRm 12, op2 3', 0xd50b_7c63, 'dc cgvap, x3', null],
  ['DC CGDVAP: op1 3, CRm 12, op2 5', 0xd50b_7ca3, 'dc cgdvap, x3', null],
  ['DC CGVADP: op1 3, CRm 13, op2 3', 0xd50b_7d63, 'dc cgvadp, x3', NO_DEEP],
  ['DC CGDVADP: op1 3, CRm 13, op2 5', 0xd50b_7da3, 'dc cgdvadp, x3', NO_DEEP],
  ['DC CIGVAC: op1 3, CRm 14, op2 3', 0xd50b_7e63, 'dc cigvac, x3', null],
  ['DC CIGDVAC: op1 3, CRm 14, op2 5', 0xd50b_7ea3, 'dc cigdvac, x3', null],
  ['GMID_EL1: op0 3, op1 1, CRn 0, CRm 0, op2 4', 0xd539_0084, 'mrs x4, gmid_el1', null],
];

/** Words beside the table's: one fixed bit is another. */
const others: readonly [what: string, word: number][] = [
  ['ADDG with op3 = 0b01, CONSTRAINED UNPREDICTABLE: here unallocated', 0x9180_4000],
  ['ADDG with op3 = 0b11', 0x91bf_ffff],
  ['ADDG with S = 1 is unallocated', 0xb180_0000],
  ['SUBP with sf = 0 is unallocated', 0x1ac0_0000],
  ['opcode2 = 0b000110 is unallocated', 0x9ac0_1800],
  ['STZGM with imm9 other than 0 is unallocated', 0xd920_1041],
  ['STGM with imm9 other than 0', 0xd9a0_1041],
  ['LDGM with imm9 other than 0', 0xd9ff_f041],
  ['LDPSW, the load beside STGP', 0x6940_0000],
  ['STP of 64-bit registers', 0xa900_0000],
  ['no-allocate pair with opc = 0b01 is unallocated', 0x6800_0000],
  ['DC ZVA needs no MTE', 0xd50b_7420],
  ['MSR GMID_EL1: the register is read-only', 0xd519_0084],
];

/** Capstone writes immediates in hexadecimal. */
const decimal = (text: string): string =>
  text.replace(/#(-?)0x([0-9a-f]+)/g, (_, sign, digits) => `#${sign}${Number.parseInt(digits, 16)}`);

const MNEMONICS = new Set(
  TAG_ENCODINGS.map(({ mnemonic }) => mnemonic).filter((name) => !/^m|dc/.test(name)),
);

let capstone: (word: number) => string | null;
beforeAll(async () => {
  capstone = await openCapstone();
});

describe('the words of the manual', () => {
  it.each(words)('prints %s as the manual writes it: %#x is %s', (_section, word, text) => {
    expect(formatTagInstruction(word)).toBe(text);
    expect(formatTagInstruction(word | 0)).toBe(text);
  });

  it.each(words)('agrees with a second disassembler on %s: %#x is %s', (_section, word, text, difference) => {
    const other = capstone(word);
    if (difference === NO_STGP) expect(other).toBeNull();
    else if (difference === NO_DEEP) expect(other).toMatch(/^sys #3, c7, c13, #/);
    else if (difference === NO_CMPP) expect(other).toBe(text.replace('cmpp', 'subps xzr,'));
    else expect(other === null ? null : decimal(other)).toBe(text);
  });

  it.each(others)('does not take another instruction for one of its own: %s', (_what, word) => {
    expect(decodeTagInstruction(word)).toBeNull();
    expect(formatTagInstruction(word)).toBeNull();
  });
});

describe('the table of tag instructions', () => {
  it('has a word above for every row', () => {
    const seen = new Set(words.map(([, word]) => decodeTagInstruction(word)));
    expect(TAG_ENCODINGS.filter((row) => !seen.has(row))).toEqual([]);
  });

  it('names every bit once: fixed bits and operand fields cover the word and do not overlap', () => {
    for (const { mnemonic, mask, value, operands } of TAG_ENCODINGS) {
      let covered = mask >>> 0;
      expect(value & ~mask, mnemonic).toBe(0);
      for (const { low, width, name } of operands) {
        if (width === 0) continue;
        const field = (2 ** width - 1) * 2 ** low;
        expect((covered & field) >>> 0, `${mnemonic} ${name}`).toBe(0);
        covered = (covered | field) >>> 0;
      }
      expect(covered, mnemonic).toBe(0xffff_ffff);
    }
  });

  it('matches at most one row per word', () => {
    for (const row of TAG_ENCODINGS) {
      for (const other of TAG_ENCODINGS) {
        if (row === other) continue;
        expect(
          (row.value ^ other.value) & row.mask & other.mask,
          `${row.mnemonic} ${other.mnemonic}`,
        ).not.toBe(0);
      }
    }
  });

  it('encodes what it decodes', () => {
    fc.assert(
      fc.property(fc.constantFrom(...TAG_ENCODINGS), fc.integer(), (row, random) => {
        const word = (random & ~row.mask) | row.value;
        expect(decodeTagInstruction(word)).toBe(row);
        const values = row.operands.map((operand) => operandValue(operand, word));
        expect(encodeTagInstruction(row, values)).toBe(word);
      }),
    );
  });

  it.each([
    ['a register number', 'irg', [32, 0, 0], 'Xd|SP is a multiple of 1 from 0 to 31, not 32'],
    [
      'an offset that is no multiple of 16',
      'ldg',
      [1, 2, 8],
      'simm is a multiple of 16 from -4096 to 4080, not 8',
    ],
    [
      'an offset below the field',
      'ldg',
      [1, 2, -4112],
      'simm is a multiple of 16 from -4096 to 4080, not -4112',
    ],
    [
      'an offset above the field',
      'addg',
      [1, 2, 1024, 0],
      'uimm6 is a multiple of 16 from 0 to 1008, not 1024',
    ],
    ['a tag offset above the field', 'addg', [1, 2, 0, 16], 'uimm4 is a multiple of 1 from 0 to 15, not 16'],
    ['operands that are missing', 'addg', [1, 2], 'addg has 4 operands, not 2'],
  ])('refuses %s', (_what, mnemonic, values, message) => {
    const row = TAG_ENCODINGS.find((candidate) => candidate.mnemonic === mnemonic);
    expect(() => encodeTagInstruction(row as (typeof TAG_ENCODINGS)[number], values)).toThrow(message);
  });
});

describe('all words, beside a second disassembler', () => {
  it('agrees with the second disassembler on all operands of all instructions it knows', () => {
    fc.assert(
      fc.property(fc.constantFrom(...TAG_ENCODINGS), fc.integer(), (row, random) => {
        const word = (random & ~row.mask) | row.value;
        const text = formatTagInstruction(word);
        const other = capstone(word);
        if (row.mnemonic === 'stgp') expect(other).toBeNull();
        else if (/vadp/.test(text ?? '')) expect(other).toMatch(/^sys #3, c7, c13/);
        else expect(decimal(other ?? '')).toBe(text?.replace(/^cmpp/, 'subps xzr,'));
      }),
      { numRuns: 2000 },
    );
  });

  it('sees tag instructions among random words exactly where the second disassembler does, STGP aside', () => {
    const tops = [0x9a, 0xba, 0x91, 0xd1, 0xd9, 0x68, 0x69, 0xd5];
    const near = fc
      .tuple(fc.integer({ min: 0, max: 0xff_ffff }), fc.constantFrom(...tops))
      .map(([rest, top]) => rest | (top << 24));
    fc.assert(
      fc.property(fc.oneof(fc.integer(), near), (word) => {
        const row = decodeTagInstruction(word);
        const mine = row !== null && MNEMONICS.has(row.mnemonic) && row.mnemonic !== 'stgp';
        const text = capstone(word);
        expect(text !== null && MNEMONICS.has(text.split(' ')[0] ?? ''), String(text)).toBe(mine);
      }),
      { numRuns: 20_000 },
    );
  });
});
