/** Bad arm64 vectors: every field that the reader takes, refused with file, line, field, expectation and finding. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../../src/base/input-error.ts';
import { explainVector } from '../../../src/conformance/verify/explain-vector.ts';
import { verifyVectors } from '../../../src/conformance/verify/verify.ts';
import { verifyText } from '../../../src/report/verify-text.ts';

const FILE = new URL('../../vectors/arm64.jsonl.gz', import.meta.url).pathname;
type Json = Record<string, unknown>;
let folder = '';
let lines: string[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tablewalk-arm64-'));
  lines = gunzipSync(readFileSync(FILE)).toString().trimEnd().split('\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

const vectorOf = (id: string): Json =>
  JSON.parse(lines.find((line) => line.includes(`"${id}"`)) ?? '') as Json;
function file(name: string, ...vectors: readonly Json[]): string {
  const path = join(folder, name);
  writeFileSync(path, vectors.map((vector) => JSON.stringify(vector)).join('\n'));
  return path;
}
const part = (vector: Json, key: string): Json => vector[key] as Json;
const step = (vector: Json, index: number): Json => (vector['steps'] as Json[])[index] as Json;

/** A translation, one with indirection, an MTE access, an instruction (LDG), a sequence. */
const [SINGLE, INDIRECT, TAGGED, LDG, SEQUENCE] = [
  'arm64-000000',
  'arm64-300000',
  'arm64-100003',
  'arm64-100000',
  'arm64-200000',
] as const;
/** A translation of a read that is allowed. */
const ALLOWED = 'arm64-000053';
const HEX = 'a hexadecimal string "0x…" of at most 64 bits';

