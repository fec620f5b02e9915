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

const RESERVED = /reserved bits 20:13 not zero: 0x1; a #PF with RSVD/;
const PTE_NONE = 'Linux pgtable_types.h, _PAGE_KNL_ERRATUM_MASK; pgtable.h, pte_none and pgd_none';
const SDM_PDE = 'SDM vol. 3A, "Format of a Page-Directory Entry that Maps a 2-MByte Page"';
const SDM_MTRR = 'SDM vol. 3A, "Variable Range MTRRs"';
const ESR = 'Arm ARM, "ISS encoding for an exception from a Data Abort", CM and WnR';
const TCR = 'Arm ARM, "TCR_EL1", T0SZ';
const BLOCKS = 'Arm ARM, "VMSAv8-64 Block descriptor and Page descriptor formats"';

/** What is said of a word, and by which manual or kernel source it is so. */
const SAYS: readonly (readonly [
  kind: string,
  value: string,
  options: DecodeOptions,
  says: RegExp,
  source: string,
])[] = [
  ['x86_64.pte', '0x60', {}, /^Linux: none; A and D/, PTE_NONE],
  ['x86_64.pte', '0x40', {}, /^Linux: none; A and D/, PTE_NONE],
  ['x86_64.pml4e', '0x20', {}, /^Linux: none; A and D/, PTE_NONE],
  ['x86_64.pml5e', '0x20', {}, /^Linux: .*clearing P/, PTE_NONE],
  ['x86_64.pte', '0x260', {}, /^Linux: .*clearing P/, PTE_NONE],
  ['x86_64.pde', '0x20_20e7', {}, RESERVED, SDM_PDE],
  ['x86_64.pde-2m', '0x20_20e7', {}, RESERVED, SDM_PDE],
  ['mtrr-physmask', '0xff_c000_0800', {}, /^a range of 0x40000000 bytes \(MAXPHYADDR 40, taken/, SDM_MTRR],
  ['mtrr-physmask', '0xff_c000_0800', { maxPhysAddr: 46 }, /holes.*\(MAXPHYADDR 46\)/, SDM_MTRR],
  ['mtrr-physmask', '0xfd_c000_0800', {}, /the mask has holes/, SDM_MTRR],
  ['mtrr-physmask', '0x800', {}, /every physical address/, SDM_MTRR],
  ['esr_el1', '0x9200_0144', {}, /: cache maintenance or address translation instruction, Trans.*0$/, ESR],
  ['esr_el1', '0x9200_0144', {}, /WnR is always 1 .* Linux takes the access for a read/, ESR],
  ['esr_el1', '0x9200_0104', {}, /no processor reports this/, ESR],
  ['esr_el1', '0x9200_0044', {}, /: write, Translation fault, level 0$/, ESR],
  ['tcr_el1', '0', {}, /^T0SZ = 0 is out of range \(12 to 48\)/, TCR],
  ['tcr_el1', '0x0019_4031', {}, /^T0SZ = 49 is out of range \(12 to 47\)/, TCR],
  ['tcr_el1', '0x0019_000c', {}, /^T0SZ = 12 is out of range with this granule while DS = 0/, TCR],
  ['tcr_el1', '0x0019_400c', {}, /^T0SZ = 12 needs 52-bit virtual addresses/, TCR],
  ['tcr_el1', '0x0028_0019', {}, /^T1SZ = 40 needs small translation tables/, TCR],
  ['arm64.descriptor', '0x4000_0f11', { level: 1 }, /^maps 1 GiB at 0x40000000$/, BLOCKS],
  ['arm64.descriptor', '0x4400_0f01', { granule: '16k', level: 2 }, /^maps 32 MiB at 0x44000000$/, BLOCKS],
];

const GRANULES = ['4k', '16k', '64k'] as const;
/** The levels of each granule, without and with 52-bit addresses. */
const LEVELS = { '4k': [0, 3], '16k': [0, 3], '64k': [1, 3] } as const;
const DESCRIPTORS = GRANULES.flatMap((granule) =>
  [false, true].flatMap((lpa) => {
    const first = granule === '4k' && lpa ? -1 : LEVELS[granule][0];
    return Array.from({ length: 4 - first }, (_, index) => ({ granule, lpa, level: first + index }));
  }),
);

describe('arm64 descriptors', () => {
  it.each(DESCRIPTORS)(
    '$granule, level $level, 52-bit addresses $lpa: every bit once, whatever the form',
    (options) => {
      for (const low of [0n, 1n, 3n, 0x0060_0000_4400_0f41n, 0xffff_ffff_ffff_fffdn, (1n << 64n) - 1n]) {
        const { fields } = decodeWord('arm64.descriptor', low, options);
        let next = 63;
        for (const { high, low: lowest } of fields) {
          expect(high).toBe(next);
          next = lowest - 1;
        }
        expect(next).toBe(-1);
      }
    },
  );

  // Arm ARM, "VMSAv8-64 Block descriptor and Page descriptor formats": which address bits are where.
  it.each([
    ['4k', 3, false, 0x0000_8765_4321_0703n, 'maps 4 KiB at 0x876543210000'],
    ['4k', 3, true, 0x0003_8765_4321_0703n, 'maps 4 KiB at 0xf876543210000'],
    ['4k', 2, false, 0x0000_8765_4320_0701n, 'maps 2 MiB at 0x876543200000'],
    ['4k', 1, false, 0x0000_8765_4000_0701n, 'maps 1 GiB at 0x876540000000'],
    ['4k', 0, true, 0x0002_8780_0000_0501n, 'maps 512 GiB at 0x6878000000000'],
    ['16k', 3, false, 0x0000_8765_4321_4703n, 'maps 16 KiB at 0x876543214000'],
    ['16k', 1, true, 0x0000_8770_0000_0701n, 'maps 64 GiB at 0xc877000000000'],
    ['64k', 3, false, 0x0000_8765_4321_0703n, 'maps 64 KiB at 0x876543210000'],
    ['64k', 3, true, 0x0000_8765_4321_a703n, 'maps 64 KiB at 0xa876543210000'],
    ['64k', 2, false, 0x0000_8765_4000_0701n, 'maps 512 MiB at 0x876540000000'],
    ['64k', 1, true, 0x0000_8400_0000_f701n, 'maps 4 TiB at 0xf840000000000'],
    ['4k', 2, true, 0x0001_8765_4321_0103n, 'next table at 0x5876543210000'],
    ['64k', 2, true, 0x0000_8765_4321_3003n, 'next table at 0x3876543210000'],
  ] as const)('%s level %s, 52-bit addresses %s: %s %s', (granule, level, lpa, value, says) => {
    expect(decodeWord('arm64.descriptor', value, { granule, level, lpa }).remarks).toContain(says);
  });

  it.each([
    ['4k', 0, false],
    ['4k', 3, false],
    ['16k', 1, false],
    ['16k', 0, true],
    ['64k', 1, false],
  ] as const)('%s level %s, 52-bit addresses %s has no blocks', (granule, level, lpa) => {
    const { remarks } = decodeWord('arm64.descriptor', 0x4000_0701n, { granule, level, lpa });
    expect(remarks.join()).toMatch(/reserved at level/);
  });
});

const fieldWords = (kind: string, value: bigint, name: string): string | null | undefined =>
  decodeWord(kind, value).fields.find((field) => field.name === name)?.decoded;

describe('arm64 register fields in words', () => {
  it.each([
    ['mair_el1', 0x00n, 'Attr0', 'Device-nGnRnE'],
    ['mair_el1', 0x0cn, 'Attr0', 'Device-GRE'],
    ['mair_el1', 0x44n, 'Attr0', 'Normal Non-cacheable'],
    ['mair_el1', 0xf0n, 'Attr0', 'Tagged Normal, Write-Back Read-Allocate Write-Allocate'],
    ['mair_el1', 0xffn, 'Attr0', 'Normal Write-Back Read-Allocate Write-Allocate'],
    [
      'mair_el1',
      0x4fn,
      'Attr0',
      'Normal, Inner Write-Back Read-Allocate Write-Allocate, Outer Non-cacheable',
    ],
    ['sctlr_el1', 3n << 40n, 'TCF', expect.stringMatching(/reads.*writes/)],
    ['sctlr_el1', 1n << 38n, 'TCF0', 'synchronous exception'],
    ['pir_el1', 0x6n, 'Perm0', expect.stringMatching(/WXN/)],
    ['pire0_el1', 0xen << 60n, 'Perm15', expect.stringMatching(/^read, write and execute/)],
    ['por_el0', 0x5n, 'Perm0', 'read, write where the base permission grants it'],
    ['por_el1', 0x8n, 'Perm0', 'reserved: no access'],
    ['par_el1', 0x81fn, 'FST', 'Permission fault, level 3'],
    ['par_el1', 0xaa00_0001_9332_cb80n, 'SH', 'inner shareable'],
    ['gcr_el1', 0x8001n, 'Exclude', 'excluded: 0, 15'],
    ['gmid_el1', 6n, 'BS', '256 bytes'],
    ['dczid_el0', 4n, 'BS', '64 bytes'],
  ] as const)('%s %s: %s is %s', (kind, value, name, words) => {
    expect(fieldWords(kind, value, name)).toEqual(words);
  });

  it.each([
    ['gcr_el1', 0xffffn, /every tag is excluded/],
    ['rgsr_el1', 0x5n, /the generator stays at 0/],
    ['ttbr0_el1', 0x66_0000_a3d5_6f80n, /first table at 0xa3d56f80/],
    ['ttbr0_el1', 0x66_0000_a3d5_6f80n, /not a multiple of 4 KiB/],
    ['ttbr0_el1', 0x1_0000_4100_003dn, /^first table at 0x41000000$/],
    ['ttbr0_el1', 0x1_0000_4100_003dn, /^bits 5:1 are RES0 .* not zero: 0x3c; with 52-bit/],
    [
      'arm64.tlbi-va',
      0xc000_0000_0003n,
      /^bits 15:12 of the address are RES0 with a 64 KiB .*: 0x3000 is ignored$/,
    ],
    ['arm64.tlbi-va', 0x8000_0000_0004n, /^bits 13:12 of the address .* not looked at$/],
    ['arm64.mte-insn', 0xd50b_7a63n, /^cache maintenance: writes back the Allocation Tags of the cache line/],
    ['arm64.mte-insn', 0xd508_7663n, /^needs FEAT_MTE2/],
    ['arm64.mte-insn', 0x9adf_103fn, /^copies a pointer and gives it a random tag/],
    ['sctlr_el1', 1n << 40n, /ATA = 0: accesses at EL1 are not tag checked/],
    ['arm64.tlbi-va', 0xe9_0000_0000_0001n, /bits 63:56 of the address/],
    ['arm64.tlbi-range', 0x0000_5000_0000_0400n, /^0x400000 to 0x43ffff$/],
    ['arm64.tlbi-range', 0n, /TG is the reserved value/],
    ['far_el1', 0xb600_ffff_aeaf_4a70n, /without the top byte: 0xffffaeaf4a70/],
  ] as const)('%s of %s says %s', (kind, value, says) => {
    expect(decodeWord(kind, value).remarks).toContainEqual(expect.stringMatching(says));
  });

  it.each([
    [0x9adf_103fn, 'irg sp, x1'],
    [0xd920_3c22n, 'stg x2, [x1, #48]!'],
    [0xd97f_b023n, 'ldg x3, [x1, #-80]'],
  ] as const)('the word %s is %s', (word, text) => {
    expect(decodeWord('arm64.mte-insn', word).title).toBe(text);
  });

  it('a word that is no tag instruction is said to be none, and one of 33 bits is refused', () => {
    expect(decodeWord('arm64.mte-insn', 0xd503_201fn).fields[0]?.meaning).toMatch(/not an instruction of/);
    expect(() => decodeWord('arm64.mte-insn', 1n << 32n)).toThrow(/does not fit/);
  });
});

describe('remarks of decode', () => {
  it.each(SAYS)('%s of %s with %j says %s (%s)', (kind, value, options, says) => {
    const { remarks } = decodeWord(kind, BigInt(value.replaceAll('_', '')), options);
    expect(remarks).toContainEqual(expect.stringMatching(says));
    const refused = remarks.some((remark) => /a #PF with RSVD/.test(remark));
    expect(remarks.some((remark) => /^this entry allows/.test(remark)) && refused).toBe(false);
  });

  it.each([
    ['T0SZ of a region without walks', 0x0019_0080n],
    ['T0SZ 12 with DS = 1', 0x0800_0000_0019_000cn],
    ['T0SZ 25', 0x0019_0019n],
  ])('tcr_el1: nothing wrong with %s', (_, value) => {
    const { remarks } = decodeWord('tcr_el1', value);
    expect(remarks.filter((remark) => /out of range|needs/.test(remark))).toEqual([]);
  });
});
