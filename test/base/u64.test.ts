import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHalves, hex, hexHalves, highHalf, lowHalf, maskOf } from '../../src/base/u64.ts';

const word = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

describe('halves of a word', () => {
  it('are int32 and make the word again', () => {
    fc.assert(
      fc.property(word, (value) => {
        const hi = highHalf(value);
        const lo = lowHalf(value);
        expect([hi, lo]).toEqual([hi | 0, lo | 0]);
        expect(fromHalves(hi, lo)).toBe(value);
      }),
    );
  });

  it.each([
    [0n, 0, 0],
    [0xffff_ffffn, 0, -1],
    [0x8000_0000n, 0, -0x8000_0000],
    [1n << 63n, -0x8000_0000, 0],
    [0x1234_5678_9abc_def0n, 0x1234_5678, 0x9abc_def0 | 0],
  ])('of %d are %d and %d', (value, hi, lo) => {
    expect([highHalf(value), lowHalf(value)]).toEqual([hi, lo]);
  });

  it('drop what is above bit 63', () => {
    expect(lowHalf((1n << 64n) + 5n)).toBe(5);
    expect(highHalf((1n << 64n) + 5n)).toBe(0);
  });

  it('come from unsigned halves as well', () => {
    expect(fromHalves(0xffff_ffff, 0x8000_0000)).toBe(0xffff_ffff_8000_0000n);
  });
});

describe('hexadecimal', () => {
  it('of halves is that of the word', () => {
    fc.assert(
      fc.property(word, (value) => {
        expect(hexHalves(highHalf(value), lowHalf(value))).toBe(hex(value));
      }),
    );
  });

  it.each([
    [0n, '0x0'],
    [-5n, '-0x5'],
    [255, '0xff'],
    [0x1_0000_0000n, '0x100000000'],
  ])('of %d is %s', (value, text) => {
    expect(hex(value)).toBe(text);
  });
});

describe('maskOf', () => {
  it('has exactly the bits from low to high', () => {
    fc.assert(
      fc.property(fc.nat(63), fc.nat(63), (a, b) => {
        const [low, high] = a < b ? [a, b] : [b, a];
        for (let at = 0n; at < 64n; at++) {
          expect((maskOf(high, low) >> at) & 1n).toBe(at >= BigInt(low) && at <= BigInt(high) ? 1n : 0n);
        }
      }),
      { numRuns: 30 },
    );
  });
});
