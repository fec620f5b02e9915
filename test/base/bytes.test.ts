import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readBigEndian, readLittleEndian, writeBigEndian, writeLittleEndian } from '../../src/base/bytes.ts';

/** The second opinion: one byte at a time. */
function shiftOut(value: bigint, width: number): number[] {
  const bytes: number[] = [];
  for (let at = 0; at < width; at++) bytes.push(Number((value >> BigInt(8 * at)) & 0xffn));
  return bytes;
}

const valueAndWidth = fc
  .integer({ min: 1, max: 40 })
  .chain((width) =>
    fc.tuple(fc.bigInt({ min: 0n, max: (1n << BigInt(8 * width)) - 1n }), fc.constant(width)),
  );

describe('bytes', () => {
  it('write what a shift loop writes, at every width', () => {
    fc.assert(
      fc.property(valueAndWidth, ([value, width]) => {
        const expected = shiftOut(value, width);
        expect([...writeLittleEndian(value, width)]).toEqual(expected);
        expect([...writeBigEndian(value, width)]).toEqual(expected.reverse());
      }),
    );
  });

  it('read back what they write, also from the middle of a larger buffer', () => {
    fc.assert(
      fc.property(valueAndWidth, fc.nat(9), ([value, width], offset) => {
        const image = new Uint8Array(width + offset + 3).fill(0xee);
        image.set(writeLittleEndian(value, width), offset);
        expect(readLittleEndian(image.subarray(offset, offset + width))).toBe(value);
        image.set(writeBigEndian(value, width), offset);
        expect(readBigEndian(image.subarray(offset, offset + width))).toBe(value);
      }),
    );
  });

  it('leave the bytes they read as they were', () => {
    const bytes = new Uint8Array([1, 2, 3]);
    readLittleEndian(bytes);
    expect([...bytes]).toEqual([1, 2, 3]);
  });

  it('give a plain Uint8Array whose slices are copies', () => {
    const bytes = writeLittleEndian(0x0201n, 2);
    bytes.slice(0, 1)[0] = 9;
    expect([...bytes]).toEqual([1, 2]);
    expect(bytes.constructor).toBe(Uint8Array);
  });

  it.each([
    ['a number one too large', 0x100n, 1],
    ['a number far too large', 1n << 64n, 8],
    ['a negative number', -1n, 8],
    ['a width of nothing', 0n, 0],
    ['a negative width', 0n, -1],
    ['a width that is not whole', 0n, 1.5],
    ['no width', 0n, Number.NaN],
  ])('refuse to write %s', (_, value, width) => {
    expect(() => writeLittleEndian(value, width)).toThrow(RangeError);
    expect(() => writeBigEndian(value, width)).toThrow(RangeError);
  });

  it.each([
    ['an empty array', new Uint8Array(0)],
    ['a plain array', [1, 2] as unknown as Uint8Array],
    ['a string', '12' as unknown as Uint8Array],
  ])('refuse to read %s', (_, bytes) => {
    expect(() => readLittleEndian(bytes)).toThrow(RangeError);
    expect(() => readBigEndian(bytes)).toThrow(RangeError);
  });

  it('refuse to write what is not a bigint', () => {
    expect(() => writeLittleEndian(5 as unknown as bigint, 1)).toThrow(RangeError);
  });
});
