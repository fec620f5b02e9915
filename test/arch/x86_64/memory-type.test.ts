import { describe, expect, it } from 'vitest';
import { AMD_ZEN4, INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import {
  combineTypes,
  effectiveMemoryType,
  MemoryType,
  MTRRS_AT_RESET,
  MTRRS_WRITE_BACK,
  type Mtrrs,
  memoryTypeName,
  mtrrType,
  mtrrTypeIsUniform,
  patIndex,
  patType,
} from '../../../src/arch/x86_64/memory-type.ts';
import { Msr, mtrrCapability, writeMsr } from '../../../src/arch/x86_64/model-specific-registers.ts';
import {
  CR0,
  MTRR_DEF_TYPE,
  MTRR_PHYSBASE,
  MTRR_PHYSMASK,
  PAT_AT_RESET,
} from '../../../src/arch/x86_64/registers.ts';

const { UC, WC, WT, WP, WB, UC_MINUS } = MemoryType;

// SDM "Effective Page-Level Memory Types for Pentium III and More Recent Processor Families": MTRR type, then the
// effective type for the PAT types UC, UC-, WC, WT, WB, WP. Last column: what AMD's table has instead, where it differs.
const TABLE = [
  [UC, 'UC UC WC UC UC UC', 'UC UC WC UC UC UC'],
  [WC, 'UC WC WC UC WC UC', 'UC WC WC UC WC UC'],
  [WT, 'UC UC WC WT WT WP', 'UC UC WC WT WT UC'],
  [WB, 'UC UC WC WT WB WP', 'UC UC WC WT WB WP'],
  [WP, 'UC WC WC WT WP WP', 'UC UC WC UC WP WP'],
] as const;
const COLUMNS = [UC, UC_MINUS, WC, WT, WB, WP];

describe('the effective memory type', () => {
  it.each(TABLE)('MTRR type %i', (mtrr, intel, amd) => {
    const row = (vendor: 'intel' | 'amd'): string =>
      COLUMNS.map((pat) => memoryTypeName(combineTypes(vendor, mtrr, pat))).join(' ');
    expect(row('intel')).toBe(intel);
    expect(row('amd')).toBe(amd);
  });

  it('selects IA32_PAT fields by PAT, PCD and PWT', () => {
    const types = [0, 1, 2, 3, 4, 5, 6, 7].map((index) => memoryTypeName(patType(PAT_AT_RESET, index)));
    expect(types).toEqual(['WB', 'WT', 'UC-', 'UC', 'WB', 'WT', 'UC-', 'UC']);
    expect([
      patIndex(true, false, false),
      patIndex(false, true, false),
      patIndex(false, false, true),
    ]).toEqual([4, 2, 1]);
  });

  it.each([
    ['write-back memory', CR0.mask('PG'), MTRRS_WRITE_BACK, WB, false],
    ['CR0.CD = 1 makes it UC', CR0.mask('PG', 'CD'), MTRRS_WRITE_BACK, UC, true],
    ['MTRRs off make it UC', CR0.mask('PG'), MTRRS_AT_RESET, UC, false],
  ] as const)('%s', (_, cr0, mtrrs, type, cacheDisabled) => {
    const answer = effectiveMemoryType({
      vendor: 'intel',
      cr0,
      pat: PAT_AT_RESET,
      mtrrs,
      patBit: false,
      pcd: false,
      pwt: false,
      address: 0x1234_5000n,
      pageBytes: 0x1000n,
    });
    expect(answer).toMatchObject({ type, cacheDisabled, patIndex: 0, undefinedByManual: false });
  });
});

const range = (base: bigint, bytes: bigint, type: number, width = 46n): { base: bigint; mask: bigint } => ({
  base: MTRR_PHYSBASE.encode({ TYPE: type, BASE: base }),
  mask: MTRR_PHYSMASK.encode({ V: 1, MASK: ((1n << width) - 1n) & ~(bytes - 1n) }),
});
const mtrrs = (variable: Mtrrs['variable'], fixed: readonly bigint[] = []): Mtrrs => ({
  defType: MTRR_DEF_TYPE.encode({ TYPE: UC, E: 1, FE: 1 }),
  fixed,
  variable,
});
const ramThenHole = mtrrs([range(0n, 0x1_0000_0000n, WB), range(0xc000_0000n, 0x4000_0000n, UC)]);

describe('MTRRs (SDM "MTRR Precedences")', () => {
  it.each([
    ['one range', ramThenHole, 0x1000_0000n, WB, 'variable range'],
    ['UC over WB', ramThenHole, 0xfee0_0000n, UC, 'overlapping variable ranges'],
    ['no range: the default type', ramThenHole, 0x2_0000_0000n, UC, 'default type'],
    [
      'WT over WB',
      mtrrs([range(0n, 0x10_0000n, WB), range(0n, 0x1000n, WT)]),
      0x800n,
      WT,
      'overlapping variable ranges',
    ],
    [
      'the same twice',
      mtrrs([range(0n, 0x10_0000n, WC), range(0n, 0x1000n, WC)]),
      0n,
      WC,
      'overlapping variable ranges',
    ],
    [
      'WC and WB: not defined',
      mtrrs([range(0n, 0x10_0000n, WB), range(0n, 0x1000n, WC)]),
      0n,
      UC,
      'overlap not defined by the manual',
    ],
    ['disabled', { ...ramThenHole, defType: WB }, 0x1000n, UC, 'MTRRs disabled'],
  ] as const)('%s', (_, state, address, type, rule) => {
    expect(mtrrType({ ...state, defType: BigInt(state.defType) }, address)).toEqual({ type, rule });
  });

  // SDM "Fixed Range MTRRs": register, field and the first and last address it covers.
  it.each([
    ['64K_00000 field 0', 0, 0, 0x00000n, 0x0ffffn],
    ['64K_00000 field 7', 0, 7, 0x70000n, 0x7ffffn],
    ['16K_80000 field 0', 1, 0, 0x80000n, 0x83fffn],
    ['16K_A0000 field 7', 2, 7, 0xbc000n, 0xbffffn],
    ['4K_C0000 field 0', 3, 0, 0xc0000n, 0xc0fffn],
    ['4K_C8000 field 2', 4, 2, 0xca000n, 0xcafffn],
    ['4K_F8000 field 7', 10, 7, 0xff000n, 0xfffffn],
  ] as const)(
    '%s covers exactly its range, and beats a variable range',
    (_, register, field, first, last) => {
      const fixed = Array.from({ length: 11 }, (__, at) =>
        at === register ? BigInt(WP) << BigInt(8 * field) : 0n,
      );
      const state = mtrrs([range(0n, 0x10_0000n, WB)], fixed);
      const at = (address: bigint): string => `${memoryTypeName(mtrrType(state, address).type)}`;
      expect([at(first), at(last)]).toEqual(['WP', 'WP']);
      if (first > 0n) expect(at(first - 1n)).toBe('UC');
      expect(mtrrType(state, last + 1n)).toMatchObject(
        last + 1n === 0x10_0000n ? { rule: 'default type' } : { type: UC, rule: 'fixed range' },
      );
    },
  );
});

describe('MTRRs under a large page', () => {
  it('sees a page that lies over two types', () => {
    expect(mtrrTypeIsUniform(ramThenHole, 0x8000_0000n, 0x4000_0000n)).toBe(true);
    expect(mtrrTypeIsUniform(mtrrs([range(0x20_0000n, 0x1000n, WB)]), 0x20_0000n, 0x20_0000n)).toBe(false);
    expect(mtrrTypeIsUniform(mtrrs([range(0x3f_f000n, 0x1000n, WB)]), 0x20_0000n, 0x20_0000n)).toBe(false);
    expect(
      mtrrTypeIsUniform(
        mtrrs(
          [],
          Array.from({ length: 11 }, () => 0x0606n),
        ),
        0n,
        0x20_0000n,
      ),
    ).toBe(false);
  });
});

describe('WRMSR to the memory-type registers', () => {
  const start = { pat: PAT_AT_RESET, mtrrs: MTRRS_AT_RESET, pkrs: 0n };
  it.each([
    ['IA32_PAT', Msr.IA32_PAT, 0x0407_0506_0007_0106n, null],
    ['IA32_PAT with type 2', Msr.IA32_PAT, 0x02n, /PA0 .* 2/],
    ['IA32_PAT with type 3', Msr.IA32_PAT, 0x0300n, /PA1 .* 3/],
    ['IA32_PAT with a reserved bit', Msr.IA32_PAT, 0x08n, /PA0/],
    ['IA32_PKRS', Msr.IA32_PKRS, 0xffff_ffffn, null],
    ['IA32_PKRS bit 32', Msr.IA32_PKRS, 1n << 32n, /63:32/],
    ['IA32_MTRRCAP is read-only', Msr.IA32_MTRRCAP, 0n, /read-only/],
    ['IA32_MTRR_DEF_TYPE', Msr.IA32_MTRR_DEF_TYPE, 0xc06n, null],
    ['IA32_MTRR_DEF_TYPE with type 7', Msr.IA32_MTRR_DEF_TYPE, 0xc07n, /memory type/],
    ['IA32_MTRR_DEF_TYPE bit 8', Msr.IA32_MTRR_DEF_TYPE, 0x106n, /reserved/],
    ['IA32_MTRR_PHYSBASE0', Msr.IA32_MTRR_PHYSBASE0, 0x8000_0006n, null],
    ['IA32_MTRR_PHYSBASE0 with type 3', Msr.IA32_MTRR_PHYSBASE0, 0x8000_0003n, /memory type/],
    ['IA32_MTRR_PHYSBASE0 bit 8', Msr.IA32_MTRR_PHYSBASE0, 0x100n, /reserved/],
    ['IA32_MTRR_PHYSMASK0', Msr.IA32_MTRR_PHYSBASE0 + 1, 0xf_ffff_c000_0800n, null],
    ['IA32_MTRR_PHYSMASK0 bit 0', Msr.IA32_MTRR_PHYSBASE0 + 1, 0x801n, /reserved/],
    ['the register after the last pair', Msr.IA32_MTRR_PHYSBASE0 + 20, 0n, /no MSR 214H/],
    ['IA32_MTRR_FIX4K_C0000', Msr.IA32_MTRR_FIX4K_C0000, 0x0606_0606_0505_0404n, null],
    ['IA32_MTRR_FIX4K_C0000 with type 2', Msr.IA32_MTRR_FIX4K_C0000, 0x0200n, /memory type/],
    ['an MSR nobody knows', 0x1234, 0n, /no MSR/],
  ] as const)('%s', (_, address, value, rule) => {
    const result = writeMsr(start, INTEL_COMPLETE, address, value, 0);
    if (rule === null) expect(result.fault).toBeNull();
    else expect(result.fault).toMatchObject({ vector: 13, errorCode: 0, rule: expect.stringMatching(rule) });
  });

  it('refuses physical addresses beyond MAXPHYADDR', () => {
    const narrow = { ...INTEL_COMPLETE, maxPhysAddr: 40 };
    expect(writeMsr(start, narrow, Msr.IA32_MTRR_PHYSBASE0, 1n << 40n, 0).fault?.rule).toMatch(/reserved/);
    expect(writeMsr(start, narrow, Msr.IA32_MTRR_PHYSBASE0, 1n << 39n, 0).fault).toBeNull();
  });

  it('needs CPL 0, and PKS for IA32_PKRS', () => {
    expect(writeMsr(start, INTEL_COMPLETE, Msr.IA32_PAT, PAT_AT_RESET, 3).fault?.rule).toMatch(/privilege/);
    expect(writeMsr(start, AMD_ZEN4, Msr.IA32_PKRS, 0n, 0).fault?.rule).toMatch(/no MSR 6E1H/);
  });

  it('puts a value where mtrrType finds it', () => {
    let registers = start;
    const write = (address: number, value: bigint): void => {
      const result = writeMsr(registers, INTEL_COMPLETE, address, value, 0);
      if (result.fault !== null) throw new Error(result.fault.rule);
      registers = { ...result.registers };
    };
    write(Msr.IA32_MTRR_DEF_TYPE, 0xc00n);
    write(Msr.IA32_MTRR_PHYSBASE0 + 2, 0x8000_0006n);
    write(Msr.IA32_MTRR_PHYSBASE0 + 3, 0xf_ffff_c000_0800n);
    write(Msr.IA32_MTRR_FIX16K_A0000, 0x0101_0101_0101_0101n);
    expect(mtrrType(registers.mtrrs, 0xbfff_ffffn)).toEqual({ type: WB, rule: 'variable range' });
    expect(mtrrType(registers.mtrrs, 0xc000_0000n)).toEqual({ type: UC, rule: 'default type' });
    expect(mtrrType(registers.mtrrs, 0xa_0000n)).toEqual({ type: WC, rule: 'fixed range' });
    expect(mtrrCapability(INTEL_COMPLETE)).toBe(0x50an);
  });
});
