/**
 * The objects that `--json` prints, against schemas that refuse a field they do not know; and against
 * docs/json-output.md, which must name every field.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { jsonText } from '../../src/cli/json.ts';
import { runCommand } from '../support/command.ts';
import {
  bench,
  check,
  decode,
  explore,
  kinds,
  maps,
  mapsArm64,
  protocol,
  replay,
  run,
  scenarioWalk,
  vectorWalk,
  verify,
  walks,
} from './json-schemas.ts';

const folder = mkdtempSync(join(tmpdir(), 'tablewalk-json-'));
const core = 'test/real/x86_64-4level-linux6.1.core.gz';
const dump = ['--dump', core, '--regs', 'test/real/x86_64-4level-linux6.1.regs.json', '--root', 'target'];
const truth = 'test/real/x86_64-4level-linux6.1.truth-target.jsonl.gz';
const arm64 = 'test/real/arm64-4k-mte-linux6.12';
const dumpArm64 = ['--dump', `${arm64}.core.gz`, '--regs', `${arm64}.regs.json`, '--root', 'target'];
const truthArm64 = `${arm64}.truth-target.jsonl.gz`;
const benchmark = ['bench', 'remote-access', '--designs', 'v0,v3', '--bytes', '8'];
const vectors = 'test/vectors/x86_64.jsonl.gz';
const vectorsArm64 = 'test/vectors/arm64.jsonl.gz';
const traces = 'test/traces/directed-x86_64.jsonl.gz';
const wrong = {
  vector: join(folder, 'vector.jsonl'),
  trace: join(folder, 'trace.jsonl'),
  truth: join(folder, 'truth.jsonl'),
};

beforeAll(() => {
  const linesOf = (file: string): string[] => gunzipSync(readFileSync(file)).toString().trim().split('\n');
  writeFileSync(wrong.vector, (linesOf(vectors)[1] as string).replace('"pa":"0x', '"pa":"0x1'));
  const trace = (linesOf(traces)[0] as string).replace('"ret":8', '"ret":9');
  const unknown = trace.replace('"op":"mmap"', '"op":"mremap_of_tomorrow"');
  writeFileSync(wrong.trace, `${trace}\n${unknown}\n`);
  writeFileSync(wrong.truth, (linesOf(truth)[0] as string).replace('"pa":"0x', '"pa":"0x1'));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Row {
  readonly args: readonly string[];
  readonly schema: z.ZodType;
  /** Heading of the part of the document that names the fields. */
  readonly part: string;
  readonly status?: number;
}

const rows: readonly Row[] = [
  { args: ['run', 'examples/fork-cow.yaml'], schema: run, part: 'run' },
  { args: ['run', 'examples/remote-read.ts'], schema: run, part: 'run' },
  { args: ['run', 'examples/fork-cow.yaml', '--steps', '5'], schema: run, part: 'run', status: 1 },
  { args: ['explore', 'examples/fork-cow.yaml', '--runs', '3'], schema: explore, part: 'explore' },
  { args: ['explore', 'examples/fork-cow.yaml', '--schedule', '-'], schema: explore, part: 'explore' },
  { args: ['explore', 'examples/missing-invlpg.ts'], schema: explore, part: 'explore', status: 1 },
  { args: ['verify', vectors, '--only', 'x86-00000*'], schema: verify, part: 'verify' },
  { args: ['verify', wrong.vector], schema: verify, part: 'verify', status: 1 },
  { args: ['replay', traces, '--only', 'linux-x86-d00*'], schema: replay, part: 'replay' },
  { args: ['replay', wrong.trace], schema: replay, part: 'replay', status: 1 },
  { args: ['walk', ...dump, '0x401000', '0'], schema: walks, part: 'walk' },
  { args: ['walk', '--vectors', vectorsArm64, '--id', 'arm64-000000'], schema: vectorWalk, part: 'walk' },
  { args: ['walk', '--vectors', vectorsArm64, '--id', 'arm64-000001'], schema: vectorWalk, part: 'walk' },
  { args: ['walk', '--vectors', vectors, '--id', 'x86-000001'], schema: vectorWalk, part: 'walk' },
  {
    args: ['walk', '--scenario', 'examples/fork-cow.yaml', '--process', 'parent', '0x1000'],
    schema: scenarioWalk,
    part: 'walk',
  },
  { args: ['maps', ...dump], schema: maps, part: 'maps' },
  { args: ['maps', ...dumpArm64], schema: mapsArm64, part: 'maps' },
  { args: ['maps', ...dumpArm64, '--check', truthArm64], schema: check, part: 'maps' },
  { args: ['walk', ...dumpArm64, '0x401000', '0'], schema: walks, part: 'walk' },
  { args: ['maps', ...dump, '--check', truth], schema: check, part: 'maps' },
  { args: ['maps', ...dump, '--check', wrong.truth], schema: check, part: 'maps', status: 1 },
  { args: ['decode', 'x86_64.pte', '0x8000000012345067'], schema: decode, part: 'decode' },
  { args: ['decode'], schema: kinds, part: 'decode' },
  { args: [...benchmark, '--readers', '1', '--calls', '3'], schema: bench, part: 'bench' },
  { args: [...benchmark, '--readers', '2', '--calls', '3', '--write'], schema: bench, part: 'bench' },
  { args: ['bench', 'remote-access', '--designs', 'v0,v3', '--protocol'], schema: protocol, part: 'bench' },
];

