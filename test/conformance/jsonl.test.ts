import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import { type JsonLinesOptions, readJsonLines } from '../../src/conformance/jsonl.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'jsonl-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function fileOf(name: string, content: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

async function valuesOf(file: string, options: JsonLinesOptions = {}): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const { value } of readJsonLines(file, options)) values.push(value);
  return values;
}

async function errorOf(file: string): Promise<string> {
  try {
    await valuesOf(file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.message.replace(`${folder}/`, '');
  }
  return 'no error';
}

describe('readJsonLines', () => {
  it('reads plain and gzip files alike, without a newline at the end, and skips blank lines', async () => {
    const text = '{"a":1}\n\n{"a":2}';
    expect(await valuesOf(fileOf('plain', text))).toEqual([{ a: 1 }, { a: 2 }]);
    expect(await valuesOf(fileOf('packed', gzipSync(text)))).toEqual([{ a: 1 }, { a: 2 }]);
  });

  it('counts blank lines', async () => {
    const file = fileOf('lines', '{}\n\n{}\n');
    const lines: number[] = [];
    for await (const { line } of readJsonLines(file)) lines.push(line);
    expect(lines).toEqual([1, 3]);
  });

  it('reads lines longer than a chunk of the file', async () => {
    const long = JSON.stringify({ text: 'x'.repeat(300_000) });
    expect(await valuesOf(fileOf('long', `${long}\n${long}\n`))).toHaveLength(2);
  });

  it('keeps the digits of wide integers as text, but not inside strings', async () => {
    const text = '{"n":18446744073709551615,"list":[[1,-9223372036854775808]],"s":"a,1234567890123456789]"}';
    expect(await valuesOf(fileOf('wide', text), { wideIntegersAsText: true })).toEqual([
      { n: '18446744073709551615', list: [[1, '-9223372036854775808']], s: 'a,1234567890123456789]' },
    ]);
  });

  const packed = gzipSync('{"a":1}\n'.repeat(1000));
  it.each([
    { name: 'missing', content: null, message: /^missing: no such file$/ },
    {
      name: 'broken',
      content: '{"a":1}\n{"a":}\n',
      message: /^broken:2(:6)?: the line is not a JSON object: found "\{\\"a\\":\}"$/,
    },
    { name: 'cut', content: '{"a":1}\n{"a":', message: /^cut:2(:\d+)?: the line is not a JSON object/ },
    {
      name: 'truncated.gz',
      content: packed.subarray(0, packed.length - 12),
      message: /^truncated\.gz:\d+: the gzip data ends too early: the file is truncated$/,
    },
    {
      name: 'damaged.gz',
      content: packed.map((byte, i) => (i === packed.length - 7 ? byte ^ 0xff : byte)),
      message: /^damaged\.gz:\d+: the gzip data is damaged$/,
    },
    {
      name: 'latin1',
      content: Uint8Array.of(0x22, 0xe9, 0x22, 0x0a),
      message: /^latin1:1: not UTF-8 text$/,
    },
  ])('names file and line of $name', async ({ name, content, message }) => {
    const file = content === null ? join(folder, name) : fileOf(name, content);
    expect(await errorOf(file)).toMatch(message);
  });

  it('says of a folder that it is one', async () => {
    expect(await errorOf(folder)).toMatch(/: is a folder, a file was expected$/);
  });
});
