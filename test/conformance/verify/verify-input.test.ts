/** Bad vector files, filters, and what the report says. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../../src/base/input-error.ts';
import { explainVector } from '../../../src/conformance/verify/explain-vector.ts';
import { verifyVectors } from '../../../src/conformance/verify/verify.ts';
import { differenceText, verifyClosingLine, verifyText } from '../../../src/report/verify-text.ts';

const FILE = new URL('../../vectors/x86_64.jsonl.gz', import.meta.url).pathname;
type Json = Record<string, unknown>;
let folder = '';
let lines: string[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tablewalk-verify-'));
  lines = gunzipSync(readFileSync(FILE)).toString().trimEnd().split('\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

const vectorOf = (id: string): Json =>
  JSON.parse(lines.find((line) => line.includes(`"${id}"`)) ?? '') as Json;
function file(name: string, ...vectors: readonly (Json | string)[]): string {
  const path = join(folder, name);
  writeFileSync(
    path,
    vectors.map((vector) => (typeof vector === 'string' ? vector : JSON.stringify(vector))).join('\n'),
  );
  return path;
}

/** x86-022696 is a sequence, x86-000001 a single write. */
const spoiled = (id: string, spoil: (vector: Json) => void): Json => {
  const vector = vectorOf(id);
  spoil(vector);
  return vector;
};
const stepOf = (vector: Json, index: number): Json => (vector['steps'] as Json[])[index] as Json;

const MALFORMED: readonly (readonly [string, () => Json | string, string])[] = [
  ['not JSON', () => '{"id":', 'the line is not a JSON object'],
  ['a list', () => '[]', 'field arch: expected the name of an architecture, found nothing'],
  [
    'no arch',
    () => spoiled('x86-000001', (v) => delete v['arch']),
    'field arch: expected the name of an architecture, found nothing',
  ],
  [
    'unknown arch',
    () => ({ ...vectorOf('x86-000001'), arch: 'sparc' }),
    'field arch: expected "x86_64" or "arm64", found "sparc"',
  ],
  ['no id', () => spoiled('x86-000001', (v) => delete v['id']), 'field id: expected a string, found nothing'],
  [
    'number for an address',
    () => spoiled('x86-000001', (v) => Object.assign(v['access'] as Json, { va: 4096 })),
    'field access.va: expected a hexadecimal string "0x…" of at most 64 bits, found 4096',
  ],
  [
    '65 bits',
    () => spoiled('x86-000001', (v) => Object.assign(v['cpu'] as Json, { cr3: '0x10000000000000000' })),
    'field cpu.cr3: expected a hexadecimal string "0x…" of at most 64 bits, found "0x10000000000000000"',
  ],
  [
    'not hexadecimal',
    () => spoiled('x86-000001', (v) => Object.assign(v['access'] as Json, { va: '0x12g4' })),
    'field access.va: expected a hexadecimal string "0x…" of at most 64 bits, found "0x12g4"',
  ],
  [
    'unknown kind',
    () => spoiled('x86-000001', (v) => Object.assign(v['access'] as Json, { kind: 'poke' })),
    'field access.kind: expected "read" or "write" or "fetch", found "poke"',
  ],
  [
    'CPL 4',
    () => spoiled('x86-000001', (v) => Object.assign(v['cpu'] as Json, { cpl: 4 })),
    'field cpu.cpl: expected an integer from 0 to 3, found 4',
  ],
  [
    'MAXPHYADDR 64',
    () => spoiled('x86-000001', (v) => Object.assign(v['cpu'] as Json, { maxPhysAddr: 64 })),
    'field cpu.maxPhysAddr: expected an integer from 32 to 52, found 64',
  ],
  [
    'memory no list',
    () => ({ ...vectorOf('x86-000001'), memory: {} }),
    'field memory: expected a list, found {}',
  ],
  [
    'memory entry no pair',
    () => ({ ...vectorOf('x86-000001'), memory: [['0x0', '0x0'], ['0x8']] }),
    'field memory[1]: expected a pair [address, value], found ["0x8"]',
  ],
  [
    'memory value',
    () => ({ ...vectorOf('x86-000001'), memory: [['0x0', null]] }),
    'field memory[0][1]: expected a hexadecimal string "0x…" of at most 64 bits, found null',
  ],
  [
    'empty expectation',
    () => ({ ...vectorOf('x86-000001'), expect: {} }),
    'field expect.fault: expected a fault, or "pa" or "ok" instead, found nothing',
  ],
  [
    'wide error code',
    () => ({ ...vectorOf('x86-000001'), expect: { fault: { vector: 14, errorCode: '0x100000000' } } }),
    'field expect.fault.errorCode: expected a 32-bit error code, found "0x100000000"',
  ],
  [
    'unknown step',
    () => spoiled('x86-022696', (v) => Object.assign(stepOf(v, 2), { op: 'wbinvd' })),
    'field steps[2].op: expected "access" or "write64" or "invlpg" or "invpcid" or "movcr0" or "movcr3" or "movcr4" or "wrpkru", found "wbinvd"',
  ],
  [
    'ok false',
    () => spoiled('x86-022696', (v) => Object.assign(stepOf(v, 3), { expect: { ok: false } })),
    'field steps[3].expect.ok: expected true, or a fault instead, found false',
  ],
  [
    'wide PKRU',
    () =>
      spoiled('x86-022696', (v) =>
        Object.assign(stepOf(v, 3), { op: 'wrpkru', value: '0x100000000', expect: { ok: true } }),
      ),
    'field steps[3].value: expected the 32 bits of EAX, found "0x100000000"',
  ],
  [
    'tag no string',
    () => ({ ...vectorOf('x86-000001'), tags: ['l4', 5] }),
    'field tags[1]: expected a string, found 5',
  ],
];

