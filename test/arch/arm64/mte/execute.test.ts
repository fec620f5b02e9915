import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import {
  decodeTagInstruction,
  encodeTagInstruction,
  TAG_ENCODINGS,
} from '../../../../src/arch/arm64/mte/encodings.ts';
import type { Operand } from '../../../../src/arch/arm64/mte/operands.ts';
import { SP } from '../../../../src/arch/arm64/register-file.ts';
import { DATA, type MachineOptions, MEMORY_END, Memory, tagged } from '../small-machine.ts';
import { ALL_ONES, type Program, program, VA, word } from './program.ts';

const { User } = Access;

describe('ADDG and SUBG', () => {
  it.each([
    ['adds uimm6 · 16 and moves the tag', 'addg', 0x0200_0000_0000_1008n, 32, 3, 0, 0x0500_0000_0000_1028n],
    ['carries into the high half', 'addg', 0x0200_0000_ffff_fff0n, 16, 0, 0, 0x0200_0001_0000_0000n],
    ['keeps bits 63:60', 'addg', 0xa200_0000_0000_0000n, 0, 1, 0, 0xa300_0000_0000_0000n],
    ['goes round after tag 15', 'addg', 0x0f00_0000_0000_0000n, 0, 1, 0, 0n],
    ['skips excluded tags', 'addg', 0x0200_0000_0000_0000n, 0, 1, 0b1000, 0x0400_0000_0000_0000n],
    ['offset 0 leaves an excluded tag', 'addg', 0x0200_0000_0000_0000n, 0, 0, 0b100, 0x0300_0000_0000_0000n],
    ['subtracts, and the tag moves up', 'subg', 0x0200_0000_0000_1008n, 32, 3, 0, 0x0500_0000_0000_0fe8n],
    ['borrows from the high half', 'subg', 0x0200_0001_0000_0000n, 16, 0, 0, 0x0200_0000_ffff_fff0n],
    [
      'subtracts down to 0 without a borrow',
      'subg',
      0x0200_0001_0000_0010n,
      16,
      0,
      0,
      0x0200_0001_0000_0000n,
    ],
    ['an overflow into the tag is lost', 'addg', 0x02ff_ffff_ffff_fff0n, 16, 0, 0, 0x0200_0000_0000_0000n],
  ])('%s', (_rule, name, pointer, bytes, offset, exclude, result) => {
    const machine = program().set(3, pointer).set(SP, pointer);
    machine.mmu.state.gcrLo = exclude;
    expect(machine.run(word(name, [1, 3, bytes, offset]))).toBe('none');
    expect(machine.get(1)).toBe(result);
    machine.run(word(name, [SP, SP, bytes, offset]));
    expect(machine.get(SP)).toBe(result);
  });

  it.each(['addg', 'subg'])('%s gives tag 0 without access to Allocation Tags', (name) => {
    const machine = program({ sctlr: { ATA: 0 } }).set(3, 0x0500_0000_0000_1000n);
    machine.run(word(name, [1, 3, 0, 2]));
    expect(machine.get(1)).toBe(0x1000n);
    machine.run(word(name, [1, 3, 0, 2]), User);
    expect(machine.get(1)).toBe(0x0700_0000_0000_1000n);
  });
});

