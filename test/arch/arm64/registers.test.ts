import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as registers from '../../../src/arch/arm64/registers.ts';
import * as systemRegisters from '../../../src/arch/arm64/system-registers.ts';
import { Layout } from '../../../src/base/layout.ts';

const exported: readonly unknown[] = [...Object.values(registers), ...Object.values(systemRegisters)];
const layouts = exported.filter((value): value is Layout => value instanceof Layout);

describe('the layouts of arm64 registers', () => {
  it('are all found by this test, each with a title of its own', () => {
    expect(layouts.length).toBe(22);
    expect(new Set(layouts.map(({ title }) => title)).size).toBe(layouts.length);
  });

  it.each(layouts.map((layout) => [layout.title, layout] as const))(
    '%s: a word taken apart and put together again is the same word',
    (_, layout) => {
      fc.assert(
        fc.property(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (word) => {
          const fields = Object.fromEntries(layout.decode(word).map(({ name, value }) => [name, value]));
          expect(layout.encode(fields)).toBe(word);
        }),
        { numRuns: 30 },
      );
    },
  );
});

const { SCTLR_EL1, TCR2_EL1, PAR_EL1, PAR_EL1_FAULT, GCR_EL1, RGSR_EL1, TFSR_EL1, DCZID_EL0 } =
  systemRegisters;

// Bit numbers as the manual's register descriptions give them, written here a second time.
const FLAGS = [
  [
    'SCTLR_EL1',
    SCTLR_EL1,
    { M: 0, A: 1, C: 2, nAA: 6, I: 12, DZE: 14, WXN: 19, SPAN: 23, E0E: 24, EE: 25, UCI: 26 },
  ],
  ['SCTLR_EL1', SCTLR_EL1, { ITFSB: 37, ATA0: 42, ATA: 43, DSSBS: 44, EPAN: 57, TIDCP: 63 }],
  [
    'TCR_EL1',
    registers.TCR_EL1,
    { EPD0: 7, A1: 22, EPD1: 23, AS: 36, TBI0: 37, TBI1: 38, HA: 39, HD: 40, HPD0: 41, HPD1: 42 },
  ],
  [
    'TCR_EL1',
    registers.TCR_EL1,
    { TBID0: 51, TBID1: 52, NFD0: 53, NFD1: 54, E0PD0: 55, E0PD1: 56, TCMA0: 57, TCMA1: 58, DS: 59 },
  ],
  [
    'TCR2_EL1',
    TCR2_EL1,
    { PnCH: 0, PIE: 1, E0POE: 2, POE: 3, AIE: 4, D128: 5, PTTWI: 10, HAFT: 11, A2: 16, FNG0: 17, FNG1: 18 },
  ],
  ['PAR_EL1', PAR_EL1, { F: 0, NS: 9, NSE: 11 }],
  ['PAR_EL1', PAR_EL1_FAULT, { F: 0, PTW: 8, S: 9, RES1_11: 11, Overlay: 14, DirtyBit: 15 }],
  ['GCR_EL1', GCR_EL1, { RRND: 16 }],
  ['TFSR_EL1', TFSR_EL1, { TF0: 0, TF1: 1 }],
  ['DCZID_EL0', DCZID_EL0, { DZP: 4 }],
  [
    'ESR_EL1',
    registers.ESR_EL1_DATA_ABORT,
    { WnR: 6, CM: 8, FnV: 10, ISV: 24, IL: 25, DirtyBit: 37, Overlay: 38 },
  ],
] as const;

describe('single bits, Arm ARM (DDI 0487), "AArch64 System Register Descriptions"', () => {
  const rows = FLAGS.flatMap(([title, layout, flags]) =>
    Object.entries(flags).map(([name, at]) => [title, name, at, layout as unknown as Layout] as const),
  );
  it.each(rows)('%s.%s is bit %i', (_title, name, at, layout) => {
    expect(layout.mask(name)).toBe(1n << BigInt(at));
  });
});

const FIELDS: readonly (readonly [string, Layout, string, number, number])[] = [
  ['SCTLR_EL1', SCTLR_EL1, 'TCF0', 39, 38],
  ['SCTLR_EL1', SCTLR_EL1, 'TCF', 41, 40],
  ['TCR_EL1', registers.TCR_EL1, 'T0SZ', 5, 0],
  ['TCR_EL1', registers.TCR_EL1, 'TG0', 15, 14],
  ['TCR_EL1', registers.TCR_EL1, 'T1SZ', 21, 16],
  ['TCR_EL1', registers.TCR_EL1, 'TG1', 31, 30],
  ['TCR_EL1', registers.TCR_EL1, 'IPS', 34, 32],
  ['TTBR0_EL1', systemRegisters.TTBR0_EL1, 'ASID', 63, 48],
  ['MAIR_EL1', systemRegisters.MAIR_EL1, 'Attr3', 31, 24],
  ['PIR_EL1', systemRegisters.PIR_EL1, 'Perm9', 39, 36],
  ['POR_EL0', systemRegisters.POR_EL0, 'Perm7', 31, 28],
  ['PAR_EL1', PAR_EL1, 'SH', 8, 7],
  ['PAR_EL1', PAR_EL1, 'PA', 51, 12],
  ['PAR_EL1', PAR_EL1, 'ATTR', 63, 56],
  ['PAR_EL1', PAR_EL1_FAULT, 'FST', 6, 1],
  ['GCR_EL1', GCR_EL1, 'Exclude', 15, 0],
  ['RGSR_EL1', RGSR_EL1, 'TAG', 3, 0],
  ['RGSR_EL1', RGSR_EL1, 'SEED', 23, 8],
];

it.each(FIELDS.map(([register, layout, name, high, low]) => [register, name, high, low, layout] as const))(
  '%s.%s is bits %i:%i',
  (_register, name, high, low, layout) => {
    expect(layout.field(name)).toMatchObject({ high, low });
  },
);
