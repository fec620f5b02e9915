/** `tablewalk explore`: exit statuses, pictures, replays, checkpoints. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { nodeOptions, projectFolder } from '../support/child.ts';
import { runCommand } from '../support/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'tablewalk-explore-'));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

/** Two processes store to one shared page: which comes last is up to the schedule. */
const race = file(
  'race.yaml',
  `title: a race
cpus: 2
programs:
  first:
    - mmap: { bytes: 4096, prot: rw, shared: true }
      as: page
    - fork: second
    - store: { address: $page, value: 1 }
    - wait-for: written
children:
  second:
    - store: { address: $page, value: 2 }
    - set: { variable: written, value: 1 }
placement: { first: 0, second: 1 }
finally:
  - name: the second comes last
    memory: { process: first, address: $page, value: 2 }
`,
);

const deadlock = file(
  'deadlock.yaml',
  `title: each waits for the other
cpus: 2
programs:
  first:
    - wait-for: one
    - set: { variable: other, value: 1 }
  second:
    - wait-for: other
    - set: { variable: one, value: 1 }
placement: { first: 0, second: 1 }
`,
);

const fine = file(
  'fine.yaml',
  `title: two that have nothing to do with each other
cpus: 2
programs:
  first:
    - brk: { address: 0 }
  second:
    - brk: { address: 0 }
placement: { first: 0, second: 1 }
`,
);

const scheduleOf = (text: string): string => /^schedule: (.*)$/m.exec(text)?.[1] as string;

/** What is counted in steps, runs and checks changes with every step that a kernel path gains, and with every check. */
const masked = (text: string): string =>
  text
    .replaceAll(folder, 'FOLDER')
    .replace(/^ *\d+(?= {2})/gm, (number) => '#'.padStart(number.length))
    .replace(/… \d+ steps alone …/g, '… # steps alone …')
    .replace(/ last at step [\d,]+:/g, ' last at step #:')
    .replace(/(\.ts):\d+\)/g, '$1:#)')
    .replace(/[\d,]+ (steps|distinct states?|checks|runs?)\b/g, '# $1')
    .replace(/(in run|--schedule|^schedule:) .*$/gm, '$1 #');

describe('explore', () => {
  it('says 1 and shows the simplest run of what it finds', async () => {
    const { status, stdout, stderr } = await runCommand(['explore', race, '--runs', '200']);
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout).toContain('FOUND: assertion "the second comes last"');
    await expect(masked(stdout)).toMatchFileSnapshot('../golden/cli-explore-race.txt');
  });

  it('says 1 and shows who waits for what in a deadlock', async () => {
    const { status, stdout } = await runCommand(['explore', deadlock, '--runs', '10']);
    expect(status).toBe(1);
    await expect(masked(stdout)).toMatchFileSnapshot('../golden/cli-explore-deadlock.txt');
  });

  it('says 0 and how far it went when nothing is found', async () => {
    const { status, stdout } = await runCommand(['explore', fine, '--runs', '20', '--policy', 'random']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/nothing found in 20 runs, the bound; not every schedule was tried$/m);
    expect(stdout).toMatch(
      /^search random, seed 1: [\d,]+ distinct states?, longest run \d+ steps, \d+ checks on$/m,
    );
  });

  it('says that every schedule was tried', async () => {
    const { status, stdout } = await runCommand(['explore', fine, '--policy', 'dfs', '--preemptions', '0']);
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /nothing found: every schedule with at most 0 preemptions was tried, in \d+ runs?$/m,
    );
  });

  it('says which checks are off', async () => {
    const { stdout } = await runCommand(['explore', fine, '--runs', '1', '--no-check', 'lock-order']);
    expect(stdout).toContain('WARNING: checks that are off: lock-order\n');
  });
});