describe('IRG', () => {
  const withSeed = (rgsr: number, gcr: number, options: MachineOptions = {}): Program => {
    const machine = program(options).set(3, 0xab00_0000_1234_5678n);
    machine.mmu.state.rgsrLo = rgsr;
    machine.mmu.state.gcrLo = gcr;
    return machine;
  };

  it('takes its tag from RGSR_EL1 and moves the seed on (RRND = 0)', () => {
    // Seed 1: bits 1, 0, 0, 0 enter at the top, so the tag is 0b0001 steps after TAG = 4.
    const machine = withSeed((1 << 8) | 4, 0);
    expect(machine.run(word('irg', [1, 3, SP]))).toBe('none');
    expect(machine.get(1)).toBe(0xa500_0000_1234_5678n);
    expect(machine.mmu.state.rgsrLo).toBe((0x1000 << 8) | 5);
  });

  it.each([
    ['GCR_EL1.Exclude', 0x0020, 0n],
    ['Xm', 0, 0x0020n],
    ['both together', 0x0020, 0x0040n],
    ['bits above 15 of Xm do not count', 0x0020, 0xffff_0000n],
  ])('does not choose what is excluded by %s', (_by, gcr, mask) => {
    const machine = withSeed((1 << 8) | 4, gcr).set(7, mask);
    machine.run(word('irg', [1, 3, 7]));
    expect(machine.get(1) >> 56n).toBe(mask === 0x0040n ? 0xa7n : 0xa6n);
  });

  it('gives tag 0 when all are excluded, and the seed moves on all the same', () => {
    const machine = withSeed((1 << 8) | 4, 0xffff);
    machine.run(word('irg', [1, 3, SP]));
    expect(machine.get(1)).toBe(0xa000_0000_1234_5678n);
    expect(machine.mmu.state.rgsrLo).toBe(0x1000 << 8);
  });

  it('gives tag 0 and leaves RGSR_EL1 alone without access to Allocation Tags', () => {
    const machine = withSeed((1 << 8) | 4, 0, { sctlr: { ATA0: 0 } });
    machine.run(word('irg', [1, 3, SP]), User);
    expect(machine.get(1)).toBe(0xa000_0000_1234_5678n);
    expect(machine.mmu.state.rgsrLo).toBe((1 << 8) | 4);
  });

  it('with RRND = 1 is a function of the 48 bits of RGSR_EL1.SEED, and leaves the tag in RGSR_EL1.TAG', () => {
    const draw = (high: number): [bigint, number, number] => {
      const machine = withSeed(7 << 8, 0x1_0000);
      machine.mmu.state.rgsrHi = high;
      machine.run(word('irg', [1, 3, SP]));
      return [machine.get(1) >> 56n, machine.mmu.state.rgsrHi, machine.mmu.state.rgsrLo];
    };
    expect(draw(5)).toEqual(draw(5));
    const [tag, high, low] = draw(5);
    expect(BigInt(low & 15)).toBe(tag & 15n);
    expect(low & 0xf0).toBe(0);
    const next = ((5n << 24n) | 7n) * 0x5deece66dn + 11n;
    expect((BigInt(high) << 24n) | BigInt(low >>> 8)).toBe(next & 0xffff_ffff_ffffn);
  });
});

describe('GMI, SUBP and SUBPS', () => {
  it.each([
    ['sets the bit of the tag', 0x0300_0000_0000_0000n, 0x10n, 0x18n],
    ['keeps a bit that is set', 0x0400_0000_0000_0000n, 0x10n, 0x10n],
    ['tag 15', 0x0f00_0000_0000_0000n, 0xffff_ffff_0000_0000n, 0xffff_ffff_0000_8000n],
  ])('GMI %s', (_rule, pointer, mask, result) => {
    const machine = program({ sctlr: { ATA: 0 } })
      .set(3, pointer)
      .set(4, mask);
    machine.run(word('gmi', [1, 3, 4]));
    expect(machine.get(1)).toBe(result);
  });

  it('GMI reads Xm = 31 as XZR and Xn = 31 as SP, and Xd = 31 goes nowhere', () => {
    const machine = program().set(SP, 0x0200_0000_0000_0000n);
    machine.run(word('gmi', [1, SP, SP]));
    expect(machine.get(1)).toBe(4n);
    machine.run(word('gmi', [SP, SP, SP]));
    expect(machine.get(SP)).toBe(0x0200_0000_0000_0000n);
  });

  it.each([
    ['tags do not count', 0x0500_0000_0000_0010n, 0x0a00_0000_0000_0010n, 0n, 0b0110],
    ['a difference', 0x30n, 0x10n, 0x20n, 0b0010],
    ['below: negative, borrow', 0x10n, 0x30n, ALL_ONES - 0x1fn, 0b1000],
    ['bit 55 is the sign', 0x0080_0000_0000_0000n, 0n, 0xff80_0000_0000_0000n, 0b1010],
    ['across the halves', 0x1_0000_0000n, 1n, 0xffff_ffffn, 0b0010],
    ['of both signs', 0x007f_ffff_ffff_ffffn, 0x0080_0000_0000_0000n, 0x00ff_ffff_ffff_ffffn, 0b0000],
  ])('SUBP and SUBPS: %s', (_rule, a, b, result, flags) => {
    const machine = program().set(3, a).set(4, b);
    machine.registers.nzcv = 0b0101;
    machine.run(word('subp', [1, 3, 4]));
    expect([machine.get(1), machine.registers.nzcv]).toEqual([result, 0b0101]);
    machine.run(word('subps', [2, 3, 4]));
    expect([machine.get(2), machine.registers.nzcv]).toEqual([result, flags]);
  });

  it('SUBPS is the subtraction of sign-extended 56-bit numbers, with the flags of SUBS', () => {
    const pointer = fc.bigInt(0n, ALL_ONES);
    const machine = program();
    fc.assert(
      fc.property(pointer, fc.oneof(pointer, fc.nat(64).map(BigInt)), (a, other) => {
        const b = other < 64n ? BigInt.asUintN(64, a + other - 32n) : other;
        machine.set(3, a).set(SP, b);
        machine.run(word('subps', [1, 3, SP]));
        const [x, y] = [BigInt.asIntN(56, a), BigInt.asIntN(56, b)];
        expect(machine.get(1)).toBe(BigInt.asUintN(64, x - y));
        const carry = BigInt.asUintN(64, x) >= BigInt.asUintN(64, y) ? 2 : 0;
        expect(machine.registers.nzcv).toBe((x < y ? 8 : 0) | (x === y ? 4 : 0) | carry);
      }),
    );
  });
});

