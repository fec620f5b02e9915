import { describe, expect, it } from 'vitest';
import type { DecodeOptions } from '../../src/arch/decode-kind.ts';
import { DECODE_KINDS, decodeWord } from '../../src/arch/registry-decode-kinds.ts';
import { InputError } from '../../src/base/input-error.ts';
import { decodeText } from '../../src/report/decode-text.ts';

/** Values from a running Linux 6.1 (x86-64) and 6.12 (arm64), and some that no sane kernel writes. */
const SAMPLES: readonly (readonly [kind: string, value: bigint, options: DecodeOptions])[] = [
  ['x86_64.pte', 0x000f_ffff_f844_0960n, {}],
  ['x86_64.pte', 0x07ff_ffff_fffb_fe0an, {}],
  ['x86_64.pte', 0x800f_ffff_fd7c_2060n, {}],
  ['x86_64.pte', 0x8000_0100_1234_5067n, { maxPhysAddr: 40, nxe: false }],
  ['x86_64.pte', 0x0c00_0000_1234_5e45n, {}],
  ['x86_64.pml4e', 0x1_0200_41e7n, { vendor: 'amd' }],
  ['x86_64.pde', 0x8000_0000_0540_00e7n, {}],
  ['x86_64.pde-2m', 0x1_0200_6067n, {}],
  ['cr3', 0x8000_0001_0200_0005n, { pcide: true }],
  ['cr0', 0xa000_0010n, {}],
  ['efer', 0x10_0d01n, { vendor: 'intel' }],
  ['pat', 0x0207_0506_0007_0106n, {}],
  ['pf-error', 0x23n, {}],
  ['arm64.descriptor', 0x00e8_0000_430e_2706n, { granule: '4k', level: 3 }],
  ['arm64.descriptor', 0x0060_0000_4120_0f11n, { granule: '4k', level: 2 }],
  ['arm64.descriptor', 0x1800_0000_4130_0003n, { granule: '4k', level: 1 }],
  ['arm64.descriptor', 0x0040_0000_4400_0f01n, { granule: '16k', level: 1 }],
  ['arm64.descriptor', 0x0000_0000_4400_1f03n, { granule: '64k', level: 3, lpa: true }],
  ['esr_el1', 0x8600_0006n, {}],
  ['esr_el1', 0x5600_0000n, {}],
];

describe('decode', () => {
  it.each(DECODE_KINDS.map((kind) => [kind.name, kind] as const))(
    '%s explains its example, every bit once',
    (_, kind) => {
      const value = BigInt(kind.example);
      const decoded = decodeWord(kind.name, value, kind.exampleOptions);
      let next = kind.width - 1;
      for (const { high, low } of decoded.fields) {
        expect(high).toBe(next);
        next = low - 1;
      }
      expect(next).toBe(-1);
      expect(decoded.source).not.toBe('');
    },
  );

  it('prints the words of the golden file', async () => {
    const examples = DECODE_KINDS.map(
      (kind) => [kind.name, BigInt(kind.example), kind.exampleOptions ?? {}] as const,
    );
    const text = [...examples, ...SAMPLES]
      .map(
        ([kind, value, options]) =>
          `== ${kind} ${JSON.stringify(options)}\n${decodeText(decodeWord(kind, value, options))}\n`,
      )
      .join('\n');
    await expect(text).toMatchFileSnapshot('../golden/decode.txt');
  });

  it.each([
    ['an unknown kind', 'x86_64.pdt', 0n, {}, /unknown kind/],
    ['a value of 65 bits', 'cr0', 1n << 64n, {}, /does not fit/],
    ['a negative value', 'cr0', -1n, {}, /does not fit/],
    ['MAXPHYADDR 53', 'x86_64.pte', 1n, { maxPhysAddr: 53 }, /MAXPHYADDR/],
    ['MAXPHYADDR 31', 'cr3', 1n, { maxPhysAddr: 31 }, /MAXPHYADDR/],
    ['a descriptor without level', 'arm64.descriptor', 1n, {}, /level/],
    ['level 0 with 64 KiB', 'arm64.descriptor', 1n, { granule: '64k', level: 0 }, /level/],
    ['level -1 with 48-bit addresses', 'arm64.descriptor', 1n, { granule: '4k', level: -1 }, /level/],
    ['level 4', 'arm64.descriptor', 1n, { granule: '4k', level: 4 }, /level/],
  ] as const)('%s is an InputError', (_, kind, value, options, message) => {
    expect(() => decodeWord(kind, value, options)).toThrow(InputError);
    expect(() => decodeWord(kind, value, options)).toThrow(message);
  });
});
