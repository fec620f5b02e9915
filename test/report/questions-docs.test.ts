/**
 * docs/questions.md: what stands between each pair of its marks is what the commands there find (`vitest -u` writes it anew), and
 * every scenario of examples/questions is asked.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COST_PROFILES } from '../../src/hardware/cost-profile.ts';
import type { DesignName } from '../../src/kernel/remote/design-names.ts';
import { explore } from '../support/exhibits.ts';
import {
  depthFirst,
  type Experiment,
  make,
  ROWS_HEAD,
  reportOf,
  rowOf,
  scenarioNamed,
} from '../support/question-rows.ts';
import { exploredTable } from '../support/remote-explored.ts';

const FILE = 'docs/questions.md';
const text = readFileSync(FILE, 'utf8');
const RIGHT = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const satisfies readonly DesignName[];
const COLLAPSED = 'questions/table-collapsed';

const rows = async (experiments: readonly Experiment[]): Promise<string> => {
  let table = ROWS_HEAD;
  for (const experiment of experiments) table += rowOf(experiment, await make(experiment));
  return table;
};

/**
 * The reader has opened the target's memory, and the collapser has filled the 512 places of the huge page: what comes after
 * is the race.
 */
async function untilRetracted(): Promise<string> {
  const { replayed } = explore(await scenarioNamed(COLLAPSED), 'x86_64', { design: 'v0', schedule: '2' });
  if (replayed === null) throw new Error('the straight run of the collapse has a finding');
  const stepsOf = (name: string) => replayed.trace.filter(({ task }) => task === name);
  const before = (name: string, last: (operation: string) => boolean): number =>
    stepsOf(name).findIndex(({ operation }) => last(operation));
  let calls = 0;
  const opened = before('reader', (operation) => operation === 'syscall' && ++calls === 2);
  const filled = before('collapser', (operation) => operation === 'copy_user_highpage') + 1;
  const first = replayed.trace.findIndex(({ task }) => task !== 'target');
  return `2*${first} 4*${opened} 3*${filled}`;
}

async function collapsed(): Promise<string> {
  const schedule = await untilRetracted();
  const rest = { preemptions: 1, policy: 'dfs', schedule } as const;
  const quiet = { checksOff: ['lock-order'] };
  return rows([
    ...depthFirst(COLLAPSED, 1, ['v0', 'v1', 'v3', 'v4', 'v5', 'v6'], rest),
    { file: COLLAPSED, design: 'v2', ...rest },
    { file: COLLAPSED, design: 'v2', ...rest, ...quiet },
    ...depthFirst(COLLAPSED, 2, ['n3']),
  ]);
}

async function leftToMmapLock(): Promise<string> {
  let table = '| left to mmap_lock | by |\n|---|---|\n';
  // All of v0 is under mmap_lock.
  for (const design of RIGHT.slice(1)) {
    const [section] = await reportOf({ file: 'questions/absent-page', design });
    const reasons = (section?.table?.rows ?? []).map(([reason, times]) => `${reason}, ${times} time`);
    const what = reasons.length === 0 ? 'nothing' : reasons.join('; ');
    table += `| ${design}: ${what} | \`tablewalk run examples/questions/absent-page.ts --design ${design}\` |\n`;
  }
  return table;
}

async function faultKinds(): Promise<string> {
  const [section] = await reportOf({ file: 'questions/faults-under-vma-lock', design: 'v4' });
  const line = (cells: readonly unknown[]): string => `| ${cells.join(' | ')} |\n`;
  const { columns = [], rows: kinds = [] } = section?.table ?? {};
  const head = line(columns.map((column) => (typeof column === 'string' ? column : column.title)));
  return `    tablewalk run examples/questions/faults-under-vma-lock.ts --design v4\n\n${head}|---|---|---|\n${kinds.map(line).join('')}`;
}