describe('tags that cannot be reached', () => {
  const cases: [what: string, options: MachineOptions, memory: Memory][] = [
    ['SCTLR_EL1.ATA = 0', { sctlr: { ATA: 0 } }, Memory.Tagged],
    ['memory that is not Tagged', {}, Memory.Normal],
    ['Device memory', {}, Memory.Device],
  ];

  it.each(cases)('%s: they read as 0 and are not written, all else stays', (_what, options, memory) => {
    const machine = program(options, memory);
    for (let granule = 0n; granule < 16n; granule++) machine.setTag(DATA + granule * 16n, 3);
    machine.memory.writeBytes(Number(DATA >> 12n), 0, new Uint8Array(4096).fill(0xee));
    machine.set(1, VA).set(2, ALL_ONES).set(3, ALL_ONES);
    expect(machine.run(word('ldg', [2, 1, 0]))).toBe('none');
    expect(machine.get(2)).toBe(0xf0ff_ffff_ffff_ffffn);
    expect(machine.run(word('ldgm', [3, 1]))).toBe('none');
    expect(machine.get(3)).toBe(0n);
    expect(machine.run(word('stgm', [2, 1]))).toBe('none');
    expect(machine.run(word('stz2g', [2, 1, 0x10], 'post'))).toBe('none');
    expect(machine.get(1)).toBe(VA + 0x10n);
    machine.set(1, VA + 0x40n);
    expect(machine.run(word('stzgm', [2, 1]))).toBe('none');
    machine.set(1, VA + 0x80n);
    expect(machine.run(word('stgp', [4, 4, 1, 0], 'offset'))).toBe('none');
    expect(machine.tags(DATA, 16)).toEqual(new Array(16).fill(3));
    const page = new Uint8Array(256);
    machine.memory.readBytes(Number(DATA >> 12n), 0, page);
    expect(page.filter((byte) => byte === 0)).toHaveLength(32 + 64 + 16);
  });

  it('outside memory are an External abort', () => {
    const machine = program().map(VA, MEMORY_END) as Program;
    machine.set(1, VA);
    for (const [name, form, values] of [
      ['ldg', 'offset', [2, 1, 0]],
      ['stg', 'offset', [2, 1, 0]],
      ['stgp', 'offset', [2, 2, 1, 0]],
      ['ldgm', 'offset', [2, 1]],
      ['stgm', 'offset', [2, 1]],
      ['stzgm', 'offset', [2, 1]],
      ['dc', 'list', [0, 1]],
    ] as const) {
      expect(machine.run(word(name, values, form)), name).toContain('bus error ESR 960000');
    }
    machine.map(VA, DATA).map(VA + 0x1000n, MEMORY_END);
    machine.mmu.dropAll();
    machine.set(1, VA + 0xff0n);
    expect(machine.run(word('st2g', [1, 1, 0], 'offset'))).toContain('bus error');
  });
});

