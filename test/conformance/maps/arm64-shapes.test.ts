/** Random AArch64 cores of every shape of table, against an oracle written plainly from the manual. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hex } from '../../../src/base/u64.ts';
import { bytesInMemory } from '../../../src/conformance/core/byte-source.ts';
import { readElfCore } from '../../../src/conformance/core/elf-core.ts';
import { Arm64Dump } from '../../../src/conformance/maps/arm64-dump.ts';
import type { Arm64Leaf } from '../../../src/conformance/maps/arm64-leaves.ts';
import type { ArmPermissions } from '../../../src/conformance/maps/arm64-ranges.ts';
import { checkTruth } from '../../../src/conformance/maps/check.ts';
import { makeCore } from '../core/make-core.ts';
import { answerOf } from './arm64-answers.ts';
import { type MadeTables, SctlrBit, type Shape, TcrBit } from './arm64-shape.ts';
import { makeTables } from './arm64-tables.ts';

const half = (granule: 12 | 14 | 16, addressBits: number): Shape['lower'] => ({ granule, addressBits });
const both = (granule: 12 | 14 | 16, addressBits: number): Pick<Shape, 'lower' | 'upper'> => ({
  lower: half(granule, addressBits),
  upper: half(granule, addressBits),
});

/** Granule, address bits and so start level; then what else changes how an entry is read. */
const SHAPES: readonly Shape[] = [
  { name: '4 KiB, 48 bits, 4 levels', ...both(12, 48), ha: true },
  { name: '4 KiB, 39 bits, 3 levels', ...both(12, 39), ha: true, hd: true },
  { name: '4 KiB, 42 bits, a small first table', ...both(12, 42) },
  { name: '4 KiB, 36 bits, start level 1', ...both(12, 36) },
  { name: '4 KiB, 25 bits, small translation tables', ...both(12, 25), ha: true },
  { name: '4 KiB, 52 bits, LPA2, start level -1', ...both(12, 52), ds: true, ips: 6, ha: true, hd: true },
  { name: '4 KiB, 48 bits, LPA2', ...both(12, 48), ds: true, ips: 6 },
  {
    name: '4 KiB, 51 bits below and 49 above, LPA2',
    lower: half(12, 51),
    upper: half(12, 49),
    ds: true,
    ips: 6,
  },
  { name: '16 KiB, 48 bits, 4 levels', ...both(14, 48), ha: true },
  { name: '16 KiB, 47 bits, 3 levels', ...both(14, 47), ha: true, hd: true },
  { name: '16 KiB, 36 bits, 2 levels', ...both(14, 36) },
  { name: '16 KiB, 52 bits, LPA2', ...both(14, 52), ds: true, ips: 6, ha: true },
  { name: '16 KiB, 47 bits, LPA2', ...both(14, 47), ds: true, ips: 6 },
  { name: '64 KiB, 52 bits, LPA', ...both(16, 52), ips: 6, ha: true, hd: true },
  { name: '64 KiB, 48 bits', ...both(16, 48), ha: true },
  { name: '64 KiB, 42 bits, 2 levels', ...both(16, 42) },
  { name: '4 KiB below and 64 KiB above', lower: half(12, 39), upper: half(16, 48), ha: true },
  { name: '16 KiB below and 4 KiB above', lower: half(14, 47), upper: half(12, 48) },
  { name: '64 KiB below and 16 KiB above', lower: half(16, 42), upper: half(14, 48) },
  { name: 'permission indirection, dirty state', ...both(12, 48), pie: true, ha: true, hd: true },
  { name: 'permission indirection, software dirty state', ...both(12, 39), pie: true, ha: true },
  { name: 'permission indirection, LPA2, 16 KiB', ...both(14, 52), pie: true, ds: true, ips: 6 },
  { name: 'WXN', ...both(12, 39), ha: true, hd: true, sctlr: SctlrBit.WXN },
  { name: 'EPAN', ...both(12, 39), ha: true, sctlr: SctlrBit.EPAN },
  { name: 'no hierarchical permissions below', ...both(12, 48), ha: true, tcr: TcrBit.HPD0 },
  { name: 'E0PD1', ...both(12, 39), ha: true, tcr: TcrBit.E0PD1 },
  { name: 'addresses of 40 bits', ...both(12, 48), ips: 2, ha: true },
  {
    name: 'tagged addresses, ASID in TTBR1',
    ...both(12, 48),
    ha: true,
    tcr: TcrBit.TBI0 | TcrBit.TBI1 | TcrBit.A1 | TcrBit.AS,
  },
];

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tablewalk-arm64-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const MAIR = 0x0044_bbff_f00c_0400n;

