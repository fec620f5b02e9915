/**
 * docs/remote-access.md: the part between its marks is what the command prints (`vitest -u` writes it anew), and the rest names every
 * design with who proposed it and where its file is.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DESIGNS } from '../../src/kernel/remote/designs/registry.ts';
import { runCommand } from '../support/command.ts';

const FILE = 'docs/remote-access.md';
const text = readFileSync(FILE, 'utf8');
const BEGIN = '<!-- begin: tablewalk bench remote-access --calls 50 --markdown -->\n';
const END = '<!-- end -->';

describe(FILE, () => {
  it('has the tables that the command in its mark prints', async () => {
    const [, command = ''] = /<!-- begin: tablewalk (.*) -->/.exec(text) ?? [];
    const { status, stdout, stderr } = await runCommand(command.split(' '));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const before = text.slice(0, text.indexOf(BEGIN) + BEGIN.length);
    const after = text.slice(text.indexOf(END));
    await expect(`${before}\n${stdout}\n${after}`).toMatchFileSnapshot(`../../${FILE}`);
  }, 240_000);

  it.each(DESIGNS.filter(({ name }) => name.startsWith('v')))(
    'says of $name who proposed it, when, and under which subject',
    ({ name, proposedBy: { author, date, subject } }) => {
      const [paragraph = ''] = new RegExp(`^\\*\\*${name.toUpperCase()},[^]*?\\n\\n`, 'm').exec(text) ?? [];
      const words = paragraph.replace(/\s+/g, ' ').replaceAll('`', '');
      if (name !== 'v6') expect(words).toContain(name === 'v0' ? author : author.split(', ')[0]);
      if (/\d/.test(date)) expect(words).toContain(date);
      for (const part of subject.split(', ')) expect(words).toContain(part);
    },
  );

  it.each(DESIGNS)('has a link to the file of $name', ({ name }) => {
    expect(text).toMatch(new RegExp(`\\]\\([^)]*/${name}[-/][^)]*\\.ts\\)|/${name}/${name}[^)]*\\.ts\\)`));
  });

  it('links to files that are there', () => {
    const links = [...text.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map((match) => match[1] as string);
    expect(links.length).toBeGreaterThan(10);
    expect(links.filter((link) => !existsSync(join(dirname(FILE), link)))).toEqual([]);
  });
});
