/** Truth files against dumps made by hand: what agrees, what differs, what is refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../../src/base/input-error.ts';
import { bytesInMemory } from '../../../src/conformance/core/byte-source.ts';
import { readElfCore } from '../../../src/conformance/core/elf-core.ts';
import { checkTruth, FIRST_DIFFERENCES, type TruthCheck } from '../../../src/conformance/maps/check.ts';
import { type PageTableDump, pageTableDump } from '../../../src/conformance/maps/page-table-dump.ts';
import { truthCheckText } from '../../../src/report/maps-text.ts';
import { type CorePage, makeCore, qemuState } from '../core/make-core.ts';

const LA57 = 1n << 12n;
const XD = 1n << 63n;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tablewalk-check-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const page = (frame: number, entries: Readonly<Record<number, bigint>>): CorePage => ({
  physicalAddress: frame * 4096,
  entries,
});
const dumpOf = (pages: readonly CorePage[], cr3 = 0x1000n, cr4 = 0x20n): PageTableDump =>
  pageTableDump(readElfCore(bytesInMemory('a.core', makeCore({ pages, notes: [qemuState({ cr3, cr4 })] }))));

function check(dump: PageTableDump, ...rows: readonly (object | string)[]): Promise<TruthCheck> {
  const file = join(folder, 'truth.jsonl');
  writeFileSync(file, rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
  return checkTruth(dump, file);
}

/** Four levels: two user pages at 0x1000, a 2 MiB page at 0x200000, a 1 GiB page at the start of the upper half. */
const FOUR_LEVELS: readonly CorePage[] = [
  page(1, { 0: 0x2067n, 256: 0x5063n }),
  page(2, { 0: 0x3067n }),
  page(3, { 0: 0x4067n, 1: 0x60_00e7n | XD }),
  page(4, { 1: 0x9067n, 2: 0xa025n }),
  page(5, { 0: 0x4000_01e3n }),
];
const ROWS = [
  { va: '0x1000', pa: '0x9000', size: 4096, flags: '---DA--UW' },
  { va: '0x2000', pa: '0xa000', size: 4096, flags: '----A--U-' },
  { va: '0x200000', pa: '0x600000', size: 2 ** 21, flags: 'X-PDA--UW' },
  { va: '0xffff800000000000', pa: '0x40000000', size: 2 ** 30, flags: '-GPDA---W' },
];

describe('a 4-level dump', () => {
  it('agrees with all its rows, and with single addresses mapped and unmapped', async () => {
    const points = [
      { va: '0x1fff', pa: '0x9fff' },
      { va: '0x212345', pa: '0x612345' },
      { va: '0x3000', pa: null },
      { va: '0x800000000000', pa: null },
      { va: '0xffff80003fffffff', pa: '0x7fffffff' },
    ];
    expect(await check(dumpOf(FOUR_LEVELS), ...ROWS, ...points)).toMatchObject({
      rows: 9,
      mappingRows: 4,
      pointRows: 5,
      agreed: 9,
      differing: 0,
      unlisted: 0,
      differences: [],
    });
  });

  it.each([
    { what: 'another frame', row: 0, to: { pa: '0x8000' }, found: '0x9000, 4096 bytes, ---DA--UW' },
    { what: 'another size', row: 2, to: { size: 4096 }, found: '0x600000, 2097152 bytes, X-PDA--UW' },
    { what: 'a flag less', row: 1, to: { flags: '-------U-' }, found: '0xa000, 4096 bytes, ----A--U-' },
    { what: 'no execute', row: 2, to: { flags: '--PDA--UW' }, found: '0x600000, 2097152 bytes, X-PDA--UW' },
    { what: 'a page that is not mapped', row: 0, to: { va: '0x7000' }, found: 'not mapped' },
    { what: 'the middle of a large page', row: 2, to: { va: '0x201000' }, found: 'not mapped' },
  ])('differs from a row with $what', async ({ row, to, found }) => {
    const rows = ROWS.map((one, at) => (at === row ? { ...one, ...to } : one));
    const result = await check(dumpOf(FOUR_LEVELS), ...rows);
    expect(result).toMatchObject({ agreed: 3, differing: 1 });
    const difference = result.differences.find(({ line }) => line !== 0);
    expect(difference).toMatchObject({ line: row + 1, found });
  });

  it.each([
    { va: '0x1fff', pa: null, found: '0x9fff' },
    { va: '0x1fff', pa: '0x9ffe', found: '0x9fff' },
    { va: '0x3000', pa: '0x0', found: 'no translation (not present, level 1 entry 0x0)' },
    { va: '0x800000000000', pa: '0x0', found: 'no translation (not canonical)' },
  ])('differs from the address $va at $pa', async ({ va, pa, found }) => {
    const result = await check(dumpOf(FOUR_LEVELS), { va, pa });
    expect(result.differences).toMatchObject([{ line: 1, virtualAddress: va, found }]);
  });

  it('counts mappings without a row in the halves that the file speaks of', async () => {
    expect(await check(dumpOf(FOUR_LEVELS), ...ROWS.slice(1))).toMatchObject({ agreed: 3, unlisted: 1 });
    expect(await check(dumpOf(FOUR_LEVELS), ...ROWS.slice(0, 3))).toMatchObject({ agreed: 3, unlisted: 0 });
    expect(await check(dumpOf(FOUR_LEVELS), { va: '0x1000', pa: '0x9000' })).toMatchObject({ unlisted: 0 });
  });

  it('keeps the first differences and counts the rest', async () => {
    const rows = Array.from({ length: 50 }, (_, at) => ({ va: `0x${(at + 64).toString(16)}000`, pa: '0x0' }));
    const result = await check(dumpOf(FOUR_LEVELS), ...rows);
    expect(result.differences.length).toBe(FIRST_DIFFERENCES);
    expect(truthCheckText(result)).toContain('and 30 more\n');
  });
});