function dumpOf({ registers, pages }: MadeTables): Arm64Dump {
  const core = readElfCore(bytesInMemory('made.core', makeCore({ machine: 183, pages })));
  const regs = join(folder, 'regs.json');
  const words = Object.entries({ ...registers, mair: MAIR }).map(([name, value]) => [
    `${name}_el1`,
    hex(value),
  ]);
  writeFileSync(regs, JSON.stringify({ arch: 'arm64', ...Object.fromEntries(words) }));
  return new Arm64Dump(core, { regs });
}

const word = (page: number): bigint => BigInt(page) << 12n;
const letters = ({ read, write, execute }: ArmPermissions): string =>
  `${read ? 'r' : '-'}${write ? 'w' : '-'}${execute ? 'x' : '-'}`;

function leavesOf(dump: Arm64Dump): Arm64Leaf[] {
  const leaves: Arm64Leaf[] = [];
  dump.visit({ leaf: (leaf) => leaves.push({ ...leaf }), missing: (gap) => expect(gap).toBeNull() });
  return leaves;
}

/** Addresses to ask: both ends of every leaf, beside them, and anywhere. */
function addressesOf(tables: MadeTables, anywhere: readonly bigint[]): bigint[] {
  const near = tables.leaves.flatMap(({ va, bytes }) => [va, va + bytes - 1n, va - 1n, va + bytes]);
  const tops = tables.leaves.map(({ va }) => va ^ 0x5a00_0000_0000_0000n);
  return [...near, ...tops, ...anywhere].map((va) => BigInt.asUintN(64, va));
}

function rowOf(tables: MadeTables, va: bigint): object {
  const answer = answerOf(tables, va);
  const reachable = answer !== null && (answer.accessed || tables.shape.ha === true);
  const flags = {
    el1: reachable && answer.el1.startsWith('r'),
    el0: reachable && answer.el0.startsWith('r'),
    el1pan: reachable && answer.el1.startsWith('r') && answer.panRead,
  };
  return { va: hex(va), pa: flags.el1 || flags.el0 ? hex(answer?.pa ?? 0n) : null, flags };
}

const anywhere = fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 20 });
const runs = { numRuns: 6 };

describe.each(SHAPES)('$name', (shape) => {
  it('lists every page and block where the tables have it, and knows contiguous runs', () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const tables = makeTables(g, fc, shape);
        const found = leavesOf(dumpOf(tables)).map((leaf) => ({
          va: word(leaf.page),
          pa: word(leaf.frame),
          bytes: word(leaf.pages),
          level: leaf.level,
          contiguous: leaf.contiguous,
        }));
        expect(found).toEqual(tables.leaves);
      }),
      runs,
    );
  });

  it('lists with the permissions that the manual gives, and the memory type', () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const tables = makeTables(g, fc, shape);
        const dump = dumpOf(tables);
        const { ranges, leaves } = dump.list();
        expect(leaves).toBe(tables.leaves.length);
        let at = 0;
        for (const leaf of leavesOf(dump)) {
          while (leaf.page >= (ranges[at]?.endPage ?? Infinity)) at++;
          const rights = ranges[at]?.rights;
          const answer = answerOf(tables, word(leaf.page));
          expect(rights?.attributeIndex).toBe((leaf.entryLo >> 2) & 7);
          expect(rights?.addressSize).toBe(answer === null);
          if (rights === undefined || answer === null) continue;
          const listed = { el1: letters(rights.el1), el0: letters(rights.el0) };
          expect({ va: hex(word(leaf.page)), ...listed }).toEqual({
            va: hex(word(leaf.page)),
            el1: answer.el1,
            el0: answer.el0,
          });
        }
      }),
      runs,
    );
  });

  it('counts accessed and dirty entries', () => {
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const tables = makeTables(g, fc, shape);
        const answers = tables.leaves.map(({ va }) => answerOf(tables, va));
        fc.pre(!answers.includes(null));
        const { ranges } = dumpOf(tables).list();
        const sum = (of: 'accessed' | 'dirty'): number =>
          ranges.reduce((total, range) => total + range[of], 0);
        expect({ accessed: sum('accessed'), dirty: sum('dirty') }).toEqual({
          accessed: answers.filter((answer) => answer?.accessed).length,
          dirty: answers.filter((answer) => answer?.dirty).length,
        });
      }),
      runs,
    );
  });
});

describe.each(SHAPES)('$name', (shape) => {
  it('translates every address as the oracle does, in each mode', async () => {
    await fc.assert(
      fc.asyncProperty(fc.gen(), anywhere, async (g, picks) => {
        const tables = makeTables(g, fc, shape);
        const addresses = addressesOf(tables, picks);
        const file = join(folder, 'truth.jsonl');
        writeFileSync(file, addresses.map((va) => JSON.stringify(rowOf(tables, va))).join('\n'));
        const check = await checkTruth(dumpOf(tables), file);
        expect(check.differences).toEqual([]);
        expect(check.agreed).toBe(addresses.length);
      }),
      runs,
    );
  });
});
