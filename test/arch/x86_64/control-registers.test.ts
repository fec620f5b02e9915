import { describe, expect, it } from 'vitest';
import {
  type ControlRegisters,
  clacStac,
  movToCr0,
  movToCr3,
  movToCr4,
  type RegisterWrite,
  writeEfer,
  wrpkru,
} from '../../../src/arch/x86_64/control-registers.ts';
import {
  AMD_ZEN4,
  type CpuFeatures,
  INTEL_BROADWELL,
  INTEL_COMPLETE,
  INTEL_RECORDED,
} from '../../../src/arch/x86_64/features.ts';
import { CR0, CR3, CR3_PCIDE, CR4, EFER } from '../../../src/arch/x86_64/registers.ts';

const CR0_RUNNING = CR0.encode({ PE: 1, ET: 1, NE: 1, WP: 1, PG: 1 });
const CR4_RUNNING = CR4.encode({ PAE: 1, PGE: 1 });
const EFER_RUNNING = EFER.encode({ SCE: 1, LME: 1, LMA: 1, NXE: 1 });
const running: ControlRegisters = { cr0: CR0_RUNNING, cr3: 0x1000n, cr4: CR4_RUNNING, efer: EFER_RUNNING };
const withPcids: ControlRegisters = { ...running, cr4: CR4_RUNNING | CR4.mask('PCIDE'), cr3: 0x1005n };
const withCet: ControlRegisters = { ...running, cr4: CR4_RUNNING | CR4.mask('CET') };
const beforePaging: ControlRegisters = {
  cr0: CR0.encode({ PE: 1, ET: 1 }),
  cr3: 0n,
  cr4: 0n,
  efer: EFER.mask('LME'),
};

const ruleOf = (result: RegisterWrite): string | null => (result.fault === null ? null : result.fault.rule);
const flushOf = (result: RegisterWrite): string => (result.fault === null ? result.flush.kind : 'fault');

describe('MOV to CR0 (SDM "MOV—Move to/from Control Registers")', () => {
  it.each([
    ['the same value', running, CR0_RUNNING, 0, null],
    ['CPL 3', running, CR0_RUNNING, 3, /privilege/],
    ['CPL 1', running, CR0_RUNNING, 1, /privilege/],
    ['PG without PE', running, CR0.encode({ PG: 1, WP: 1 }), 0, /PE = 1/],
    ['NW without CD', running, CR0_RUNNING | CR0.mask('NW'), 0, /CD = 1/],
    ['NW with CD', running, CR0_RUNNING | CR0.mask('NW', 'CD'), 0, null],
    ['CD alone', running, CR0_RUNNING | CR0.mask('CD'), 0, null],
    ['bit 32', running, CR0_RUNNING | (1n << 32n), 0, /63:32/],
    ['bit 63', running, CR0_RUNNING | (1n << 63n), 0, /63:32/],
    ['clearing PG in 64-bit mode', running, CR0_RUNNING & ~CR0.mask('PG'), 0, /64-bit mode/],
    [
      'clearing PG with PCIDs, outside 64-bit mode',
      { ...withPcids, efer: 0n },
      CR0_RUNNING & ~CR0.mask('PG'),
      0,
      /PCIDE = 1/,
    ],
    ['clearing WP', running, CR0_RUNNING & ~CR0.mask('WP'), 0, null],
    ['clearing WP with CET', withCet, CR0_RUNNING & ~CR0.mask('WP'), 0, /CET/],
    ['setting PG for IA-32e mode without PAE', beforePaging, CR0_RUNNING, 0, /PAE = 1/],
    ['setting PG with PAE', { ...beforePaging, cr4: CR4.mask('PAE') }, CR0_RUNNING, 0, null],
  ] as const)('%s', (_, state, operand, cpl, rule) => {
    const got = ruleOf(movToCr0(state, INTEL_COMPLETE, operand, cpl));
    if (rule === null) expect(got).toBeNull();
    else expect(got).toMatch(rule);
  });

  it('ignores reserved bits of the low half and keeps ET set', () => {
    const reserved = CR0.mask('RESERVED_28_19', 'RESERVED_17', 'RESERVED_15_6');
    const result = movToCr0(running, INTEL_COMPLETE, CR0_RUNNING | reserved, 0);
    const without = movToCr0(running, INTEL_COMPLETE, CR0_RUNNING & ~CR0.mask('ET'), 0);
    expect(result).toMatchObject({ fault: null, value: CR0_RUNNING });
    expect(without).toMatchObject({ fault: null, value: CR0_RUNNING });
  });

  it('drops nothing when WP changes, everything when paging goes off', () => {
    expect(flushOf(movToCr0(running, INTEL_COMPLETE, CR0_RUNNING & ~CR0.mask('WP'), 0))).toBe('none');
    expect(
      flushOf(movToCr0({ ...running, efer: 0n }, INTEL_COMPLETE, CR0_RUNNING & ~CR0.mask('PG'), 0)),
    ).toBe('everything');
  });
});