describe('other dumps', () => {
  it('with five levels: user addresses up to bit 55, the upper half from bit 56', async () => {
    const five = [page(6, { 0: 0x1067n, 255: 0x1067n, 256: 0x1063n }), ...FOUR_LEVELS];
    // The 4-level tree hangs in the 5-level one three times; bit 47 is an index bit like any other.
    const at = (base: bigint): object[] =>
      ROWS.map((row) => ({ ...row, va: `0x${(BigInt.asUintN(48, BigInt(row.va)) + base).toString(16)}` }));
    const rows = [...at(0n), ...at(255n << 48n), ...at(0xff00_0000_0000_0000n)];
    const dump = dumpOf(five, 0x6000n, 0x20n | LA57);
    expect(await check(dump, ...rows, { va: '0x800000003000', pa: '0x40003000' })).toMatchObject({
      agreed: 13,
      differing: 0,
      unlisted: 0,
    });
    expect((await check(dumpOf(five, 0x6000n), ...rows)).agreed).toBe(0);
  });

  it('with page-table isolation: the user root has no kernel half, the kernel root no executable user half', async () => {
    const isolated = [
      page(0x10, { 0: 0x2067n | XD, 256: 0x5063n }),
      page(0x11, { 0: 0x2067n }),
      ...FOUR_LEVELS.slice(1),
    ];
    const file = join(folder, 'regs.json');
    const roots = { zoo: '0x11805' };
    const registers = {
      arch: 'x86_64',
      cr0: '0x80050033',
      cr3: '0x11805',
      cr4: '0x20020',
      efer: '0xd01',
      roots,
      pti: true,
    };
    writeFileSync(file, JSON.stringify(registers));
    const core = readElfCore(bytesInMemory('pti.core', makeCore({ pages: isolated })));
    const user = pageTableDump(core, { regs: file, root: 'zoo' });
    const kernel = pageTableDump(core, { regs: file, root: 'zoo.kernel' });
    // The rows are those of the last entries, so both halves of the pair agree with the same user rows.
    expect(await check(user, ...ROWS.slice(0, 3))).toMatchObject({ agreed: 3, unlisted: 0 });
    expect(await check(user, ...ROWS)).toMatchObject({ agreed: 3, differing: 1 });
    expect(await check(kernel, ...ROWS)).toMatchObject({ agreed: 4, unlisted: 0 });
  });
});

describe('a dump that has less or worse', () => {
  it('without one of the tables: what lies behind it is unknown, not absent', async () => {
    const dump = dumpOf(FOUR_LEVELS.filter(({ physicalAddress }) => physicalAddress !== 0x4000));
    const result = await check(dump, ...ROWS, { va: '0x1000', pa: '0x9000' });
    expect(result).toMatchObject({
      agreed: 2,
      differing: 3,
      missing: [{ page: 0, pages: 512, frame: 4, level: 2 }],
    });
    expect(result.differences.map(({ found }) => found)).toEqual([
      'unknown: the dump does not hold the table at 0x4000',
      'unknown: the dump does not hold the table at 0x4000',
      'no translation (bus error, level 1 entry 0x0)',
    ]);
    expect(truthCheckText(result)).toContain(
      'the PDE at 0x3000 names a table at 0x4000 that the dump does not hold',
    );
  });

  it('with a reserved bit: the entry is listed, and the MMU says why it does not translate', async () => {
    const pages = [
      ...FOUR_LEVELS.slice(0, 3),
      page(4, { 1: 0x9067n | (1n << 51n), 2: 0xa025n }),
      page(5, { 0: 0x4000_21e3n }),
    ];
    const rows = [...ROWS.slice(0, 3), { ...ROWS[3], pa: '0x40000000' }];
    const result = await check(dumpOf(pages), ...rows);
    expect(result.differences.map(({ line, found }) => `${line} ${found}`)).toEqual([
      '1 0x8000000009000, 4096 bytes, ---DA--UW',
      '4 the MMU: no translation (reserved bit, level 3 entry 0x400021e3)',
    ]);
  });
});

describe('a malformed truth file is refused', () => {
  it.each<[string, object | string, string]>([
    ['not JSON', '{', 'the line is not a JSON object'],
    [
      'no va',
      { pa: '0x0' },
      'field va: expected a hexadecimal string "0x…" of at most 64 bits, found nothing',
    ],
    [
      'pa no string',
      { va: '0x0', pa: 5 },
      'field pa: expected a hexadecimal string "0x…" of at most 64 bits, found 5',
    ],
    [
      'unknown size',
      { ...ROWS[0], size: 8192 },
      'field size: expected 4096, 2097152 or 1073741824, found 8192',
    ],
    [
      'not the start of a page',
      { ...ROWS[0], va: '0x1001' },
      'field va: expected an address of a page (bits 11:0 clear), found "0x1001"',
    ],
    [
      'flags of another kind',
      { ...ROWS[0], flags: 'UW' },
      'field flags: expected nine places "XGPDACTUW", "-" where clear, found "UW"',
    ],
    ['a page twice', { ...ROWS[1], pa: '0x0' }, 'two rows for 0x2000; the first is line 2'],
  ])('%s', async (_, row, want) => {
    const error: unknown = await check(dumpOf(FOUR_LEVELS), ...ROWS, row).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect(error).toMatchObject({ line: 5 });
    expect((error as InputError).message).toContain(want);
  });
});
