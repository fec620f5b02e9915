import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  blockAllowed,
  blockLayout,
  type DescriptorContext,
  descriptorAddress,
  descriptorForm,
  descriptorShift,
  type GranuleShift,
  layoutOfDescriptor,
  levelExists,
  pageLayout,
  tableLayout,
} from '../../../src/arch/arm64/entries.ts';
import {
  ESR_EL1,
  ESR_EL1_DATA_ABORT,
  ESR_EL1_INSTRUCTION_ABORT,
  faultStatusName,
  TCR_EL1,
} from '../../../src/arch/arm64/registers.ts';
import { maskOf } from '../../../src/base/u64.ts';

const contexts: DescriptorContext[] = [];
for (const granule of [12, 14, 16] as GranuleShift[]) {
  for (const lpa of [false, true]) {
    for (let level = -1; level <= 3; level++) {
      if (levelExists({ granule, level, lpa })) contexts.push({ granule, level, lpa });
    }
  }
}

describe('VMSAv8-64 descriptor formats', () => {
  it('every layout of every granule, level and address size names all bits and round-trips', () => {
    for (const context of contexts) {
      const layouts = [context.level === 3 ? pageLayout(context) : tableLayout(context)];
      if (blockAllowed(context)) layouts.push(blockLayout(context));
      for (const layout of layouts) {
        fc.assert(
          fc.property(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (word) => {
            const fields = Object.fromEntries(layout.decode(word).map(({ name, value }) => [name, value]));
            expect(layout.encode(fields)).toBe(word);
          }),
          { numRuns: 20 },
        );
      }
    }
    expect(contexts.length).toBe(4 + 5 + 4 + 4 + 3 + 3);
  });

  // Arm ARM "VMSAv8-64 Block descriptor and Page descriptor formats": sizes and the levels where blocks exist.
  it.each([
    [12, 0, false, false, 39],
    [12, 1, false, true, 30],
    [12, 2, false, true, 21],
    [12, 0, true, true, 39],
    [12, -1, true, false, 48],
    [14, 1, false, false, 36],
    [14, 2, false, true, 25],
    [14, 1, true, true, 36],
    [14, 0, true, false, 47],
    [16, 1, false, false, 42],
    [16, 2, false, true, 29],
    [16, 1, true, true, 42],
    [12, 3, false, false, 12],
  ] as const)(
    'granule 2^%i, level %i, 52-bit %s: block allowed %s, maps 2^%i bytes',
    (granule, level, lpa, block, shift) => {
      expect(blockAllowed({ granule, level, lpa })).toBe(block);
      expect(descriptorShift(granule, level)).toBe(shift);
    },
  );

  it.each([
    ['bit 0 clear', 0xffff_ffff_ffff_fffen, 2, 'invalid'],
    ['0b11 above level 3', 3n, 2, 'table'],
    ['0b01 at level 2', 1n, 2, 'block'],
    ['0b01 at level 0', 1n, 0, 'reserved'],
    ['0b11 at level 3', 3n, 3, 'page'],
    ['0b01 at level 3', 1n, 3, 'reserved'],
  ] as const)('4 KiB granule, %s is %s', (_, value, level, form) => {
    expect(descriptorForm(value, { granule: 12, level, lpa: false })).toBe(form);
  });
});

const ones = (1n << 64n) - 1n;

describe('output addresses', () => {
  // Which bits of an all-ones descriptor are the output address.
  it.each([
    ['4 KiB page', 12, 3, false, maskOf(47, 12)],
    ['16 KiB page', 14, 3, false, maskOf(47, 14)],
    ['64 KiB page', 16, 3, false, maskOf(47, 16)],
    ['4 KiB page, LPA2', 12, 3, true, maskOf(51, 12)],
    ['16 KiB page, LPA2', 14, 3, true, maskOf(51, 14)],
    ['64 KiB page, LPA', 16, 3, true, maskOf(51, 16)],
    ['4 KiB table, LPA2', 12, 0, true, maskOf(51, 12)],
    ['64 KiB table, LPA', 16, 1, true, maskOf(51, 16)],
  ] as const)('address of a %s', (_, granule, level, lpa, mask) => {
    const context = { granule, level, lpa };
    expect(descriptorAddress(ones, layoutOfDescriptor(ones, context))).toBe(mask);
  });

  it.each([
    ['2 MiB block', 12, 2, false, maskOf(47, 21)],
    ['1 GiB block', 12, 1, false, maskOf(47, 30)],
    ['512 GiB block, LPA2', 12, 0, true, maskOf(51, 39)],
    ['32 MiB block', 14, 2, false, maskOf(47, 25)],
    ['64 GiB block, LPA2', 14, 1, true, maskOf(51, 36)],
    ['512 MiB block', 16, 2, false, maskOf(47, 29)],
    ['4 TiB block, LPA', 16, 1, true, maskOf(51, 42)],
  ] as const)('address of a %s', (_, granule, level, lpa, mask) => {
    const block = ones & ~2n;
    expect(descriptorAddress(block, layoutOfDescriptor(block, { granule, level, lpa }))).toBe(mask);
  });
});

describe('arm64 registers', () => {
  it.each([
    [0b000100, 'Translation fault, level 0'],
    [0b000111, 'Translation fault, level 3'],
    [0b001001, 'Access flag fault, level 1'],
    [0b001111, 'Permission fault, level 3'],
    [0b000000, 'Address size fault, level 0'],
    [0b010001, 'synchronous Tag Check Fault'],
    [0b010000, 'synchronous External abort, not on translation table walk or hardware update'],
    [0b010110, 'synchronous External abort on translation table walk or hardware update, level 2'],
    [0b100001, 'Alignment fault'],
    [0b101011, 'Translation fault, level -1'],
    [0b110000, 'TLB conflict abort'],
    [0b111111, 'reserved'],
  ])('fault status 0b%s is %s', (code, name) => {
    expect(faultStatusName(code)).toBe(name);
  });

  it.each([
    [
      'TCR_EL1',
      TCR_EL1,
      {
        EPD0: 7,
        A1: 22,
        EPD1: 23,
        AS: 36,
        TBI0: 37,
        TBI1: 38,
        HA: 39,
        HD: 40,
        HPD0: 41,
        TBID0: 51,
        NFD0: 53,
        E0PD0: 55,
        TCMA0: 57,
        DS: 59,
        MTX0: 60,
      },
    ],
    [
      'ESR_EL1 (Data Abort)',
      ESR_EL1_DATA_ABORT,
      {
        WnR: 6,
        S1PTW: 7,
        CM: 8,
        EA: 9,
        FnV: 10,
        ISV: 24,
        IL: 25,
        DirtyBit: 37,
        Overlay: 38,
        GCS: 40,
        TagAccess: 41,
        TnD: 42,
      },
    ],
    ['ESR_EL1 (Instruction Abort)', ESR_EL1_INSTRUCTION_ABORT, { S1PTW: 7, EA: 9, FnV: 10 }],
    ['ESR_EL1', ESR_EL1, { IL: 25 }],
  ] as const)('%s has its flags where the manual has them', (_, layout, flags) => {
    for (const [name, at] of Object.entries(flags)) {
      expect([name, layout.mask(name as never)]).toEqual([name, 1n << BigInt(at)]);
    }
  });
});
