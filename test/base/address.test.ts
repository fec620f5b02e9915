import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressOfFrame,
  addressOfPage,
  frameOf,
  pageOf,
  physicalAddress,
  virtualAddress,
} from '../../src/base/address.ts';

describe('addresses', () => {
  it('lose only their offset as page numbers, over all 64 bits', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (value) => {
        const page = pageOf(virtualAddress(value));
        expect(Number.isSafeInteger(page)).toBe(true);
        expect(addressOfPage(page)).toBe(value & ~0xfffn);
      }),
    );
  });

  it('lose only their offset as frame numbers, over all 52 bits', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }), (value) => {
        expect(addressOfFrame(frameOf(physicalAddress(value)))).toBe(value & ~0xfffn);
      }),
    );
  });

  it.each([[-1n], [1n << 64n]])('virtual: %d is none', (value) => {
    expect(() => virtualAddress(value)).toThrow(RangeError);
  });

  it.each([[-1n], [1n << 52n]])('physical: %d is none', (value) => {
    expect(() => physicalAddress(value)).toThrow(RangeError);
  });
});