describe('MOV to CR3', () => {
  it.each([
    ['a table address', running, INTEL_RECORDED, 0x2000n, null],
    ['bit 40 with MAXPHYADDR 40', running, INTEL_RECORDED, 1n << 40n, /reserved/],
    ['bit 39 with MAXPHYADDR 40', running, INTEL_RECORDED, 1n << 39n, null],
    ['bit 51 with MAXPHYADDR 52', running, INTEL_COMPLETE, 1n << 51n, null],
    ['bit 52 with MAXPHYADDR 52', running, INTEL_COMPLETE, 1n << 52n, /reserved/],
    ['bit 60', running, INTEL_COMPLETE, 1n << 60n, /reserved/],
    ['LAM_U57 with LAM', running, INTEL_COMPLETE, CR3.mask('LAM_U57'), null],
    ['LAM_U48 with LAM', running, INTEL_COMPLETE, CR3.mask('LAM_U48'), null],
    ['LAM_U57 without LAM', running, INTEL_RECORDED, CR3.mask('LAM_U57'), /reserved/],
    ['LAM_U48 on AMD, which has no LAM', running, AMD_ZEN4, CR3.mask('LAM_U48'), /reserved/],
    ['bit 63 without PCIDs', running, INTEL_COMPLETE, 1n << 63n, /reserved/],
    ['bit 63 with PCIDs', withPcids, INTEL_COMPLETE, 1n << 63n, null],
    ['low bits without PCIDs', running, INTEL_COMPLETE, 0xfffn, null],
  ] as const)('%s', (_, state, features, operand, rule) => {
    const got = ruleOf(movToCr3(state, features, operand, 0));
    if (rule === null) expect(got).toBeNull();
    else expect(got).toMatch(rule);
  });

  it('needs CPL 0', () => {
    expect(ruleOf(movToCr3(running, INTEL_COMPLETE, 0x2000n, 3))).toMatch(/privilege/);
  });

  it('drops the entries of the new PCID, none with bit 63, and never stores bit 63', () => {
    const operand = 0x2007n;
    expect(movToCr3(withPcids, INTEL_COMPLETE, operand, 0)).toEqual({
      fault: null,
      value: operand,
      flush: { kind: 'pcid', pcid: 7 },
    });
    expect(movToCr3(withPcids, INTEL_COMPLETE, operand | CR3_PCIDE.mask('NO_FLUSH'), 0)).toEqual({
      fault: null,
      value: operand,
      flush: { kind: 'none' },
    });
    expect(movToCr3(running, INTEL_COMPLETE, operand, 0)).toEqual({
      fault: null,
      value: operand,
      flush: { kind: 'pcid', pcid: 0 },
    });
  });
});

const set = (...names: (typeof CR4.names)[number][]): bigint => CR4_RUNNING | CR4.mask(...names);

