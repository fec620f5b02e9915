/**
 * The text each command prints, whole, as files in test/golden. Times in cycles, counts of steps and schedules are
 * masked: they change with every step that a kernel path gains, and have tests of their own.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.ts';

const core = 'test/real/x86_64-4level-linux6.1.core.gz';
const dump = ['--dump', core, '--regs', 'test/real/x86_64-4level-linux6.1.regs.json'];
const dumpArm64 = [
  '--dump',
  'test/real/arm64-4k-mte-linux6.12.core.gz',
  '--regs',
  'test/real/arm64-4k-mte-linux6.12.regs.json',
];
const vectors = 'test/vectors/x86_64.jsonl.gz';
const traces = 'test/traces/directed-x86_64.jsonl.gz';
const truth = (name: string): string => `test/real/x86_64-4level-linux6.1.truth-${name}.jsonl.gz`;

const folder = mkdtempSync(join(tmpdir(), 'tablewalk-golden-'));
const wrongTruth = join(folder, 'wrong.truth.jsonl');
const wrongTruthArm64 = join(folder, 'wrong-arm64.truth.jsonl');
const wrongTrace = join(folder, 'wrong.trace.jsonl');
const wrongVector = join(folder, 'wrong.vector.jsonl');

const linesOf = (file: string): string[] => gunzipSync(readFileSync(file)).toString().trim().split('\n');

beforeAll(() => {
  const rows = linesOf(truth('target'));
  // One row says another frame; one mapping is not listed.
  writeFileSync(wrongTruth, [rows[0]?.replace(/"pa":"0x/, '"pa":"0x1'), ...rows.slice(2)].join('\n'));
  const points = linesOf('test/real/arm64-4k-mte-linux6.12.truth-target.jsonl.gz');
  // One row says another frame, one that EL0 cannot read.
  const [first, second] = points.map((line) => line.replace('"el0":true', '"el0":false'));
  writeFileSync(
    wrongTruthArm64,
    [points[0]?.replace(/"pa":"0x/, '"pa":"0x1'), second, first, ...points.slice(3)].join('\n'),
  );
  const trace = linesOf(traces).find((line) => line.includes('"linux-x86-d001"')) as string;
  // The zero page that a read maps is said to be the process's own.
  writeFileSync(wrongTrace, trace.replace('[["0x100000000000",1,"PZ"]]', '[["0x100000000000",1,"PX"]]'));
  const vector = linesOf(vectors)[1] as string;
  writeFileSync(wrongVector, vector.replace('"pa":"0x', '"pa":"0x1'));
});

afterAll(() => rmSync(folder, { recursive: true }));

interface Row {
  readonly name: string;
  readonly args: readonly string[];
  readonly status?: number;
}

const rows: readonly Row[] = [
  { name: 'help', args: ['--help'] },
  ...['run', 'explore', 'verify', 'replay', 'walk', 'maps', 'decode'].map((command) => ({
    name: `help-${command}`,
    args: [command, '--help'],
  })),
  { name: 'help-bench', args: ['bench', '--help'] },
  { name: 'help-bench-remote-access', args: ['bench', 'remote-access', '--help'] },
  { name: 'bench-protocol', args: ['bench', 'remote-access', '--protocol', '--designs', 'v0,v4,n4'] },
  { name: 'run-fork-cow', args: ['run', 'examples/fork-cow.yaml'] },
  { name: 'run-vma-locks', args: ['run', 'examples/mm/vma-locks.ts'] },
  { name: 'run-huge-pages', args: ['run', 'examples/mm/huge-pages.ts'] },
  { name: 'run-lock-order', args: ['run', 'examples/mm/lock-order.ts', '--quiet'], status: 1 },
  { name: 'run-post-copy', args: ['run', 'examples/mm/userfaultfd-post-copy.ts'] },
  { name: 'run-fork-cow-summary', args: ['run', 'examples/fork-cow.yaml', '--quiet'] },
  { name: 'verify', args: ['verify', vectors, '--only', 'seq-pcid_switch', 'x86-00000*'] },
  { name: 'verify-difference', args: ['verify', wrongVector], status: 1 },
  { name: 'replay-list', args: ['replay', traces, '--only', 'linux-x86-d00*', '--list'] },
  { name: 'replay-steps', args: ['replay', traces, '--only', 'linux-x86-d031', '--steps'] },
  { name: 'replay-difference', args: ['replay', wrongTrace], status: 1 },
  { name: 'walk-dump', args: ['walk', ...dump, '--root', 'target', '--user', '--brief', '0x401000', '0'] },
  {
    name: 'walk-dump-arm64',
    args: [
      'walk',
      ...dumpArm64,
      '--arch',
      'arm64',
      '--root',
      'target',
      '--brief',
      '0x401000',
      '0xffff000000200000',
    ],
  },
  {
    name: 'walk-arm64-vector',
    args: ['walk', '--arch', 'arm64', '--vectors', 'test/vectors/arm64.jsonl.gz', '--id', 'arm64-000001'],
  },
  {
    name: 'verify-arm64',
    args: ['verify', 'test/vectors/arm64.jsonl.gz', '--only', 'stzgm', 'arm64-00000*'],
  },
  {
    name: 'decode-arm64-descriptor',
    args: ['decode', 'arm64.descriptor', '--granule', '16K', '--level', '2', '0x60000044000f45'],
  },
  { name: 'decode-arm64-insn', args: ['decode', 'mte-insn', '0xd9203c22'] },
  { name: 'walk-vector', args: ['walk', '--vectors', vectors, '--id', 'x86-000001'] },
  { name: 'maps-target', args: ['maps', ...dump, '--root', 'target'] },
  { name: 'maps-check', args: ['maps', ...dump, '--root', 'target', '--check', truth('target')] },
  { name: 'maps-check-wrong', args: ['maps', ...dump, '--root', 'target', '--check', wrongTruth], status: 1 },
  {
    name: 'maps-check-arm64-wrong',
    args: ['maps', ...dumpArm64, '--root', 'target', '--check', wrongTruthArm64],
    status: 1,
  },
  { name: 'decode-kinds', args: ['decode'] },
  { name: 'decode-pte', args: ['decode', 'x86_64.pte', '0x8000000012345067'] },
];

/** The column of cycles (in `replay --steps` five characters further in), and what is counted in steps. */
const masked = (name: string, text: string): string => {
  const named = text.replaceAll(folder, 'FOLDER');
  if (!/^(run|replay)/.test(name)) return named;
  return named
    .replace(/^(?: {5})?[ \d]{8}\d(?= {2})/gm, (time) => '#'.padStart(time.length))
    .replace(/[\d,]+ (steps|cycles)/g, '# $1')
    .replace(/CPU (\d+): [\d,]+/g, 'CPU $1: #')
    .replace(/^schedule: .*$/m, 'schedule: #');
};

describe('what a command prints', () => {
  it.each(rows)('$name', async ({ name, args, status = 0 }) => {
    const result = await runCommand(args);
    expect(result.stderr).toBe('');
    expect(result.status).toBe(status);
    await expect(masked(name, result.stdout)).toMatchFileSnapshot(`../golden/cli-${name}.txt`);
  });

  it.each(rows.filter(({ name }) => name.startsWith('help')))(
    '$name has an example, in 110 columns',
    async ({ args }) => {
      const { stdout } = await runCommand(args);
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(110);
      if (args.length > 1) expect(stdout).toMatch(new RegExp(`^Examples?:\\n  tablewalk ${args[0]} `, 'm'));
    },
  );
});