const MALFORMED: readonly (readonly [id: string, spoil: (vector: Json) => void, says: string])[] = [
  ...['sctlr', 'tcr', 'tcr2', 'ttbr0', 'ttbr1', 'mair'].map((name): (typeof MALFORMED)[number] => [
    SINGLE,
    (v) => delete part(v, 'cpu')[name],
    `field cpu.${name}: expected ${HEX}, found nothing`,
  ]),
  [INDIRECT, (v) => delete part(v, 'cpu')['pire0'], `field cpu.pire0: expected ${HEX}, found nothing`],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'cpu'), { el: 2 }),
    'field cpu.el: expected an integer from 0 to 1, found 2',
  ],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'cpu'), { uao: true }),
    'field cpu.uao: expected an integer from 0 to 1, found true',
  ],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'cpu'), { features: 'MTE2' }),
    'field cpu.features: expected a list, found "MTE2"',
  ],
  [SINGLE, (v) => Object.assign(v, { kind: 'at' }), 'field kind: expected "mteInsn" or "tlbSeq", found "at"'],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'access'), { kind: 'swap' }),
    'field access.kind: expected "read" or "write" or "fetch"',
  ],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'access'), { size: 3 }),
    'field access.size: expected 1, 2, 4, 8, 16 bytes of a write, found 3',
  ],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'access'), { kind: 'fetch' }),
    'field access.size: expected 4 bytes of a fetch, found 8',
  ],
  [SINGLE, (v) => Object.assign(part(v, 'access'), { va: 16 }), `field access.va: expected ${HEX}, found 16`],
  [
    SINGLE,
    (v) => Object.assign(v, { expect: {} }),
    'field expect.fault: expected a fault, or "pa" or "ok" instead, found nothing',
  ],
  [
    SINGLE,
    (v) => Object.assign(v, { expect: { fault: { esr: '0x1' } } }),
    `field expect.fault.far: expected ${HEX}, found nothing`,
  ],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'expect'), { par: '0xz' }),
    `field expect.par: expected ${HEX}, found "0xz"`,
  ],
  [
    SINGLE,
    (v) => Object.assign(part(v, 'at'), { s12e1r: '0x1' }),
    'field at.s12e1r: expected one of s1e1r, s1e1w, s1e0r, s1e0w, s1e1rp, s1e1wp',
  ],
  [
    SINGLE,
    (v) => Object.assign(v, { memoryAfter: [['0x8']] }),
    'field memoryAfter[0]: expected a pair [address, value], found ["0x8"]',
  ],
  [
    SINGLE,
    (v) => Object.assign(v, { memoryAfterUnpredictable: true, memoryAfter: [['0x8', '0x0']] }),
    'field memoryAfter: expected an empty list beside memoryAfterUnpredictable',
  ],
  [SINGLE, (v) => Object.assign(v, { pa2: 1 }), `field pa2: expected ${HEX}, found 1`],
  [SINGLE, (v) => delete v['labels'], 'field labels: expected a list, found nothing'],
  [
    TAGGED,
    (v) => Object.assign(v, { mteTags: [['0x8', 1]] }),
    'field mteTags[0][0]: expected a multiple of 16, found "0x8"',
  ],
  [
    TAGGED,
    (v) => Object.assign(v, { mteTags: [['0x10', 16]] }),
    'field mteTags[0][1]: expected a tag from 0 to 15, found 16',
  ],
  [
    TAGGED,
    (v) => Object.assign(part(v, 'expect'), { tfsr: '0x4' }),
    'field expect.tfsr: expected bits 1 and 0 at most, found "0x4"',
  ],
  [TAGGED, (v) => delete part(v, 'expect')['tfsre0'], `field expect.tfsre0: expected ${HEX}, found nothing`],
  [
    LDG,
    (v) => Object.assign(v, { encoding: '0x100000000' }),
    'field encoding: expected an instruction of 32 bits, found "0x100000000"',
  ],
  [LDG, (v) => Object.assign(v, { gmidBs: 5 }), 'field gmidBs: expected an integer from 6 to 6, found 5'],
  [LDG, (v) => delete part(v, 'regsBefore')['x7'], `field regsBefore.x7: expected ${HEX}, found nothing`],
  [LDG, (v) => delete part(v, 'regsAfter')['sp'], `field regsAfter.sp: expected ${HEX}, found nothing`],
  [LDG, (v) => delete v['rgsr'], `field rgsr: expected ${HEX}, found nothing`],
  [LDG, (v) => delete v['mteTagsAfter'], 'field mteTagsAfter: expected a list, found nothing'],
  [
    LDG,
    (v) => Object.assign(v, { dataBefore: ['0x0', 'abc'] }),
    'field dataBefore[1]: expected bytes as hexadecimal digits, found "abc"',
  ],
  [LDG, (v) => delete v['dataAfter'], 'field dataAfter: expected a list, found nothing'],
  [
    LDG,
    (v) => Object.assign(v, { nzcvAfter: 16 }),
    'field nzcvAfter: expected an integer from 0 to 15, found 16',
  ],
  [
    LDG,
    (v) => Object.assign(v, { expect: { ok: false } }),
    'field expect.ok: expected true, or a fault instead, found false',
  ],
  [
    SEQUENCE,
    (v) => Object.assign(step(v, 0), { op: 'isb' }),
    'field steps[0].op: expected "access" or "write64" or "dsbIsb" or "tlbi" or "setTtbr", found "isb"',
  ],
  [
    SEQUENCE,
    (v) => Object.assign(step(v, 2), { what: 'alle1' }),
    'field steps[2].what: expected a TLBI operation at EL1, as "vae1is", found "alle1"',
  ],
  [SEQUENCE, (v) => delete step(v, 2)['arg'], `field steps[2].arg: expected ${HEX}, found nothing`],
  [
    SEQUENCE,
    (v) => delete step(v, 0)['pan'],
    'field steps[0].pan: expected an integer from 0 to 1, found nothing',
  ],
  [SEQUENCE, (v) => delete step(v, 1)['pa'], `field steps[1].pa: expected ${HEX}, found nothing`],
];