async function firstLookUp(): Promise<string> {
  const profile = COST_PROFILES['sapphire-rapids'];
  if (profile === undefined) throw new Error('no such profile');
  const file = 'questions/first-look-up';
  const tables: (readonly (readonly unknown[])[])[] = [];
  for (const design of RIGHT) tables.push((await reportOf({ file, design, profile }))[0]?.table?.rows ?? []);
  const names = (tables[0] ?? []).map(([name]) => String(name));
  const cells = names.map((name, row) => [name, ...tables.map((table) => String(table[row]?.[1]))]);
  const commands = `    for d in ${RIGHT.join(' ')}; do tablewalk run examples/${file}.ts --profile sapphire-rapids --design $d; done\n\n`;
  const head = `| | ${RIGHT.join(' | ')} |\n|---|${'--:|'.repeat(RIGHT.length)}\n`;
  return commands + head + cells.map((line) => `| ${line.join(' | ')} |\n`).join('');
}

const own = { file: 'remote/v2-own-mm' } as const;
const BLOCKS: Readonly<Record<string, () => Promise<string>>> = {
  'two-vmas': () =>
    rows([
      ...depthFirst('questions/two-vmas', 2, RIGHT),
      ...depthFirst('questions/two-vmas', 1, ['v1', 'v3', 'v4', 'v5'], { arch: 'arm64' }),
    ]),
  'neighbour-unmapped': () => rows(depthFirst('questions/neighbour-unmapped', 2, [...RIGHT, 'n3'])),
  'table-given-back': () => rows(depthFirst('questions/table-given-back', 2, [...RIGHT, 'n3'])),
  'table-collapsed': collapsed,
  'v2-own-mm': () =>
    rows([
      { ...own, design: 'v2' },
      { ...own, design: 'v2', checksOff: ['lock-order'] },
      { ...own, design: 'v1', runs: 10 },
    ]),
  'absent-page': () => rows(depthFirst('questions/absent-page', 2, RIGHT)),
  'left to mmap_lock': leftToMmapLock,
  'faults-under-vma-lock': faultKinds,
  'fault-beside-writer': () =>
    rows([
      ...depthFirst('questions/fault-beside-writer', 2, ['v0', 'v4']),
      { file: 'remote/s08-userfaultfd-missing', design: 'v4', runs: 100 },
    ]),
  'page-reused': () => rows(depthFirst('questions/page-reused', 1, ['v0', 'v1', 'v4', 'v5', 'v6', 'n3'])),
  'first-look-up': firstLookUp,
  'remote-explored': async () => exploredTable(),
};

const begin = (name: string): string => `<!-- begin: ${name} -->\n`;
const END = '<!-- end -->';

/** The page with a block in the place of what stands between its marks. */
function withBlock(page: string, name: string, block: string): string {
  const at = page.indexOf(begin(name));
  if (at < 0) throw new Error(`${FILE} has no mark for ${name}`);
  const from = at + begin(name).length;
  return `${page.slice(0, from)}\n${block}\n${page.slice(page.indexOf(END, from))}`;
}

describe(FILE, () => {
  it('says what its commands find', async () => {
    let page = text;
    for (const [name, block] of Object.entries(BLOCKS)) page = withBlock(page, name, await block());
    await expect(page).toMatchFileSnapshot(`../../${FILE}`);
  }, 240_000);

  it('has no mark that nothing writes', () => {
    const marks = [...text.matchAll(/<!-- begin: (.*) -->/g)].map(([, name]) => name);
    expect(marks.toSorted()).toEqual(Object.keys(BLOCKS).toSorted());
  });

  it('asks every scenario of examples/questions', () => {
    for (const file of readdirSync('examples/questions'))
      expect(text).toContain(`examples/questions/${file}`);
  });

  it('links to files that are there', () => {
    const links = [...text.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map((match) => match[1] as string);
    expect(links.filter((link) => !existsSync(join(dirname(FILE), link)))).toEqual([]);
  });
});