describe('a malformed vector is refused with file, line, field, what was expected and what was found', () => {
  it.each(MALFORMED)('%s', async (name, vector, want) => {
    const path = file(`${name}.jsonl`, vectorOf('x86-000001'), vector());
    const error: unknown = await verifyVectors([path]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toContain(want);
    expect(error).toMatchObject({ file: path, line: 2 });
  });

  it('truncated gzip', async () => {
    const path = join(folder, 'short.jsonl.gz');
    writeFileSync(path, gzipSync(lines.slice(0, 50).join('\n')).subarray(0, 2000));
    const error: unknown = await verifyVectors([path]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(/truncated/);
  });
});

describe('what is run', () => {
  it.each([
    { only: ['x86-000001'], count: 1 },
    { only: ['seq-invpcid'], count: 145 },
    { only: ['x86-00000*'], count: 10 },
    { only: ['x86-000001', 'seq-wp'], count: 68 },
    { only: ['x86.000001'], count: 0 },
  ])('with --only $only is $count vectors', async ({ only, count }) => {
    const result = await verifyVectors([FILE], { only });
    expect(result.passed + result.failed).toBe(count);
    expect(result.skipped).toBe(22_697 - count);
  });

  it('stops at the first failure when asked to, and when the signal says so', async () => {
    const wrong = spoiled('x86-000001', (v) => {
      v['expect'] = { pa: '0x0' };
    });
    const path = file('stop.jsonl', vectorOf('x86-000000'), wrong, vectorOf('x86-000003'));
    const stopped = await verifyVectors([path], { firstFailure: true });
    expect(verifyClosingLine(stopped)).toBe('1 passed, 1 failed (stopped early)');
    expect(verifyClosingLine(await verifyVectors([path]))).toBe('2 passed, 1 failed');
    const aborted = await verifyVectors([path], { signal: AbortSignal.abort() });
    expect(verifyClosingLine(aborted)).toBe('0 passed, 0 failed (stopped early)');
  });
});

describe('the report', () => {
  it('shows a single access that differs in full', async () => {
    const wrong = spoiled('x86-000000', (v) => {
      v['expect'] = { fault: { vector: 14, errorCode: '0x3', cr2: '0x62009120ae58' } };
      v['memoryMay'] = [];
    });
    const { first } = await verifyVectors([file('single.jsonl', wrong)]);
    const text = first === null ? '' : differenceText({ ...first, file: 'single.jsonl' });
    await expect(`${text}\n`).toMatchFileSnapshot('../../golden/verify-single-difference.txt');
  });

  it('shows a step of a sequence that differs in full, with the counts around it', async () => {
    const wrong = spoiled('x86-022696', (v) => {
      stepOf(v, 5)['expect'] = { pa: '0x3022871' };
    });
    const path = file('sequence.jsonl', vectorOf('x86-000000'), vectorOf('x86-000001'), wrong);
    const text = verifyText(await verifyVectors([path])).replaceAll(path, 'sequence.jsonl');
    await expect(text).toMatchFileSnapshot('../../golden/verify-sequence-difference.txt');
  });

  it('shows a privileged step that differs with the registers', async () => {
    const wrong = spoiled('x86-022696', (v) => {
      stepOf(v, 3)['expect'] = { fault: { vector: 13, errorCode: '0x0' } };
    });
    const { first } = await verifyVectors([file('privileged.jsonl', wrong)]);
    expect(first).toMatchObject({ step: 4, steps: 7, operation: 'INVLPG 0x51576881e870', walk: null });
    expect(first?.mismatches).toEqual([{ what: 'outcome', expected: '#GP(0)', got: 'done, no fault' }]);
    expect(first?.state.join('\n')).toMatch(/no 1-GiB pages\nCR3 = 0x403e000\nCR0: /);
  });
});

describe('one vector explained', () => {
  it('gives the walk of its last access, or of the step asked for', async () => {
    const last = await explainVector(FILE, 'x86-022696');
    expect(last).toMatchObject({
      step: 7,
      steps: 7,
      operation: 'supervisor read of 0x51576891e870, CPL 0, AC 0',
      recorded: 'address 0x8fff6870',
    });
    const first = await explainVector(FILE, 'x86-022696', 1);
    expect(first.walk.steps.filter((step) => step.kind === 'entry').length).toBe(4);
    expect(first.walk.outcome).toMatchObject({ kind: 'translation', physicalAddress: 0x4125_0870n });
  });

  it('names an id that is not there and a step that is no access', async () => {
    await expect(explainVector(FILE, 'x86-1')).rejects.toThrow('no vector x86-1');
    await expect(explainVector(FILE, 'x86-022696', 4)).rejects.toThrow(/no access at step 4.*1, 2, 5, 6, 7/);
  });
});
