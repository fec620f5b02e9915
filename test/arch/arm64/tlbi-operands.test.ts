/** TLBI by name, and what the operand of each says. Sections are of the Arm ARM (DDI 0487). */
import { describe, expect, it } from 'vitest';
import { ARM64_COMPLETE, type Arm64Features } from '../../../src/arch/arm64/features.ts';
import { TLBI_OPERATIONS, tlbiNamed, tlbiUndefined } from '../../../src/arch/arm64/tlbi.ts';
import {
  ANY_LEVEL,
  addressOperand,
  asidOperand,
  rangeOperand,
  rangePages,
  tlbiScope,
} from '../../../src/arch/arm64/tlbi-operands.ts';
import { InputError } from '../../../src/base/input-error.ts';

const scope = (name: string, xt: bigint, features: Partial<Arm64Features> = {}, wideAddresses = false) =>
  tlbiScope(tlbiNamed(name), xt, { features: { ...ARM64_COMPLETE, ...features }, wideAddresses });

describe('the instructions', () => {
  it('are ten, for three domains, each plain and nXS', () => {
    expect(TLBI_OPERATIONS).toHaveLength(60);
    expect(new Set(TLBI_OPERATIONS.map(({ name }) => name)).size).toBe(60);
    expect(TLBI_OPERATIONS.every(({ index }, place) => index === place)).toBe(true);
  });

  // "TLB maintenance instructions": {R}<type>{L}<regime><shareability>{NXS}
  it.each([
    ['vmalle1', 'VMALL', false, false, 'NSH', false],
    ['VAE1', 'VA', false, false, 'NSH', false],
    ['VAE1IS', 'VA', false, false, 'ISH', false],
    ['VAE1OS', 'VA', false, false, 'OSH', false],
    ['VAAE1', 'VAA', false, false, 'NSH', false],
    ['ASIDE1OS', 'ASID', false, false, 'OSH', false],
    ['VALE1', 'VA', false, true, 'NSH', false],
    ['vaale1is', 'VAA', false, true, 'ISH', false],
    ['RVAE1', 'VA', true, false, 'NSH', false],
    ['RVAAE1OS', 'VAA', true, false, 'OSH', false],
    ['RVALE1IS', 'VA', true, true, 'ISH', false],
    ['rvaale1isnxs', 'VAA', true, true, 'ISH', true],
    ['VMALLE1OSnXS', 'VMALL', false, false, 'OSH', true],
  ])('%s', (name, type, range, lastLevel, shareability, nXS) => {
    expect(tlbiNamed(name)).toMatchObject({ type, range, lastLevel, shareability, nXS });
  });

  it.each(['VAE2', 'RVMALLE1', 'VMALLLE1', 'ALLE1', 'ASIDLE1', 'RASIDE1', ''])('%s is none', (name) => {
    expect(() => tlbiNamed(name)).toThrow(InputError);
  });

  it.each<[string, Partial<Arm64Features>, 0 | 1, RegExp | null]>([
    ['VAE1', {}, 1, null],
    ['VAE1', {}, 0, /EL0/],
    ['RVAE1', { tlbiRange: false }, 1, /FEAT_TLBIRANGE/],
    ['VAE1', { tlbiRange: false }, 1, null],
    ['VAE1OS', { tlbiOs: false }, 1, /FEAT_TLBIOS/],
    ['VAE1IS', { tlbiOs: false }, 1, null],
    ['VAE1nXS', { xs: false }, 1, /FEAT_XS/],
    ['RVAE1OSnXS', {}, 1, null],
  ])('%s with %o at EL%i', (name, features, exceptionLevel, reason) => {
    const undefinedBecause = tlbiUndefined(
      tlbiNamed(name),
      { ...ARM64_COMPLETE, ...features },
      exceptionLevel,
    );
    if (reason === null) expect(undefinedBecause).toBeNull();
    else expect(undefinedBecause).toMatch(reason);
  });
});