describe('an exploration', () => {
  it('gives the same answer for the same seed', async () => {
    const args = ['explore', race, '--seed', '7', '--runs', '200', '--json'];
    const [one, two] = await Promise.all([runCommand(args), runCommand(args)]);
    expect(one).toEqual(two);
  });

  it('goes on from a checkpoint to the answer of one that was not interrupted', async () => {
    const checkpoint = join(folder, 'half.json');
    const args = ['explore', fine, '--policy', 'pct', '--seed', '3'];
    await runCommand([...args, '--runs', '15', '--checkpoint', checkpoint]);
    const rest = await runCommand([...args, '--runs', '40', '--checkpoint', checkpoint]);
    expect(rest).toEqual(await runCommand([...args, '--runs', '40']));
    expect(existsSync(`${checkpoint}.${process.pid}.tmp`)).toBe(false);
  });

  it('shows what was found before the checkpoint again', async () => {
    const checkpoint = join(folder, 'found.json');
    const args = ['explore', race, '--runs', '200', '--checkpoint', checkpoint];
    expect(await runCommand(args)).toEqual(await runCommand(args));
  });

  it.each([
    [['--seed', '4'], /other\.json: the checkpoint is of another exploration: configuration: /],
    [['--no-check', 'lock-order'], /: checks off: none in the file, lock-order here\n$/],
    [['--policy', 'random'], /: policy: pct in the file, random here\n$/],
    [['--depth', '4'], /: depth: 3 in the file, 4 here\n$/],
    [['--shard', '1/2'], /: shard: 0\/1 in the file, 1\/2 here\n$/],
  ])('does not go on from a checkpoint with %j', async (more, says) => {
    const checkpoint = join(folder, 'other.json');
    await runCommand(['explore', fine, '--policy', 'pct', '--runs', '3', '--checkpoint', checkpoint]);
    const args = more[0] === '--policy' ? more : ['--policy', 'pct', ...more];
    const { status, stderr } = await runCommand([
      'explore',
      fine,
      ...args,
      '--runs',
      '6',
      '--checkpoint',
      checkpoint,
    ]);
    expect(status).toBe(2);
    expect(stderr).toMatch(says);
    expect(stderr.trim()).not.toContain('\n');
  });

  it('does not take anything else for a checkpoint', async () => {
    const { status, stderr } = await runCommand([
      'explore',
      fine,
      '--checkpoint',
      file('no.json', '{"a":1}'),
    ]);
    expect({ status, stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('not a checkpoint'),
    });
  });
});

describe('explore of a scenario that was edited since its checkpoint', () => {
  it('says so', async () => {
    const path = file('edited.yaml', readFileSync(fine, 'utf8'));
    const args = ['explore', path, '--runs', '3', '--checkpoint', join(folder, 'edited.json')];
    await runCommand(args);
    writeFileSync(path, readFileSync(fine, 'utf8').replace('address: 0', 'address: 4096'));
    expect(await runCommand(args)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/edited\.json: .*: the scenario has been edited since\n$/),
    });
  });
});

describe('explore --all', () => {
  it('has a line for every step', async () => {
    const { stdout } = await runCommand(['explore', race, '--schedule', '-', '--all']);
    expect(stdout).not.toContain('steps alone');
    const numbers = [...stdout.matchAll(/^ +(\d+) {2}/gm)].map(([, number]) => Number(number));
    expect([...new Set(numbers)]).toEqual(Array.from({ length: Math.max(...numbers) }, (_, at) => at + 1));
  });
});

describe('explore --schedule', () => {
  it('searches among what can come after a schedule', async () => {
    const { stdout } = await runCommand(['explore', race, '--runs', '200']);
    const [first] = scheduleOf(stdout).split(' ');
    const args = ['explore', race, '--schedule', first as string, '--policy', 'random', '--runs', '100'];
    expect(await runCommand(args)).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('second comes last'),
    });
  });

  it('says 2 for a schedule that does not fit', async () => {
    const { status, stderr } = await runCommand(['explore', race, '--schedule', '9*3']);
    expect(status).toBe(2);
    expect(stderr).toMatch(/the schedule does not fit this run/);
  });
});

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
}

const child = (args: readonly string[]): Ended => {
  const command = [...nodeOptions, join(projectFolder, 'src/cli/main.ts'), ...args];
  const { status, stdout } = spawnSync(process.execPath, command, { cwd: projectFolder, encoding: 'utf8' });
  return { status, stdout };
};

describe('the schedule of a finding', () => {
  it.each([
    ['race', race],
    ['deadlock', deadlock],
  ])(
    'of a %s replays to the same events in new processes',
    async (_, path) => {
      const { stdout } = await runCommand(['explore', path, '--runs', '200', '--json']);
      const { findings } = JSON.parse(stdout) as {
        findings: { schedule: string; timeline: { events: unknown[] }[] }[];
      };
      const schedule = findings[0]?.schedule as string;
      const events = findings[0]?.timeline.flatMap((step) => step.events);
      const replayed = child(['explore', path, '--schedule', schedule, '--json']);
      const again = JSON.parse(replayed.stdout) as { findings: typeof findings };
      expect(again.findings[0]?.timeline).toEqual(findings[0]?.timeline);
      const run = child(['run', path, '--schedule', schedule, '--json']);
      expect(run.status).toBe(1);
      expect((JSON.parse(run.stdout) as { events: unknown[] }).events).toEqual(events);
      expect(child(['run', path, '--schedule', schedule, '--json']).stdout).toBe(run.stdout);
    },
    60_000,
  );
});

describe('docs/explore.md', () => {
  it('has every check with its rule and source', async () => {
    const { CHECKS } = await import('../../src/check/races/registry.ts');
    const text = readFileSync('docs/explore.md', 'utf8');
    const missing = CHECKS.filter(
      ({ name, rule, source }) => !text.includes(`| \`${name}\` | ${rule} | ${source} |`),
    );
    expect(missing.map(({ name }) => name)).toEqual([]);
  });
});
