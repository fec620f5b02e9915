/** The page tables of a running Linux 6.1, against what QEMU's monitor said of them at the same stop. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { type ElfCore, openElfCore } from '../../../src/conformance/core/elf-core.ts';
import { checkTruth } from '../../../src/conformance/maps/check.ts';
import { openPageTableDump } from '../../../src/conformance/maps/page-table-dump.ts';
import { X86Dump } from '../../../src/conformance/maps/x86_64-dump.ts';
import { addressText } from '../../../src/report/maps-columns.ts';
import { dumpHeadText, listText, mapsJson, mapsText, truthCheckText } from '../../../src/report/maps-text.ts';
import { x86Columns } from '../../../src/report/x86_64-maps-columns.ts';

const path = (name: string): string =>
  new URL(`../../real/x86_64-4level-linux6.1.${name}`, import.meta.url).pathname;
const REGS = path('regs.json');

let core: ElfCore;
beforeAll(async () => {
  core = await openElfCore(path('core.gz'));
});
const rootOf = (root?: string): X86Dump =>
  new X86Dump(core, { regs: REGS, ...(root === undefined ? {} : { root }) });

describe('every row agrees', () => {
  it.each([
    { truth: 'truth', root: undefined, rows: 76_372, points: 0 },
    { truth: 'truth', root: 'zoo', rows: 76_372, points: 0 },
    { truth: 'truth-zoo-points', root: 'zoo', rows: 4_745, points: 4_745 },
    { truth: 'truth-target', root: 'target', rows: 227, points: 0 },
    { truth: 'truth-reader', root: 'reader', rows: 268, points: 0 },
    { truth: 'truth-program', root: 'program', rows: 395, points: 0 },
  ])('of $truth under root $root', async ({ truth, root, rows, points }) => {
    const check = await checkTruth(rootOf(root), path(`${truth}.jsonl.gz`));
    expect(check.differences).toEqual([]);
    expect(check).toMatchObject({
      rows,
      agreed: rows,
      differing: 0,
      unlisted: 0,
      pointRows: points,
      missing: [],
    });
  });

  it('under the registers of the note QEMU as well, without REGS.json', async () => {
    const check = await checkTruth(await openPageTableDump(path('core.gz')), path('truth.jsonl.gz'));
    expect(check).toMatchObject({ agreed: 76_372, differing: 0, unlisted: 0 });
  });

  it('and not under the root of another process', async () => {
    const check = await checkTruth(rootOf('target'), path('truth-reader.jsonl.gz'));
    expect(check.differing).toBeGreaterThan(50);
    expect(check.unlisted).toBeGreaterThan(10);
    const text = truthCheckText({ ...check, file: 'reader' });
    expect(text).toContain(
      'reader:148: 0x4c7000: expected 0x9405000, 4096 bytes, X--DA--UW, found 0x71f5000,',
    );
    expect(text).toContain(
      'reader: no row for 0x7fd8c396d000, which the table maps to 0x71f4000, 4096 bytes',
    );
    expect(text.trimEnd().split('\n').at(-1)).toBe(
      'reader: 151 rows agree, 117 differ, 43 mappings without a row',
    );
  });
});

describe('the list of mappings', () => {
  it('has the ranges of `info mem`: equal user and write rights combined over the levels', () => {
    // QEMU merges by u, r and w only; so does this, from ranges that are finer.
    const merged: { start: number; end: number; rights: string }[] = [];
    for (const range of rootOf().list().ranges) {
      const rights = `${range.rights.user ? 'u' : '-'}r${range.rights.writable ? 'w' : '-'}`;
      const last = merged.at(-1);
      if (last !== undefined && last.end === range.startPage && last.rights === rights)
        last.end = range.endPage;
      else merged.push({ start: range.startPage, end: range.endPage, rights });
    }
    const digits = (page: number): string => addressText(page).slice(2).padStart(16, '0');
    const lines = merged.map(
      ({ start, end, rights }) =>
        `${digits(start)}-${digits(end)} ${((end - start) * 4096).toString(16).padStart(16, '0')} ${rights}`,
    );
    const truth = gunzipSync(readFileSync(path('infomem.txt.gz')))
      .toString()
      .trim()
      .split(/\r?\n/);
    expect(lines.length).toBe(truth.length);
    expect(lines).toEqual(truth.map((line) => line.trim()));
  });

  it('reads as a table, with the 65,536 espfix pages in one line', async () => {
    const dump = rootOf();
    const head = dumpHeadText(dump).replaceAll(path(''), '');
    const text = mapsText(dump);
    await expect(head + text).toMatchFileSnapshot('../../golden/maps-zoo.txt');
  });

  it('lists every espfix page when all are asked for', () => {
    const dump = rootOf();
    const lines = mapsText(dump, { all: true })
      .split('\n')
      .filter((line) => line.includes('0x1057000'));
    expect(lines.length).toBe(65_536);
    expect(dump.list().ranges.length).toBe(65_735);
  });

  it('shows protection keys, device memory and PAT indices where the types are not known', () => {
    const { ranges } = rootOf().list();
    // Key 1 is the kernel's own for execute-only memory; zoo asked for the other two.
    const keys = new Set(
      ranges.filter(({ rights }) => rights.user).map(({ rights }) => rights.protectionKey),
    );
    expect([...keys].sort((a, b) => a - b)).toEqual([0, 1, 2, 14]);
    expect(listText({ ranges: ranges.slice(0, 1), missing: [], leaves: 1 }, x86Columns(null))).toContain(
      'PAT0',
    );
    const device = ranges.find(({ firstFrame }) => firstFrame === 0xb0000);
    expect(device).toMatchObject({
      rights: { patIndex: 2, executable: false, user: false },
      pageCounts: [0, 128, 0],
    });
  });
});

describe('the list of mappings as JSON', () => {
  it('is one object of hexadecimal addresses and byte counts as JSON', () => {
    const dump = rootOf('program');
    const { ranges } = mapsJson(dump) as { ranges: object[] };
    expect(ranges[0]).toEqual({
      start: '0x400000',
      end: '0x401000',
      size: 4096,
      user: true,
      writable: false,
      executable: false,
      global: false,
      reserved: false,
      protectionKey: 0,
      patIndex: 0,
      memoryType: 'WB',
      pages: { '4K': 1, '2M': 0, '1G': 0 },
      accessed: 1,
      dirty: 0,
      physical: '0xf673000',
      physicalRuns: 1,
    });
  });
});

describe('a walk through the dump', () => {
  it.each([
    {
      what: 'user text, fetched by the user',
      va: 0x401000n,
      access: Access.User | Access.Fetch,
      pa: 0x850_a000n,
    },
    { what: 'a 2 MiB page', va: 0x6000_0012_3456n, access: Access.User | Access.Write, pa: 0x612_3456n },
    { what: 'kernel text', va: 0xffff_ffff_8960_0000n, access: Access.Fetch, pa: 0x620_0000n },
  ])('of $what gives its address', ({ va, access, pa }) => {
    const { outcome } = rootOf().explain(va, access);
    expect(outcome).toMatchObject({ kind: 'translation', physicalAddress: pa });
  });

  it.each([
    { what: 'a write of user text', va: 0x401000n, access: Access.User | Access.Write, errorCode: 0x7n },
    { what: 'a user read of the kernel', va: 0xffff_ffff_8960_0000n, access: Access.User, errorCode: 0x5n },
    { what: 'a PROT_NONE 2 MiB page', va: 0x6000_0060_0000n, access: Access.User, errorCode: 0x4n },
    {
      what: 'a supervisor read of a user page under SMAP',
      va: 0x401000n,
      access: Access.Read,
      errorCode: 0x1n,
    },
  ])('of $what faults', ({ va, access, errorCode }) => {
    const { outcome } = rootOf().explain(va, access);
    expect(outcome).toMatchObject({
      name: '#PF',
      syndrome: { value: errorCode },
      address: { name: 'CR2', value: va },
    });
  });

  it('obeys the protection keys that the process had set (PKRU 0x40000024)', () => {
    const keyed = rootOf()
      .list()
      .ranges.find(({ rights }) => rights.user && rights.protectionKey === 1);
    const va = BigInt(keyed?.startPage ?? 0) << 12n;
    const read = rootOf().explain(va, Access.User);
    expect(read.outcome).toMatchObject({ name: '#PF', syndrome: { value: 0x25n } });
  });
});
