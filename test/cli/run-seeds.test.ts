import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'tablewalk-seeds-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Two processes store to one shared page: which comes last is up to the schedule. */
const race = join(folder, 'race.yaml');
writeFileSync(
  race,
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
  - name: the first comes last
    memory: { process: first, address: $page, value: 1 }
`,
);

describe('run --seeds', () => {
  it('says how many runs there were when none fails', async () => {
    const result = await runCommand(['run', 'examples/fork-cow.yaml', '--seeds', '3-12']);
    expect(result).toEqual({ status: 0, stdout: '10 runs, none failed\n', stderr: '' });
  });

  it('takes one seed as well', async () => {
    const { stdout } = await runCommand(['run', 'examples/fork-cow.yaml', '--seeds', '7']);
    expect(stdout).toBe('1 run, none failed\n');
  });

  it('stops at the first seed that fails, with the schedule that repeats it', async () => {
    const { status, stdout } = await runCommand(['run', race, '--seeds', '1-200']);
    expect(status).toBe(1);
    expect(stdout).toContain('ASSERTION FAILED: "the first comes last"');
    const seed = Number(/seed (\d+) failed/.exec(stdout)?.[1]);
    expect(stdout).toContain(`${seed} ${seed === 1 ? 'run' : 'runs'}, seed ${seed} failed`);
    if (seed > 1) {
      const before = await runCommand(['run', race, '--seeds', `1-${seed - 1}`]);
      expect(before.stdout).toBe(`${seed - 1} ${seed === 2 ? 'run' : 'runs'}, none failed\n`);
    }
    const schedule = /^schedule: (.*)$/m.exec(stdout)?.[1] as string;
    const again = await runCommand(['run', race, '--quiet', '--schedule', schedule]);
    expect(again).toMatchObject({ status: 1, stdout: expect.stringContaining('the first comes last') });
  });

  it.each([
    [['--seeds', '9-2'], 'option --seeds: expected a whole number from 9 to 2147483647'],
    [['--seeds', '1-2-3'], 'option --seeds: expected A-B'],
    [['--seeds', '1-2', '--seed', '1'], 'options --seeds and --seed exclude each other'],
    [['--seeds', '1-2', '--policy', 'round-robin'], 'options --seeds and --policy round-robin exclude'],
    [['--seeds', '1-2', '--json'], 'options --seeds and --json exclude each other'],
  ])('refuses %j', async (args, text) => {
    const { status, stderr } = await runCommand(['run', race, ...args]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(text) });
  });
});