describe('a malformed arm64 vector is refused with file, line, field, what was expected and what was found', () => {
  it.each(MALFORMED)('%s %#', async (id, spoil, says) => {
    const vector = vectorOf(id);
    spoil(vector);
    const path = file('bad.jsonl', vectorOf(SINGLE), vector);
    const error: unknown = await verifyVectors([path]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toContain(says);
    expect(error).toMatchObject({ file: path, line: 2 });
  });
});

describe('what is run and reported', () => {
  it.each([
    { only: [SINGLE], count: 1 },
    { only: ['stz2g'], count: 87 },
    { only: ['fault:tagCheck', 'tlbSeq'], count: 1334 },
  ])('with --only $only is $count vectors', async ({ only, count }) => {
    const result = await verifyVectors([FILE], { only });
    expect(result.passed).toBe(count);
    expect(result.skipped).toBe(26_018 - count);
  });

  it('shows a step of a sequence that differs in full', async () => {
    const wrong = vectorOf(SEQUENCE);
    step(wrong, 7)['expect'] = { pa: '0x1000' };
    const path = file('sequence.jsonl', vectorOf(SINGLE), vectorOf(LDG), wrong);
    const text = verifyText(await verifyVectors([path])).replaceAll(path, 'sequence.jsonl');
    await expect(text).toMatchFileSnapshot('../../golden/verify-arm64-difference.txt');
  });

  it('names an architecture that is not the one asked for', async () => {
    await expect(explainVector(FILE, SINGLE, undefined, 'x86_64')).rejects.toThrow(
      'vector arm64-000000 is of another architecture: expected x86_64, found arm64',
    );
  });
});

describe('features that a vector names are switched on for it', () => {
  const POE = 0xc;
  const every = (field: number): string => `0x${field.toString(16).repeat(16)}`;
  /** The vector with TCR2_EL1 bits set and other fields of `cpu`. */
  const changed = (id: string, tcr2: number, cpu: Json, features: readonly string[] = []): Json => {
    const vector = vectorOf(id);
    const before = part(vector, 'cpu');
    const named = [...(before['features'] as string[]), ...features];
    const bits = BigInt(before['tcr2'] as string) | BigInt(tcr2);
    return { ...vector, cpu: { ...before, tcr2: `0x${bits.toString(16)}`, ...cpu, features: named } };
  };
  const verify = (...vectors: readonly Json[]) => verifyVectors([file('features.jsonl', ...vectors)]);

  it.each([
    ['S1POE and overlays that leave everything', every(7), ['S1POE'], 1],
    ['FEAT_S1POE, the same name', every(7), ['FEAT_S1POE'], 1],
    ['S1POE and overlays that leave nothing', every(0), ['S1POE'], 0],
    ['no S1POE: TCR2_EL1.POE has no effect', every(0), [], 1],
  ] as const)('%s', async (_, por, features, passed) => {
    const overlaid = (id: string) => changed(id, POE, { por_el0: por, por_el1: por }, features);
    // Between others: each runs on its own processor.
    const result = await verify(vectorOf(ALLOWED), overlaid(ALLOWED), vectorOf(ALLOWED));
    expect(result).toMatchObject({ passed: 2 + passed, failed: 1 - passed, unsupported: 0 });
    if (passed === 0) expect(result.first?.mismatches[0]?.got).toContain('ESR_EL1 0x40');
  });

  it.each([
    ['a tag check', 'arm64-100007'],
    ['a tag instruction', LDG],
    ['a sequence', SEQUENCE],
  ])('permission registers are loaded for %s too', async (_, id) => {
    const indirect = (field: number) => changed(id, 2, { pir: every(field), pire0: every(field) });
    expect(await verify(indirect(0xc))).toMatchObject({ passed: 1, first: null });
    expect((await verify(indirect(0))).first?.mismatches[0]?.got).toContain('Permission');
  });

  it('an unknown one makes the vector unsupported: neither passed nor failed, and counted', async () => {
    const [mec, both] = [['MEC'], ['MEC', 'D128', 'S1POE']].map((names) => changed(ALLOWED, 0, {}, names));
    const result = await verify(mec as Json, vectorOf(ALLOWED), both as Json);
    expect(result).toMatchObject({ passed: 1, failed: 0, unsupported: 2, steps: 1 });
    expect(Object.fromEntries(result.unsupportedFeatures)).toEqual({ MEC: 2, D128: 1 });
    expect(verifyText(result)).toContain(
      'unsupported, as they name features that are not built: MEC 2 · D128 1\n1 passed, 0 failed, 2 unsupported\n',
    );
    await expect(explainVector(file('mec.jsonl', mec as Json), ALLOWED)).rejects.toThrow('found MEC');
  });
});