describe('operands of one address', () => {
  it('ASID 63:48, TTL 47:44, VA[55:12] 43:0', () => {
    // TTL 0b0111: 4 KiB, level 3.
    const found = scope('VAE1', 0x1234_7abc_de01_2345n);
    expect(found).toMatchObject({ asid: 0x1234, first: 0xabc_de01_2345, last: 0xabc_de01_2345 });
    expect(found).toMatchObject({ granule: 12, level: 3, unpredictable: null });
  });

  it('the forms for any ASID do not look at bits 63:48', () => {
    expect(scope('VAAE1', 0x1234_0000_0000_2345n).asid).toBe(-1);
    expect(scope('VAALE1', 0x1234_0000_0000_2345n).asid).toBe(-1);
    expect(scope('RVAAE1', 0x1234_4000_0000_2345n).asid).toBe(-1);
  });

  it('VMALLE1 and ASIDE1 name all addresses', () => {
    expect(scope('VMALLE1', 0n)).toMatchObject({ asid: -1, first: 0, last: 2 ** 44 - 1, level: ANY_LEVEL });
    const xt = asidOperand(0xbeef);
    expect(xt).toBe(0xbeef_0000_0000_0000n);
    // Bits 47:0 are RES0 and not looked at.
    expect(scope('ASIDE1', xt | 0x7fff_ffffn)).toMatchObject({
      asid: 0xbeef,
      first: 0,
      last: 2 ** 44 - 1,
      level: ANY_LEVEL,
    });
  });

  // "TLBI VAE1", field ASID: of 16 bits; on a CPU with ASIDs of 8 bits the upper ones are RES0.
  it.each([
    [16, 0x1205],
    [8, 0x05],
  ] as const)('a CPU with ASIDs of %i bits', (asidBits, asid) => {
    expect(scope('VAE1', 0x1205_0000_0000_0000n, { asidBits }).asid).toBe(asid);
    expect(scope('ASIDE1', 0x1205_0000_0000_0000n, { asidBits }).asid).toBe(asid);
    expect(scope('RVAE1', 0x1205_4000_0000_0000n, { asidBits }).asid).toBe(asid);
  });

  // "TTL field encodings in TLB instructions that apply to a single address"
  const any = { granule: 0, level: ANY_LEVEL };
  it.each<[number, Partial<Arm64Features>, { granule: number; level: number }]>([
    [0b0000, {}, any],
    [0b0011, {}, any],
    [0b0100, {}, { granule: 12, level: 0 }],
    [0b0100, { lpa2Granule4k: false }, any],
    [0b0101, { lpa2Granule4k: false }, { granule: 12, level: 1 }],
    [0b0110, {}, { granule: 12, level: 2 }],
    [0b0111, {}, { granule: 12, level: 3 }],
    [0b1000, {}, any],
    [0b1001, {}, { granule: 14, level: 1 }],
    [0b1001, { lpa2Granule16k: false }, any],
    [0b1010, { lpa2Granule16k: false }, { granule: 14, level: 2 }],
    [0b1011, {}, { granule: 14, level: 3 }],
    [0b1100, {}, any],
    [0b1101, {}, { granule: 16, level: 1 }],
    [0b1110, {}, { granule: 16, level: 2 }],
    [0b1111, {}, { granule: 16, level: 3 }],
    [0b0111, { ttl: false }, any],
  ])('TTL %i with %o', (ttl, features, hint) => {
    expect(scope('VAE1', BigInt(ttl) << 44n, features)).toMatchObject(hint);
  });

  it('encoding gives what decoding takes', () => {
    const xt = addressOperand(0xfff_ffff_f123, 7, { granule: 14, level: 2 });
    expect(xt).toBe(0x0007_afff_ffff_f123n);
    expect(scope('VALE1', xt)).toMatchObject({ asid: 7, first: 0xfff_ffff_f123, granule: 14, level: 2 });
    // A page number of a sign-extended address.
    expect(addressOperand(0xf_ffff_ffff_f123, 7)).toBe(0x0007_0fff_ffff_f123n);
  });
});

const range = (tg: number, scale: number, num: number, ttl: number, base: bigint): bigint =>
  (BigInt(tg) << 46n) | (BigInt(scale) << 44n) | (BigInt(num) << 39n) | (BigInt(ttl) << 37n) | base;