describe('SP as a base register (CheckSPAlignment)', () => {
  it.each([
    ['EL1 by SCTLR_EL1.SA', { SA: 1 }, 0, true],
    ['EL1 not by SA0', { SA0: 1 }, 0, false],
    ['EL0 by SCTLR_EL1.SA0', { SA0: 1 }, User, true],
    ['EL0 not by SA', { SA: 1 }, User, false],
  ])('is checked at %s', (_rule, sctlr, access, faults) => {
    const machine = program({ sctlr }).set(SP, VA + 8n);
    const outcome = machine.run(word('ldg', [1, SP, 0]), access);
    expect(outcome).toBe(faults ? 'alignment ESR 9a000000 FAR 400008' : 'none');
    machine.set(1, VA + 8n);
    expect(machine.run(word('ldg', [2, 1, 0]), access)).toBe('none');
  });
});

/** The operand of MRS and MSR (register). */
const Xt = TAG_ENCODINGS.find(({ mnemonic }) => mnemonic === 'mrs')?.operands[0] as Operand;

describe('the registers of MTE', () => {
  const access = (mnemonic: 'mrs' | 'msr', name: string): number => {
    const row = TAG_ENCODINGS.find(
      ({ mnemonic: one, operands }) =>
        one === mnemonic && operands.some((operand) => operand.name === name) && operands.includes(Xt),
    );
    if (row === undefined) throw new Error(`no ${mnemonic} ${name}`);
    return encodeTagInstruction(
      row,
      row.operands.map(() => 1),
    );
  };

  it.each([
    ['rgsr_el1', ALL_ONES, 0x00ff_ffff_ffff_ff0fn],
    ['gcr_el1', ALL_ONES, 0x1_ffffn],
    ['tfsr_el1', ALL_ONES, 3n],
    ['tfsre0_el1', ALL_ONES, 3n],
  ])('%s keeps what is not RES0', (name, written, read) => {
    const machine = program().set(1, written);
    expect(machine.run(access('msr', name))).toBe('none');
    machine.set(1, 0n);
    expect(machine.run(access('mrs', name))).toBe('none');
    expect(machine.get(1)).toBe(read);
    expect(machine.run(access('mrs', name), User)).toContain('undefined');
    expect(machine.run(access('msr', name), User)).toContain('undefined');
  });

  it('GMID_EL1 says the block of LDGM', () => {
    const machine = program({ features: { gmidBs: 4 } });
    machine.run(access('mrs', 'gmid_el1'));
    expect(machine.get(1)).toBe(4n);
    expect(machine.run(access('mrs', 'gmid_el1'), User)).toContain('undefined');
  });

  it('TCO is bit 25, also at EL0, and takes effect at once', () => {
    const machine = program({ sctlr: { TCF0: 1 } }).set(1, 1n << 25n);
    expect(machine.read(tagged(9, VA), User)).toContain('tag check');
    expect(machine.run(access('msr', 'tco'), User)).toBe('none');
    expect(machine.read(tagged(9, VA), User)).toBe('none');
    machine.set(1, 0n);
    machine.run(access('mrs', 'tco'), User);
    expect(machine.get(1)).toBe(1n << 25n);
    expect(machine.run(0xd503_419f, User)).toBe('none');
    expect(machine.mmu.state.tco).toBe(true);
    expect(machine.run(0xd503_409f, User)).toBe('none');
    expect(machine.mmu.state.tco).toBe(false);
  });

  it('register 31 is XZR', () => {
    const machine = program().set(SP, 0x123n);
    machine.run(access('msr', 'gcr_el1') | 31);
    expect(machine.mmu.state.gcrLo).toBe(0);
    machine.run(access('mrs', 'gmid_el1') | 31);
    expect(machine.get(SP)).toBe(0x123n);
  });
});

describe('processors with less', () => {
  it('FEAT_MTE alone has the instructions of EL0, without tags behind them', () => {
    for (const row of TAG_ENCODINGS) {
      const machine = program({ features: { mte: 1 } }).set(1, VA);
      const instruction = encodeTagInstruction(
        row,
        row.operands.map(({ kind }) => (/sp|zr/.test(kind) ? 1 : 0)),
      );
      expect(machine.run(instruction), row.mnemonic).toContain(row.needs === 2 ? 'undefined' : 'none');
    }
  });

  it('without FEAT_MTE every one is UNDEFINED', () => {
    for (const row of TAG_ENCODINGS) {
      expect(program({ features: { mte: 0 } }).run(row.value), row.mnemonic).toContain('undefined');
    }
  });

  it('other words are none of them', () => {
    expect(decodeTagInstruction(0xd503_201f)).toBeNull();
    expect(program().run(0xd503_201f)).toBe('not a tag instruction');
  });
});