const document = readFileSync('docs/json-output.md', 'utf8');

/** Names between backquotes in one part of the document: whole paths, and their last names. */
function documented(part: string): ReadonlySet<string> {
  const text = document.split(/^## /m).find((section) => section.startsWith(`\`${part}\``)) ?? '';
  const names = [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
  return new Set(names.flatMap((name) => [name, name.split('.').at(-1)?.replace('[]', '') ?? '']));
}

/** Maps whose keys are data, not fields. */
const dataKeys = /^(tags|kinds|counters|variables|missing|pages|fallbacks)$/;

function fieldsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(fieldsOf);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) =>
    dataKeys.test(key) && !Array.isArray(item) ? [key] : [key, ...fieldsOf(item)],
  );
}

describe('--json prints one documented object', () => {
  it.each(rows.map((row) => ({ ...row, command: row.args.join(' ') })))(
    '$command',
    async ({ args, schema, part, status = 0 }) => {
      const result = await runCommand([...args, '--json']);
      expect(result.stderr).toBe('');
      expect(result.status).toBe(status);
      const value: unknown = JSON.parse(result.stdout);
      expect(schema.safeParse(value).error?.issues ?? []).toEqual([]);
      // Parts that other parts show whole: a walk, and the fields of an entry.
      const known = [part, 'run', 'walk', 'decode'].map(documented);
      const unnamed = fieldsOf(value).filter((name) => !known.some((names) => names.has(name)));
      expect([...new Set(unnamed)]).toEqual([]);
    },
  );

  it('says of every field that it documents which object has it', () => {
    for (const part of ['run', 'verify', 'replay', 'walk', 'maps', 'decode', 'bench']) {
      expect(documented(part).size, part).toBeGreaterThan(5);
    }
  });
});

describe('what JSON cannot say', () => {
  it.each([
    [2n ** 64n - 1n, '"0xffffffffffffffff"'],
    [-14n, '"-14"'],
    [Uint8Array.of(0, 0xfe), '"00fe"'],
    [new Map([[1, 2n]]), '{"1":"0x2"}'],
    [new Set([1]), '[1]'],
    [Number.NaN, '"NaN"'],
    [null, 'null'],
    [{ missing: undefined, list: [undefined] }, '{"list":[null]}'],
    [Int32Array.of(-1), '[-1]'],
  ])('%s is %s', (value, text) => {
    expect(JSON.stringify(JSON.parse(jsonText(value)))).toBe(text);
  });

  it('is no error, however strange: a program may return anything', () => {
    const ring: unknown[] = [() => 1, Symbol('s')];
    ring.push(ring);
    expect(JSON.parse(jsonText(ring))).toEqual(['() => 1', 'Symbol(s)', '(itself)']);
  });
});
