import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressBits,
  bit,
  bits,
  type FieldDeclaration,
  ignoredBits,
  Layout,
  reservedBits,
} from '../../src/base/layout.ts';

const example = new Layout('example', {
  TOP: bit(63, 'the highest bit'),
  KEY: bits(62, 59, 'a number'),
  MBZ: reservedBits(58, 52),
  BASE: addressBits(51, 12, 'an address in place'),
  SOFT: ignoredBits(11, 1),
  P: bit(0, 'the lowest bit'),
});
const word = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

describe('a layout', () => {
  it.each([
    ['a bit without a name', { A: bits(63, 2, ''), B: bit(0, '') }],
    ['a bit with two names', { A: bits(63, 1, ''), B: bits(1, 0, '') }],
    ['a missing top', { A: bits(62, 0, '') }],
    ['a missing bottom', { A: bits(63, 1, '') }],
    ['a field upside down', { A: bits(0, 63, '') }],
    ['a field below bit 0', { A: bits(63, -1, '') }],
    ['no field at all', {}],
  ])('with %s does not load', (_, fields: Readonly<Record<string, FieldDeclaration>>) => {
    expect(() => new Layout('bad', fields)).toThrow(/layout bad/);
  });

  it('gives back every field it was given', () => {
    fc.assert(
      fc.property(word, (value) => {
        const fields = Object.fromEntries(example.names.map((name) => [name, example.get(value, name)]));
        expect(example.encode(fields)).toBe(value);
      }),
    );
  });

  it('changes one field and no other bit', () => {
    fc.assert(
      fc.property(word, fc.constantFrom(...example.names), (value, name) => {
        const cleared = example.set(value, name, 0);
        expect(cleared & example.mask(name)).toBe(0n);
        expect(cleared | (value & example.mask(name))).toBe(value);
      }),
    );
  });

  it('keeps an address in place and shifts a number down', () => {
    expect(example.encode({ BASE: 0x12345000n, KEY: 3 })).toBe(0x1800_0000_1234_5000n);
    expect(example.get(0x1800_0000_1234_5fffn, 'BASE')).toBe(0x12345000n);
    expect(example.get(0x1800_0000_1234_5fffn, 'KEY')).toBe(3n);
  });

  it.each([
    ['KEY', 16],
    ['KEY', -1],
    ['P', 2],
    ['BASE', 0x12345678n],
    ['BASE', 1n << 52n],
  ] as const)('refuses a value that does not fit: %s = %d', (name, value) => {
    expect(() => example.set(0n, name, value)).toThrow(RangeError);
  });
});

describe('a word under a layout', () => {
  it('prints flags by name and the rest by value, low bits first, zeros not at all', () => {
    const value = example.encode({ TOP: true, BASE: 0x12345000n, P: true, SOFT: 5, MBZ: 1 });
    expect(example.format(value)).toBe('P SOFT=0x5 BASE=0x12345000 MBZ=0x1 TOP');
    expect(example.format(0n)).toBe('');
  });

  it('decodes from the highest field down', () => {
    expect(example.decode(1n << 63n).map(({ name, value }) => [name, value])).toEqual([
      ['TOP', 1n],
      ['KEY', 0n],
      ['MBZ', 0n],
      ['BASE', 0n],
      ['SOFT', 0n],
      ['P', 0n],
    ]);
  });

  it('gives masks as int32 halves for hot paths', () => {
    expect(example.half('TOP', 'P')).toEqual({ hi: -0x8000_0000, lo: 1 });
  });

  it('tells whether any bit of a field is set', () => {
    expect(example.has(0x1000n, 'BASE')).toBe(true);
    expect(example.has(0xfffn, 'BASE')).toBe(false);
  });

  it('does not know names that were not declared', () => {
    expect(() => (example as Layout).field('NX')).toThrow('layout example has no field NX');
  });
});
