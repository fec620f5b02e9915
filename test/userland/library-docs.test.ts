/** The examples of docs/library.md, run as a user would: from a folder that has the package installed. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { linkPackage, nodeOptions } from '../support/child.ts';

const text = readFileSync('docs/library.md', 'utf8');
const examples = [...text.matchAll(/```ts\n(.*?)```/gs)].map((match) => match[1] as string);

const folder = mkdtempSync(join(tmpdir(), 'tablewalk-library-'));
linkPackage(folder);
afterAll(() => rmSync(folder, { recursive: true }));

function printed(example: number): string {
  const file = join(folder, `example-${example}.ts`);
  writeFileSync(file, examples[example] as string);
  return execFileSync(process.execPath, [...nodeOptions, file], { cwd: folder, encoding: 'utf8' });
}

describe('docs/library.md', () => {
  it('has an example of a scenario that prints what the text says', () => {
    const said = /It prints `([^`]+)`/.exec(text)?.[1];
    expect(printed(0)).toBe(`${said}\n`);
  });

  it('has an example of exploring that finds the lost addition', () => {
    expect(printed(1)).toMatch(/^no addition is lost [\d* ]+\n$/);
  });

  it('has an example of the MMU by itself that prints what its comments say', () => {
    const lines = printed(2).split('\n');
    expect(lines.slice(0, 2)).toEqual(['0 5123', 'true 7']);
    expect(lines.slice(2).join('\n')).toMatch(/^PTE at 0x4000 = 0x0000000000005025$/m);
  });

  it.each([
    ['the arm64 MMU', 3],
    ['memory tags', 4],
    ['TLB maintenance on several CPUs', 5],
  ])('has an example of %s that prints what its comments say', (_, example) => {
    const said = [...(examples[example] as string).matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)];
    // What follows a colon explains.
    const expected = said.map((match) => (match[1] as string).replace(/: .*/, ''));
    expect(expected.length).toBeGreaterThan(3);
    const lines = printed(example).trimEnd().split('\n');
    expect(lines.slice(0, expected.length)).toEqual(expected);
    const rest = lines.slice(expected.length).join('\n');
    if (example === 3)
      expect(rest).toMatch(/^stage 1 page descriptor, 4 KiB granule at 0x3000 = 0x00000000000057c3$/m);
    else expect(rest).toBe('');
  });

  it('has no other examples', () => {
    expect(examples).toHaveLength(6);
  });
});
