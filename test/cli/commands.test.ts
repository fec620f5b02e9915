import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { version } from '../../src/cli/version.ts';
import { runCommand } from '../support/command.ts';

const real = 'test/real/x86_64-4level-linux6.1';
const dump = ['--dump', `${real}.core.gz`, '--regs', `${real}.regs.json`, '--root', 'target'];
const vectors = 'test/vectors/x86_64.jsonl.gz';
const folder = mkdtempSync(join(tmpdir(), 'tablewalk-commands-'));
const ESCAPE = '\x1b[';

afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

describe('the version', () => {
  it('is that of package.json', async () => {
    const { version: packageVersion } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      version: string;
    };
    expect(version).toBe(packageVersion);
    const result = await runCommand(['--version']);
    expect(result).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe('without a command', () => {
  it('says in one line which there are', async () => {
    expect(await runCommand([])).toEqual({
      status: 2,
      stdout: '',
      stderr:
        "tablewalk: no command: expected one of run, explore, verify, replay, walk, maps, decode, bench; 'tablewalk --help' tells more\n",
    });
  });
});

describe('maps --check', () => {
  const rows = gunzipSync(readFileSync(`${real}.truth-target.jsonl.gz`))
    .toString()
    .trim()
    .split('\n');
  const fileOf = (name: string, lines: readonly (string | undefined)[]): string => {
    const file = join(folder, name);
    writeFileSync(file, lines.join('\n'));
    return file;
  };
  const all = fileOf('all.jsonl', rows);
  const unlisted = fileOf('unlisted.jsonl', rows.slice(1));
  const differing = fileOf('differing.jsonl', [rows[0]?.replace('"pa":"0x', '"pa":"0x1'), ...rows.slice(1)]);

  it.each([
    ['every row agrees', [all], 0],
    ['every row agrees and nothing else is mapped', [all, '--exact'], 0],
    ['a mapping has no row', [unlisted], 0],
    ['a mapping has no row, and that is asked for', [unlisted, '--exact'], 1],
    ['a row differs', [differing], 1],
    ['a row differs, and that is asked for', [differing, '--exact'], 1],
    ['a row of the second file differs', [all, differing], 1],
  ])('when %s', async (_, args, status) => {
    const result = await runCommand(['maps', ...dump, '--check', ...args]);
    expect(result.status).toBe(status);
    expect(result.stdout).toMatch(/rows agree, [01] differ/);
  });

  it('reports a mapping without a row also when it is no failure', async () => {
    const { stdout } = await runCommand(['maps', ...dump, '--check', unlisted]);
    expect(stdout).toContain('226 rows agree, 0 differ, 1 mappings without a row');
  });
});

describe('verify', () => {
  const args = ['verify', vectors, '--only', 'x86-00000*'];

  it('prints the same text twice: how fast it was is for terminals only', async () => {
    const first = await runCommand(args);
    expect(first).toEqual(await runCommand(args));
    expect(first.stderr).toBe('');
  });

  it('says on a terminal how fast it was', async () => {
    const { stdout, stderr } = await runCommand(args, { columns: 100 });
    expect(stderr).toMatch(/\d s of CPU time, [\d,]+ vectors\/s/);
    expect(stdout).not.toContain('vectors/s');
  });
});

describe('decode', () => {
  it.each([['--level=-1'], ['--level', '-1']])('takes a negative level as %s %s', async (...option) => {
    const value = '0x60000040000f43';
    const result = await runCommand(['decode', 'arm64.descriptor', value, '--lpa', ...option]);
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout).toMatch(/level -1/);
  });

  it.each([
    ['18446744073709551615', '0xffffffffffffffff'],
    ['0xFFFF_FFFF_FFFF_FFFF', '0xffffffffffffffff'],
    ['0', '0x0000000000000000'],
  ])('reads %s', async (text, value) => {
    const { stdout } = await runCommand(['decode', 'x86_64.pte', text]);
    expect(stdout).toContain(`PTE = ${value}`);
  });
});

describe('colours', () => {
  const args = ['run', 'examples/fork-cow.yaml'];
  const onTerminal = { columns: 120 };

  it.each([
    ['on a terminal', {}, onTerminal, true],
    ['not into a file', {}, {}, false],
    ['not in a file of a build machine', { CI: 'true' }, {}, false],
    ['not when NO_COLOR is set', { NO_COLOR: '1' }, onTerminal, false],
    ['in a file when FORCE_COLOR is set', { FORCE_COLOR: '1' }, {}, true],
    ['not when both are set', { FORCE_COLOR: '1', NO_COLOR: '1' }, onTerminal, false],
    ['not on a terminal that has none', { TERM: 'dumb' }, onTerminal, false],
  ])('are %s', async (_, environment, options, coloured) => {
    for (const name of ['NO_COLOR', 'FORCE_COLOR', 'CI']) vi.stubEnv(name, '');
    vi.stubEnv('TERM', 'xterm');
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    const { stdout } = await runCommand(args, options);
    expect(stdout.includes(ESCAPE)).toBe(coloured);
  });
});