describe('where a range begins and ends', () => {
  // [BaseADDR, BaseADDR + (NUM + 1) * 2^(5 * SCALE + 1) * granule)
  it.each([
    [1, 0, 0, 0x12345n, 0x12345, 2],
    [1, 0, 31, 0x12345n, 0x12345, 64],
    [1, 1, 0, 0x12345n, 0x12345, 64],
    [1, 2, 2, 0x12345n, 0x12345, 3 * 2048],
    [1, 3, 31, 0x12345n, 0x12345, 32 * 65536],
    [2, 0, 0, 0x12345n, 0x12345 * 4, 8],
    [2, 1, 4, 0x12345n, 0x12345 * 4, 5 * 64 * 4],
    [3, 0, 1, 0x12345n, 0x12345 * 16, 4 * 16],
  ])('TG %i, SCALE %i, NUM %i from %s', (tg, scale, num, base, first, pages) => {
    const found = scope('RVAE1', range(tg, scale, num, 0, base));
    expect(found).toMatchObject({ first, last: first + pages - 1, granule: [0, 12, 14, 16][tg] });
    expect(rangePages(([0, 12, 14, 16] as const)[tg] as 12, scale, num)).toBe(pages);
  });

  // BaseADDR with TCR_EL1.DS = 1: [52:16] for all granules, the bits below are 0.
  it.each([
    [1, false, 0x1_0003n, 0x1_0003],
    [1, true, 0x1_0003n, 0x10_0030],
    [2, false, 0x1_0003n, 0x4_000c],
    [2, true, 0x1_0003n, 0x10_0030],
    [3, false, 0x1_0003n, 0x10_0030],
    [3, true, 0x1_0003n, 0x10_0030],
  ])('TG %i with DS %s', (tg, wide, base, first) => {
    expect(scope('RVAE1', range(tg, 0, 0, 0, base), {}, wide).first).toBe(first);
  });

  // BaseADDR is signed: the upper range of addresses.
  it.each([
    [1, false, 0xff0_0000_0000],
    [2, false, 0xfc0_0000_0000],
    [3, false, 0xf00_0000_0000],
    [1, true, 0xf00_0000_0000],
  ])('the top bit of BaseADDR, TG %i with DS %s, is copied up to VA[55]', (tg, wide, first) => {
    expect(scope('RVAE1', range(tg, 0, 0, 0, 1n << 36n), {}, wide).first).toBe(first);
  });

  it('a range in the upper half ends at its top and does not wrap', () => {
    const found = scope('RVAE1', range(1, 3, 31, 0, 0x1f_ffff_ffffn));
    expect(found).toMatchObject({ first: 0xfff_ffff_ffff, last: 0xfff_ffff_ffff });
  });

  it('a range in the lower half ends at the 52-bit boundary', () => {
    const found = scope('RVAE1', range(3, 3, 31, 0, 0xf_ffff_ffffn));
    expect(found).toMatchObject({ first: 0xff_ffff_fff0, last: 0xff_ffff_ffff });
  });

  it('TG 0b00 is reserved and names nothing', () => {
    const found = scope('RVAE1', range(0, 3, 31, 0, 0n));
    expect(found.last).toBeLessThan(found.first);
    expect(found.unpredictable).toMatch(/reserved/);
  });
});

describe('hints and encoding of a range', () => {
  // "TTL field encodings in TLB instructions that apply to a range of addresses"
  it.each<[number, number, Partial<Arm64Features>, number]>([
    [1, 0, {}, ANY_LEVEL],
    [1, 1, {}, 1],
    [1, 3, {}, 3],
    [2, 1, {}, 1],
    [2, 1, { lpa2Granule16k: false }, ANY_LEVEL],
    [2, 2, { lpa2Granule16k: false }, 2],
    [3, 1, { lpa2Granule16k: false }, 1],
    [3, 2, { ttl: false }, ANY_LEVEL],
  ])('TG %i, TTL %i with %o', (tg, ttl, features, level) => {
    expect(scope('RVAE1', range(tg, 0, 0, ttl, 0n), features).level).toBe(level);
  });

  // "the invalidated address range is UNPREDICTABLE"
  it.each([
    [1, 2, 1n << 8n, true],
    [1, 2, 1n << 9n, false],
    [1, 1, 1n << 17n, true],
    [1, 1, 1n << 18n, false],
    [1, 3, 1n, false],
    [1, 0, 1n, false],
    [2, 2, 1n << 10n, true],
    [2, 2, 1n << 11n, false],
    [2, 1, 1n << 21n, true],
    [2, 1, 1n << 22n, false],
    [3, 2, 1n << 12n, true],
    [3, 2, 1n << 13n, false],
    [3, 1, 1n << 25n, true],
    [3, 1, 1n << 26n, false],
  ])('TG %i, TTL %i from %s: UNPREDICTABLE %s', (tg, ttl, base, unpredictable) => {
    expect(scope('RVAE1', range(tg, 0, 0, ttl, base)).unpredictable !== null).toBe(unpredictable);
  });

  it('encoding gives what decoding takes', () => {
    const xt = rangeOperand(
      { asid: 9, page: 0xfff_f000_0010, granule: 12, scale: 1, num: 3, level: 3 },
      true,
    );
    expect(scope('RVALE1', xt, {}, true)).toMatchObject({
      asid: 9,
      first: 0xfff_f000_0010,
      last: 0xfff_f000_0010 + 4 * 64 - 1,
      level: 3,
    });
  });

  it('refuses a first page that BaseADDR cannot say', () => {
    const operand = { asid: 0, page: 8, granule: 12, scale: 0, num: 0 } as const;
    expect(() => rangeOperand(operand, true)).toThrow(RangeError);
    expect(rangeOperand(operand, false) & 0xffffn).toBe(8n);
  });
});
