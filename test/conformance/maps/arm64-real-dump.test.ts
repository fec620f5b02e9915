/**
 * The page tables of a running Linux 6.12 on arm64 (4 KiB granule, MTE, contiguous hints), against what QEMU's monitor
 * said of them at the same stop, and against what the kernel itself said just before.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ElfCore, openElfCore } from '../../../src/conformance/core/elf-core.ts';
import { Arm64Dump } from '../../../src/conformance/maps/arm64-dump.ts';
import type { Arm64Rights } from '../../../src/conformance/maps/arm64-ranges.ts';
import { checkTruth } from '../../../src/conformance/maps/check.ts';
import type { MappedRange } from '../../../src/conformance/maps/ranges.ts';
import { addressText } from '../../../src/report/maps-columns.ts';
import { dumpHeadText, mapsJson, mapsText, truthCheckText } from '../../../src/report/maps-text.ts';

const path = (name: string): string =>
  new URL(`../../real/arm64-4k-mte-linux6.12.${name}`, import.meta.url).pathname;
const REGS = path('regs.json');

let core: ElfCore;
beforeAll(async () => {
  core = await openElfCore(path('core.gz'));
});
const rootOf = (root?: string): Arm64Dump =>
  new Arm64Dump(core, { regs: REGS, ...(root === undefined ? {} : { root }) });

describe('every row agrees', () => {
  it.each([
    { truth: 'truth', root: undefined, rows: 11_904 },
    { truth: 'truth', root: 'zoo', rows: 11_904 },
    { truth: 'truth-target', root: 'target', rows: 1_190 },
    { truth: 'truth-reader', root: 'reader', rows: 1_262 },
    { truth: 'truth-program', root: 'program', rows: 1_529 },
  ])('of $truth under root $root', async ({ truth, root, rows }) => {
    const check = await checkTruth(rootOf(root), path(`${truth}.jsonl.gz`));
    expect(check.differences).toEqual([]);
    expect(check).toMatchObject({ rows, agreed: rows, differing: 0, pointRows: rows, missing: [] });
  });

  it('and not under the root of another process', async () => {
    const check = await checkTruth(rootOf('target'), path('truth-reader.jsonl.gz'));
    expect(check.differing).toBeGreaterThan(50);
    expect(truthCheckText({ ...check, file: 'reader' })).toMatch(/reader: \d+ rows agree, \d+ differ\n$/);
  });
});

interface Process {
  readonly maps: readonly string[];
  readonly pagemap: readonly (readonly [start: string, frame: string, pages: number])[];
}
const processes = (): Readonly<Record<string, Process>> =>
  JSON.parse(gunzipSync(readFileSync(path('procs.json.gz'))).toString()) as Record<string, Process>;

const PROCESSES = ['zoo', 'target', 'reader', 'program'];
const UPPER_HALF = 2 ** 51;
const userRanges = (dump: Arm64Dump): MappedRange<Arm64Rights>[] =>
  dump.list().ranges.filter(({ startPage }) => startPage < UPPER_HALF);

describe.each(PROCESSES)('the user half of %s', (name) => {
  const process = processes()[name];
  if (process === undefined) throw new Error(`no process ${name}`);

  it('has the frames of /proc/PID/pagemap, but for PROT_NONE pages', () => {
    const frames = new Map<number, number>();
    rootOf(name).visit({
      leaf: ({ page, frame, pages }) => {
        if (page < UPPER_HALF) for (let at = 0; at < pages; at++) frames.set(page + at, frame + at);
      },
      missing: () => expect.unreachable(),
    });
    const none = process.maps
      .filter((line) => line.includes(' ---p '))
      .map((line) =>
        line
          .split(/[- ]/)
          .slice(0, 2)
          .map((text) => Number.parseInt(text, 16) / 4096),
      );
    const isNone = (page: number): boolean =>
      none.some(([start = 0, end = 0]) => page >= start && page < end);
    let [seen, noneSeen] = [0, 0];
    for (const [start, frame, pages] of process.pagemap) {
      for (let at = 0; at < pages; at++) {
        const page = Number(start) / 4096 + at;
        if (isNone(page)) {
          expect(frames.has(page)).toBe(false);
          noneSeen++;
        } else if (frames.get(page) === Number(frame) + at) seen++;
        else
          expect(`${addressText(page)} ${frames.get(page)}`).toBe(
            `${addressText(page)} ${Number(frame) + at}`,
          );
      }
    }
    expect(noneSeen).toBe(name === 'zoo' ? 518 : 0);
    // The kernel hides the frames of device and special mappings (vvar, vdso, /dev/mem) from pagemap, or shows them.
    expect(frames.size).toBeGreaterThanOrEqual(seen);
  });

  it('lies within the lines of /proc/PID/maps, with no right that they do not give', () => {
    const lines = process.maps.map((line) => {
      const [, start = '', end = '', rights = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
      return { start: Number.parseInt(start, 16) / 4096, end: Number.parseInt(end, 16) / 4096, rights };
    });
    for (const { startPage, endPage, rights } of userRanges(rootOf(name))) {
      for (let page = startPage; page < endPage; page++) {
        const line = lines.find(({ start, end }) => page >= start && page < end);
        expect(line, addressText(page)).toBeDefined();
        const { read, write, execute } = rights.el0;
        // Without EPAN the kernel gives execute-only memory read as well (Linux arch/arm64/mm/mmap.c, protection_map).
        expect(read, `read of ${addressText(page)}`).toBe(/r|x/.test(line?.rights ?? ''));
        expect(execute, `fetch from ${addressText(page)}`).toBe(line?.rights[2] === 'x');
        if (write) expect(line?.rights[1], `write of ${addressText(page)}`).toBe('w');
      }
    }
  });
});

describe('the list of mappings', () => {
  it('reads as a table', async () => {
    const dump = rootOf('program');
    const head = dumpHeadText(dump).replaceAll(path(''), '');
    await expect(head + mapsText(dump)).toMatchFileSnapshot('../../golden/maps-arm64-program.txt');
  });

  it('knows PROT_MTE, PROT_BTI, device memory, contiguous runs and blocks', () => {
    const ranges = userRanges(rootOf('zoo'));
    const tagged = ranges.filter(({ rights }) => rights.attribute === 0xf0);
    expect(tagged.length).toBeGreaterThan(0);
    const guarded = ranges.filter(({ rights }) => rights.guarded);
    expect(guarded.every(({ rights }) => rights.el0.execute)).toBe(true);
    expect(guarded.length).toBeGreaterThan(0);
    // hugetlb of 64K and 32M: sizes 4 and 5 are pages and level 2 blocks in contiguous runs.
    const counts = (size: number): number =>
      ranges.reduce((sum, range) => sum + (range.pageCounts[size] ?? 0), 0);
    expect(counts(4)).toBeGreaterThan(0);
    expect(counts(4) % 16).toBe(0);
    expect(counts(5)).toBe(16);
    expect(ranges.every(({ rights }) => rights.notGlobal)).toBe(true);
  });

  it('gives the kernel no page that is both writable and executable, and EL0 no page of the upper half', () => {
    const kernel = rootOf()
      .list()
      .ranges.filter(({ startPage }) => startPage >= UPPER_HALF);
    expect(kernel.length).toBeGreaterThan(10);
    for (const { rights } of kernel) {
      expect(rights.el1.write && rights.el1.execute).toBe(false);
      expect(rights.el0).toEqual({ read: false, write: false, execute: false });
    }
    expect(kernel.some(({ rights }) => rights.el1.execute)).toBe(true);
  });

  it('is one object of hexadecimal addresses and byte counts as JSON', () => {
    const { ranges } = mapsJson(rootOf('program')) as { ranges: object[] };
    expect(ranges[0]).toEqual({
      start: '0x400000',
      end: '0x430000',
      size: 0x30000,
      el1: { read: true, write: false, execute: false },
      el0: { read: true, write: false, execute: true },
      notGlobal: true,
      guarded: false,
      addressSize: false,
      attributeIndex: 0,
      attribute: '0xff',
      memoryType: 'Normal',
      pages: { '4K': 48 },
      accessed: 19,
      dirty: 0,
      physical: '0x4271d000',
      physicalRuns: 1,
    });
  });
});