const CR4_ROWS = [
  ['the same value', running, INTEL_COMPLETE, CR4_RUNNING, null],
  ['clearing PAE', running, INTEL_COMPLETE, 0n, /PAE/],
  ['setting LA57', running, INTEL_COMPLETE, set('LA57'), /LA57/],
  ['LA57 outside IA-32e mode', beforePaging, INTEL_COMPLETE, CR4.mask('LA57', 'PAE'), null],
  ['LA57 without the feature', beforePaging, INTEL_BROADWELL, CR4.mask('LA57', 'PAE'), /reserved/],
  ['setting PCIDE', running, INTEL_COMPLETE, set('PCIDE'), null],
  ['setting PCIDE with CR3[11:0] not 0', { ...running, cr3: 0x1001n }, INTEL_COMPLETE, set('PCIDE'), /11:0/],
  ['setting PCIDE with CR3.PWT', { ...running, cr3: 0x1008n }, INTEL_COMPLETE, set('PCIDE'), /11:0/],
  ['keeping PCIDE with a PCID', withPcids, INTEL_COMPLETE, withPcids.cr4 | CR4.mask('SMEP'), null],
  ['PCIDE outside IA-32e mode', beforePaging, INTEL_COMPLETE, CR4.mask('PCIDE', 'PAE'), /IA-32e/],
  ['CET with WP', running, INTEL_COMPLETE, set('CET'), null],
  [
    'CET without WP',
    { ...running, cr0: CR0_RUNNING & ~CR0.mask('WP') },
    INTEL_COMPLETE,
    set('CET'),
    /WP = 1/,
  ],
  ['CET on a processor without it', running, INTEL_RECORDED, set('CET'), /reserved/],
  ['PKS', running, INTEL_COMPLETE, set('PKS'), null],
  ['PKS on AMD, which has none', running, AMD_ZEN4, set('PKS'), /reserved/],
  ['PKE on AMD', running, AMD_ZEN4, set('PKE'), null],
  ['CET on AMD', running, AMD_ZEN4, set('CET'), null],
  ['LAM_SUP', running, INTEL_COMPLETE, set('LAM_SUP'), null],
  ['LAM_SUP without LAM', running, INTEL_RECORDED, set('LAM_SUP'), /reserved/],
  ['LAM_SUP on AMD', running, AMD_ZEN4, set('LAM_SUP'), /reserved/],
  ['VMXE on AMD', running, AMD_ZEN4, set('VMXE'), /reserved/],
  ['bit 15', running, INTEL_COMPLETE, set('RESERVED_15'), /reserved/],
  ['bit 26', running, INTEL_COMPLETE, set('RESERVED_26'), /reserved/],
  ['bit 29', running, INTEL_COMPLETE, CR4_RUNNING | (1n << 29n), /reserved/],
  ['bit 33', running, INTEL_COMPLETE, CR4_RUNNING | (1n << 33n), /reserved/],
  ['bit 63', running, INTEL_COMPLETE, CR4_RUNNING | (1n << 63n), /reserved/],
  [
    'SMEP without the feature',
    running,
    { ...INTEL_BROADWELL, smep: false } as CpuFeatures,
    set('SMEP'),
    /reserved/,
  ],
] as const;

describe('MOV to CR4', () => {
  it.each(CR4_ROWS)('%s', (_, state, features, operand, rule) => {
    const got = ruleOf(movToCr4(state, features, operand, 0));
    if (rule === null) expect(got).toBeNull();
    else expect(got).toMatch(rule);
  });

  // SDM "Operations that Invalidate TLBs and Paging-Structure Caches"
  it.each([
    ['clearing PGE', running, CR4.mask('PAE'), 'everything'],
    ['setting PGE', { ...running, cr4: CR4.mask('PAE') }, CR4_RUNNING, 'everything'],
    ['clearing PCIDE', withPcids, CR4_RUNNING, 'everything'],
    ['setting PCIDE', running, set('PCIDE'), 'none'],
    ['setting SMEP', running, set('SMEP'), 'pcid-and-global'],
    ['clearing SMEP', { ...running, cr4: set('SMEP') }, CR4_RUNNING, 'none'],
    ['setting SMAP', running, set('SMAP'), 'none'],
    ['setting PKE', running, set('PKE'), 'none'],
    ['changing PSE', running, set('PSE'), 'none'],
    ['changing PAE', { ...beforePaging, cr4: 0n }, CR4.mask('PAE'), 'pcid-and-global'],
  ] as const)('%s drops %s', (_, state, operand, flush) => {
    expect(flushOf(movToCr4(state, INTEL_COMPLETE, operand, 0))).toBe(flush);
  });

  // AMD APM vol. 2 "TLB Management", "Implicit Invalidations"
  it.each([
    ['changing PGE', running, CR4.mask('PAE'), 'everything'],
    ['changing PSE', running, set('PSE'), 'everything'],
    ['setting PKE', running, set('PKE'), 'everything'],
    ['clearing PKE', { ...running, cr4: set('PKE') }, CR4_RUNNING, 'none'],
    ['setting SMEP', running, set('SMEP'), 'none'],
    ['clearing PCIDE', withPcids, CR4_RUNNING, 'everything'],
  ] as const)('%s drops %s on AMD', (_, state, operand, flush) => {
    expect(flushOf(movToCr4(state, AMD_ZEN4, operand, 0))).toBe(flush);
  });

  it('needs CPL 0', () => {
    expect(ruleOf(movToCr4(running, INTEL_COMPLETE, CR4_RUNNING, 3))).toMatch(/privilege/);
  });
});

