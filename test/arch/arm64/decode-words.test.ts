/** arm64 descriptors, operands of TLBI and tag instructions in the words of `decode`. */
import { describe, expect, it } from 'vitest';
import { TAG_ENCODINGS } from '../../../src/arch/arm64/mte/encodings.ts';
import type { DecodeOptions } from '../../../src/arch/decode-kind.ts';
import { decodeWord } from '../../../src/arch/registry-decode-kinds.ts';

const fieldWords = (kind: string, value: bigint, name: string): string | null | undefined =>
  decodeWord(kind, value).fields.find((field) => field.name === name)?.decoded;

describe('arm64 descriptors of other forms', () => {
  it.each<[value: bigint, options: DecodeOptions, title: string, says: RegExp]>([
    [0n, { level: 2 }, 'stage 1 invalid descriptor, level 2, 4 KiB granule', /^invalid: .*, level 2$/],
    [0x41n, { level: 3 }, 'stage 1 reserved descriptor, level 3, 4 KiB granule', /a page has 0b11; a Trans/],
    [0x41n, { level: 0 }, 'stage 1 reserved descriptor, level 0, 4 KiB granule', /needs FEAT_LPA2/],
    [
      0x41n,
      { level: 0, granule: '16k' },
      'stage 1 reserved descriptor, level 0, 16 KiB granule',
      /has no blocks/,
    ],
    [
      0x41n,
      { level: 1, granule: '64k' },
      'stage 1 reserved descriptor, level 1, 64 KiB granule',
      /needs FEAT_LPA /,
    ],
  ])('keep level and granule, and say why: %#x with %o', (value, options, title, says) => {
    const decoded = decodeWord('arm64.descriptor', value, options);
    expect(decoded.title).toBe(title);
    expect(decoded.remarks[0]).toMatch(says);
  });

  it.each<[value: bigint, options: DecodeOptions, says: string]>([
    [0x10_0000_4123_4f53n, { level: 3 }, '16 descriptors of 4 KiB that map 64 KiB at 0x41230000'],
    [0x10_0000_4120_0f51n, { level: 2 }, '16 descriptors of 2 MiB that map 32 MiB at 0x40000000'],
    [
      0x10_0000_4123_4f53n,
      { level: 3, granule: '16k' },
      '128 descriptors of 16 KiB that map 2 MiB at 0x41200000',
    ],
    [
      0x10_0000_4200_0f51n,
      { level: 2, granule: '16k' },
      '32 descriptors of 32 MiB that map 1 GiB at 0x40000000',
    ],
    [
      0x10_0000_4123_0f53n,
      { level: 3, granule: '64k' },
      '32 descriptors of 64 KiB that map 2 MiB at 0x41200000',
    ],
  ])('say which run the Contiguous bit means: %#x with %o', (value, options, says) => {
    expect(decodeWord('arm64.descriptor', value, options).remarks).toContain(
      `Contiguous = 1: one of ${says} and may share a TLB entry`,
    );
  });
});

describe('arm64 descriptors with other extensions', () => {
  it('hold indices where permissions are indirect (--pie): DDI 0487, "Stage 1 Indirect permissions"', () => {
    const value = (5n << 60n) | (3n << 53n) | (1n << 51n) | 0x4123_4fc3n;
    const { fields, remarks } = decodeWord('arm64.descriptor', value, { level: 3, pie: true });
    const bits = fields.filter(({ name }) => /^(PII|nD|POI|Attr)/.test(name));
    expect(bits.map(({ name, high, value: bit }) => `${name}@${high}=${bit}`)).toEqual([
      'POIndex@62=5',
      'AttrIndx3@59=0',
      'PIIndex3@54=1',
      'PIIndex2@53=1',
      'PIIndex1@51=1',
      'nDirty@7=1',
      'PIIndex0@6=1',
      'AttrIndx@4=0',
    ]);
    expect(remarks).toContainEqual(expect.stringMatching(/^PIIndex 15: .* field 15 of PIR_EL1/));
    expect(remarks).toContainEqual(expect.stringMatching(/^POIndex 5: /));
    const table = decodeWord('arm64.descriptor', 0x7800_0000_4130_0003n, { level: 1, pie: true });
    expect(table.fields.map(({ name }) => name)).not.toContain('APTable');
  });

  it('name the wider attribute index of FEAT_AIE', () => {
    const { remarks } = decodeWord('arm64.descriptor', (1n << 59n) | 0x4123_4f57n, { level: 3 });
    expect(remarks).toContainEqual(expect.stringMatching(/AttrIndx = 13, MAIR2_EL1 field Attr13$/));
  });
});

describe('level hints and instructions', () => {
  it.each([
    [0x0, 'no hint'],
    [0x3, 'no hint: bits 45:44 are not looked at'],
    [0x4, '4 KiB, level 0 with FEAT_LPA2, otherwise as no hint'],
    [0x5, '4 KiB, level 1'],
    [0x8, '16 KiB, level 0: reserved, as no hint'],
    [0x9, '16 KiB, level 1 with FEAT_LPA2, otherwise as no hint'],
    [0xa, '16 KiB, level 2'],
    [0xc, '64 KiB, level 0: reserved, as no hint'],
    [0xd, '64 KiB, level 1'],
  ])('the level hint %#x is "%s"', (hint, words) => {
    expect(fieldWords('arm64.tlbi-va', BigInt(hint) << 44n, 'TTL')).toBe(words);
  });

  it('a hint of level 1 for a range of 16 KiB granules needs FEAT_LPA2', () => {
    expect(fieldWords('arm64.tlbi-range', (2n << 46n) | (1n << 37n), 'TTL')).toMatch(/with FEAT_LPA2/);
    expect(fieldWords('arm64.tlbi-range', (3n << 46n) | (1n << 37n), 'TTL')).toBe('level 1');
  });

  it('every tag instruction has a line of what it does', () => {
    for (const { value } of TAG_ENCODINGS) {
      expect(decodeWord('arm64.mte-insn', BigInt(value >>> 0)).remarks[0]).toMatch(/^[a-z].{20}/);
    }
  });
});
