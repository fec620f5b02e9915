/** What only a process of its own shows: exit status, a reader that goes away, Ctrl-C. */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { linkPackage, nodeOptions, projectFolder } from '../support/child.ts';

const main = join(projectFolder, 'src/cli/main.ts');
const vectors = 'test/vectors/x86_64.jsonl.gz';
const dump = [
  '--dump',
  'test/real/x86_64-4level-linux6.1.core.gz',
  '--regs',
  'test/real/x86_64-4level-linux6.1.regs.json',
];

const start = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, [...nodeOptions, main, ...args], { cwd: projectFolder });

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Collects both streams; `onOutput` sees each piece of standard output, and may close it or send a signal. */
function ended(child: ChildProcess, onOutput: (child: ChildProcess) => void = () => {}): Promise<Ended> {
  const written = { stdout: '', stderr: '' };
  child.stdout?.on('data', (bytes: Buffer) => {
    written.stdout += bytes.toString();
    onOutput(child);
  });
  child.stderr?.on('data', (bytes: Buffer) => {
    written.stderr += bytes.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, ...written }));
  });
}

/** Presses Ctrl-C after a while; later, when the process was not even listening, or had done nothing yet, by then. */
async function interrupted(args: readonly string[], begun: RegExp, signals = 1): Promise<Ended> {
  for (let delay = 1500; ; delay *= 2) {
    const child = start(args);
    for (let signal = 0; signal < signals; signal++) {
      setTimeout(() => child.kill('SIGINT'), delay + 30 * signal);
    }
    const result = await ended(child);
    if ((result.status !== null && begun.test(result.stdout)) || delay > 15_000) return result;
  }
}

describe('the command as a process', () => {
  it('says in its exit status that all is well', async () => {
    const { status, stdout, stderr } = await ended(start(['decode', 'pf-error', '7']));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^page-fault error code = 0x0*7$/m);
  });

  it('says in its exit status that the input is bad', async () => {
    const result = await ended(start(['verify', 'not-there.jsonl']));
    expect(result).toEqual({ status: 2, stdout: '', stderr: 'tablewalk: not-there.jsonl: no such file\n' });
  });

  it.each([
    ['while it writes', ['maps', ...dump, '--all']],
    ['before it writes', ['verify', vectors, '--only', 'x86-00000*']],
  ])('ends quietly when the reader of its output goes away %s', async (when, args) => {
    const child = start(args);
    if (when === 'before it writes') child.stdout?.destroy();
    const { status, stderr } = await ended(child, ({ stdout }) => stdout?.destroy());
    expect({ status, stderr }).toEqual({ status: 141, stderr: '' });
  });

  it('shows on Ctrl-C what it has found until then, and says so in its exit status', async () => {
    // More vectors than any machine runs before the signal is there.
    const { status, stdout, stderr } = await interrupted(
      ['verify', ...Array<string>(500).fill(vectors)],
      /[1-9]\d* passed/,
    );
    expect({ status, stderr }).toEqual({ status: 130, stderr: '' });
    expect(stdout).toMatch(/\n[1-9]\d* passed, 0 failed \(stopped early\)\n$/);
  });

  it('ends an experiment at Ctrl-C, with the measurements made until then', async () => {
    const sizes = Array.from({ length: 2000 }, (_, i) => 8 + 2 * i).join();
    const { status, stdout, stderr } = await interrupted(
      ['bench', 'remote-access', '--bytes', sizes],
      /^ {2}v0 /m,
    );
    expect({ status, stderr }).toEqual({ status: 130, stderr: '' });
    expect(stdout).toMatch(/\nread of 8 B, pages present, one VMA\n {2}v0 /);
    expect(stdout).not.toMatch(/mprotect of another VMA\n {2}v0 /);
  });

  it('ends a run at Ctrl-C, with the timeline until then', async () => {
    const args = ['run', join(projectFolder, 'test/cli/endless.ts'), '--steps', '1000000000'];
    const { status, stdout } = await interrupted(args, /interrupted after/);
    expect(status).toBe(130);
    expect(stdout).toContain('interrupted after');
  });
});

describe('an exploration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tablewalk-stopped-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  it('keeps at Ctrl-C what it has, also where the signal comes twice, as under npm', async () => {
    const checkpoint = join(folder, 'stopped.json');
    const args = ['explore', 'examples/fork-cow.yaml', '--seconds', '500', '--checkpoint', checkpoint];
    const { status, stdout } = await interrupted(args, /./, 3);
    expect(status).toBe(130);
    expect(stdout).toMatch(/nothing found in [\d,]+ runs, then it was stopped/);
    expect(JSON.parse(readFileSync(checkpoint, 'utf8'))).toMatchObject({ version: 1 });
  });
});

describe('a scenario outside the clone', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tablewalk-outside-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([
    ['with no package.json', 'none', () => {}],
    ['of CommonJS modules', 'commonjs', (at: string) => writePackage(at, 'commonjs')],
    ['of ECMAScript modules', 'module', (at: string) => writePackage(at, 'module')],
    ['with a tablewalk of its own that has no src folder', 'installed', installForeign],
    ['with this tablewalk linked', 'linked', linkPackage],
  ])('runs in a folder %s', async (_, name, prepare) => {
    const at = join(folder, name);
    mkdirSync(at);
    prepare(at);
    cpSync(join(projectFolder, 'examples/peek.ts'), join(at, 'peek.ts'));
    const { status, stdout, stderr } = await ended(start(['run', join(at, 'peek.ts'), '--quiet']));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain('peek at a neighbour: finished');
  });

  function writePackage(at: string, type: string): void {
    writeFileSync(join(at, 'package.json'), JSON.stringify({ name: 'outside', type }));
  }

  /** As npm installs it: the condition for the source leads to a file that is not there. */
  function installForeign(at: string): void {
    writePackage(at, 'module');
    mkdirSync(join(at, 'node_modules/tablewalk'), { recursive: true });
    cpSync(join(projectFolder, 'package.json'), join(at, 'node_modules/tablewalk/package.json'));
  }
});