describe('WRMSR to IA32_EFER', () => {
  it.each([
    ['the same value', INTEL_COMPLETE, EFER_RUNNING, null],
    ['clearing NXE', INTEL_COMPLETE, EFER_RUNNING & ~EFER.mask('NXE'), null],
    ['NXE without the feature', { ...INTEL_COMPLETE, nx: false } as CpuFeatures, EFER_RUNNING, /reserved/],
    ['clearing LME while paging', INTEL_COMPLETE, EFER_RUNNING & ~EFER.mask('LME'), /LME/],
    ['bit 1', INTEL_COMPLETE, EFER_RUNNING | 2n, /reserved/],
    ['SVME on Intel', INTEL_COMPLETE, EFER_RUNNING | EFER.mask('SVME'), /reserved/],
    ['SVME on AMD', AMD_ZEN4, EFER_RUNNING | EFER.mask('SVME'), null],
    ['UAIE on Intel', INTEL_COMPLETE, EFER_RUNNING | EFER.mask('UAIE'), /reserved/],
    ['UAIE on AMD', AMD_ZEN4, EFER_RUNNING | EFER.mask('UAIE'), null],
    ['TCE on AMD', AMD_ZEN4, EFER_RUNNING | EFER.mask('TCE'), null],
    ['clearing LMA on AMD', AMD_ZEN4, EFER_RUNNING & ~EFER.mask('LMA'), /LMA/],
    ['clearing LMA on Intel', INTEL_COMPLETE, EFER_RUNNING & ~EFER.mask('LMA'), null],
    ['bit 1 on AMD, read as zero', AMD_ZEN4, EFER_RUNNING | 2n, null],
    ['bit 9 on AMD', AMD_ZEN4, EFER_RUNNING | (1n << 9n), /reserved/],
    ['bit 16 on AMD', AMD_ZEN4, EFER_RUNNING | (1n << 16n), /reserved/],
  ] as const)('%s', (_, features, operand, rule) => {
    const got = ruleOf(writeEfer(running, features, operand, 0));
    if (rule === null) expect(got).toBeNull();
    else expect(got).toMatch(rule);
  });

  it('stores bits 7:1 as zero on AMD', () => {
    expect(writeEfer(running, AMD_ZEN4, EFER_RUNNING | 0xfen, 0)).toMatchObject({
      fault: null,
      value: EFER_RUNNING,
    });
  });

  it('does not look at LMA', () => {
    expect(writeEfer(running, INTEL_COMPLETE, EFER_RUNNING & ~EFER.mask('LMA'), 0)).toMatchObject({
      fault: null,
      value: EFER_RUNNING,
    });
  });
});

describe('WRPKRU, CLAC and STAC', () => {
  const withKeys = { ...running, cr4: CR4_RUNNING | CR4.mask('PKE') };
  it.each([
    ['with CR4.PKE', withKeys, 0, 0, null],
    ['without CR4.PKE is #UD', running, 0, 0, 6],
    ['with ECX is #GP', withKeys, 1, 0, 13],
    ['with EDX is #GP', withKeys, 0, 1, 13],
  ] as const)('WRPKRU %s', (_, state, ecx, edx, vector) => {
    expect(wrpkru(state, -1, ecx, edx).fault?.vector ?? null).toBe(vector);
  });

  it('WRPKRU loads EAX as an unsigned value', () => {
    expect(wrpkru(withKeys, -1)).toMatchObject({ fault: null, value: 0xffff_ffffn });
  });

  it.each([
    ['CPL 0', INTEL_COMPLETE, 0, null],
    ['CPL 3 is #UD', INTEL_COMPLETE, 3, 6],
    ['no SMAP is #UD', { ...INTEL_COMPLETE, smap: false } as CpuFeatures, 0, 6],
  ] as const)('CLAC and STAC: %s', (_, features, cpl, vector) => {
    expect(clacStac(features, cpl)?.fault.vector ?? null).toBe(vector);
  });
});
