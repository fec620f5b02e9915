/** The examples of each command's help do what they say, in a clone. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.ts';

async function examplesOf(command: string): Promise<string[][]> {
  const { stdout } = await runCommand([...command.split(' '), '--help']);
  const text = stdout.slice(stdout.search(/^Examples?:$/m)).replaceAll(/\\\n\s*/g, '');
  return [...text.matchAll(/^ {2}tablewalk (.*)$/gm)].map((match) =>
    (match[1] as string).replaceAll("'", '').split(' '),
  );
}

describe('the examples of the help', () => {
  it.each(['run', 'verify', 'replay', 'walk', 'maps', 'decode', 'bench remote-access'])(
    'of %s run',
    async (command) => {
      const examples = await examplesOf(command);
      expect(examples.length).toBeGreaterThan(0);
      for (const args of examples) {
        expect({ args, ...(await runCommand(args)) }).toMatchObject({ args, status: 0, stderr: '' });
      }
    },
    120_000,
  );
});

describe('the timeline in the README', () => {
  it('is what the command prints, line by line', async () => {
    const shown = /```\n( +cycles [^`]*)```/.exec(readFileSync('README.md', 'utf8'))?.[1] ?? '';
    const { stdout } = await runCommand(['run', 'examples/remote-read.ts']);
    // Cycles change with every step that a kernel path gains.
    const masked = (text: string) => text.replace(/^ *\d+(?= )/gm, '#').trimEnd();
    const pieces = shown.split('      ...\n').map(masked);
    expect(pieces).toHaveLength(3);
    for (const piece of pieces) expect(masked(stdout)).toContain(piece);
  });
});

describe('what the README shows of explore', () => {
  it('is what the command prints, line by line', async () => {
    const shown =
      /```\n( +\.\.\.\n[^`]*schedule: [^`]*)```/.exec(readFileSync('README.md', 'utf8'))?.[1] ?? '';
    const { stdout, status } = await runCommand([
      'explore',
      'examples/questions/two-vmas.ts',
      '--design',
      'v1',
    ]);
    expect(status).toBe(1);
    // Steps and frames change with every step that a kernel path gains.
    const masked = (text: string) =>
      text
        .replace(/^ *\d+(?= )/gm, '#')
        .replace(/0x1[0-9a-f]{2}\b|@1[0-9a-f]{2}|\d+ steps|step \d+|\d\*\d+/g, '#');
    const pieces = shown.split('      ...\n').filter((piece) => piece !== '');
    expect(pieces).toHaveLength(3);
    for (const piece of pieces) expect(masked(stdout)).toContain(masked(piece).trimEnd());
  });

  it('counts the exhibits of the museum', () => {
    const files = readdirSync('examples/bugs').filter((name) => name.endsWith('.ts'));
    expect(readFileSync('README.md', 'utf8')).toContain(`: ${files.length} documented kernel bugs`);
  });
});

describe('the page that the help of walk names', () => {
  it('is mapped at the end of the example', async () => {
    const example = (await examplesOf('walk')).find((args) => args.includes('--scenario')) as string[];
    expect((await runCommand(example)).stdout).toMatch(/^PTE at 0x/m);
    expect((await runCommand(example)).stdout).not.toContain('#PF');
  });
});

describe('decode', () => {
  it('takes the end of a name that only one kind has', async () => {
    const short = await runCommand(['decode', 'pte', '0x67']);
    expect(short).toEqual(await runCommand(['decode', 'x86_64.pte', '0x67']));
    expect(short.status).toBe(0);
  });

  it('suggests the nearest kind', async () => {
    const { status, stderr } = await runCommand(['decode', 'pf-eror', '1']);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining("did you mean 'pf-error'?"),
    });
  });
});

describe('walk through a dump', () => {
  const real = 'test/real/x86_64-4level-linux6.1';
  const walk = (...args: string[]) =>
    runCommand([
      'walk',
      '--dump',
      `${real}.core.gz`,
      '--regs',
      `${real}.regs.json`,
      '--root',
      'target',
      '--brief',
      ...args,
    ]);

  it('says that --user is missing where SMAP refuses the access, and only there', async () => {
    const hint = /--user asks as the process does/;
    expect((await walk('0x401000')).stdout).toMatch(hint);
    expect((await walk('0x401000', '--user')).stdout).not.toMatch(hint);
    expect((await walk('0')).stdout).not.toMatch(hint);
  });
});
