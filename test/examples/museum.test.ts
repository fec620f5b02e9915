/**
 * The museum as a whole: every switch has an exhibit, every exhibit a row of the table, a header that says what a visitor wants to
 * know, and a line of docs/museum.md (`vitest -u` writes those anew).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CHECK_NAMES } from '../../src/check/races/registry.ts';
import { BUG_NAMES, BUGS } from '../../src/kernel/bugs.ts';
import { exhibitNamed } from '../support/exhibits.ts';
import { EXHIBITS, type Exhibit } from './bugs-table.ts';

const FOLDER = 'examples/bugs';
const PAGE = 'docs/museum.md';
const page = readFileSync(PAGE, 'utf8');
const LINES = 80;
/** A deadlock that lockdep is for; examples/mm/vma-locks.ts has it. */
const WITHOUT_EXHIBIT = ['mmap-lock-under-vma-lock'];
const BEGIN = /<!-- begin: the exhibits .*-->\n/;
const END = '<!-- end -->';

describe('examples/bugs', () => {
  it('has the files of the table', () => {
    expect(readdirSync(FOLDER).sort()).toEqual(EXHIBITS.map(({ file }) => file));
  });

  it('has an exhibit for every switch', () => {
    expect([...EXHIBITS.map(({ bug }) => bug), ...WITHOUT_EXHIBIT].sort()).toEqual([...BUG_NAMES].sort());
  });

  it('expects checks that there are', () => {
    const known = [...CHECK_NAMES, 'assertion', 'deadlock'];
    expect(EXHIBITS.flatMap(({ finding }) => finding).filter((name) => !known.includes(name))).toEqual([]);
  });

  it.each(EXHIBITS)(
    '$file turns its own switch on, for where it is found',
    async ({ file, bug, architectures }) => {
      const { kernelBugs, arch = 'both' } = await exhibitNamed(file);
      expect({ kernelBugs, arch }).toEqual({
        kernelBugs: [bug],
        arch: architectures.length === 1 ? architectures[0] : 'both',
      });
    },
  );

  it.each(EXHIBITS)('$file says how it is explored, and is no longer than a page', ({ file }) => {
    const text = readFileSync(join(FOLDER, file), 'utf8');
    expect(text).toContain(`tablewalk explore ${FOLDER}/${file}`);
    expect(text).toContain('--no-bugs');
    expect(text).toMatch(/CVE-\d+|commit|, (\w+ )?\w+ 20\d\d/);
    expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(LINES);
  });
});

describe(PAGE, () => {
  it('has a line for every exhibit', async () => {
    const [begin = ''] = BEGIN.exec(page) ?? [];
    const before = page.slice(0, page.indexOf(begin) + begin.length);
    const after = page.slice(page.indexOf(END));
    await expect(`${before}\n${table()}\n${after}`).toMatchFileSnapshot(`../../${PAGE}`);
  });

  it('links to files that are there', () => {
    const links = [...page.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map((match) => match[1] as string);
    expect(links.length).toBeGreaterThan(EXHIBITS.length);
    expect(links.filter((link) => !existsSync(join(dirname(PAGE), link)))).toEqual([]);
  });
});

function table(): string {
  const head = '| exhibit | what the old code does | source | switch | found as |\n|---|---|---|---|---|\n';
  return `${head}${EXHIBITS.map(row).join('')}`;
}

function row({ file, bug, architectures, finding }: Exhibit): string {
  const { title, source } = Object.values(BUGS).find(({ name }) => name === bug) ?? { title: '', source: '' };
  const where = architectures.length === 1 ? ` (${architectures[0]})` : '';
  const found = finding.map((name) => `\`${name}\``).join(' or ');
  return `| [${file}](../${FOLDER}/${file})${where} | ${title} | ${source} | \`${bug}\` | ${found} |\n`;
}
