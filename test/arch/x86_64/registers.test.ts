import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as entries from '../../../src/arch/x86_64/entries.ts';
import * as registers from '../../../src/arch/x86_64/registers.ts';
import { Layout } from '../../../src/base/layout.ts';

const exported: readonly unknown[] = [...Object.values(registers), ...Object.values(entries)];
const layouts = exported.filter((value): value is Layout => value instanceof Layout);

describe('the layouts of x86-64 words', () => {
  it('are all found by this test', () => {
    expect(layouts.length).toBe(25);
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
        { numRuns: 50 },
      );
    },
  );
});

// Bit numbers as the manuals give them, written here a second time.
const FLAGS = [
  ['CR0', registers.CR0, { PE: 0, ET: 4, NE: 5, WP: 16, AM: 18, NW: 29, CD: 30, PG: 31 }],
  [
    'CR4',
    registers.CR4,
    {
      PSE: 4,
      PAE: 5,
      PGE: 7,
      UMIP: 11,
      LA57: 12,
      VMXE: 13,
      SMXE: 14,
      FSGSBASE: 16,
      PCIDE: 17,
      OSXSAVE: 18,
      KL: 19,
      SMEP: 20,
      SMAP: 21,
      PKE: 22,
      CET: 23,
      PKS: 24,
      UINTR: 25,
      LASS: 27,
      LAM_SUP: 28,
      FRED: 32,
    },
  ],
  [
    'IA32_EFER',
    registers.EFER,
    {
      SCE: 0,
      LME: 8,
      LMA: 10,
      NXE: 11,
      SVME: 12,
      LMSLE: 13,
      FFXSR: 14,
      TCE: 15,
      MCOMMIT: 17,
      INTWB: 18,
      UAIE: 20,
      AIBRSE: 21,
    },
  ],
  ['CR3', registers.CR3, { PWT: 3, PCD: 4, LAM_U57: 61, LAM_U48: 62 }],
  ['CR3 with PCIDs', registers.CR3_PCIDE, { LAM_U57: 61, LAM_U48: 62, NO_FLUSH: 63 }],
  ['RFLAGS', registers.RFLAGS, { IF: 9, AC: 18 }],
  [
    'page-fault error code',
    registers.PAGE_FAULT_ERROR,
    { P: 0, WR: 1, US: 2, RSVD: 3, ID: 4, PK: 5, SS: 6, HLAT: 7, SGX: 15, RMP: 31 },
  ],
  ['PKRU', registers.PKRU, { AD0: 0, WD0: 1, AD1: 2, WD15: 31 }],
  ['PTE', entries.PTE, { P: 0, RW: 1, US: 2, PWT: 3, PCD: 4, A: 5, D: 6, PAT: 7, G: 8, XD: 63 }],
  ['PDE (2-MByte page)', entries.PDE_2M, { D: 6, PS: 7, G: 8, PAT: 12, XD: 63 }],
  ['PDPTE (1-GByte page)', entries.PDPTE_1G, { D: 6, PS: 7, G: 8, PAT: 12, XD: 63 }],
] as const;

describe('flags', () => {
  it.each(FLAGS)('%s has its flags where the manual has them', (_, layout, flags) => {
    for (const [name, at] of Object.entries(flags)) {
      expect([name, (layout as Layout).mask(name)]).toEqual([name, 1n << BigInt(at)]);
    }
  });
});
