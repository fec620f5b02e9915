/**
 * How far the scenarios of examples/remote are explored under each design, and what must be found: for the test that does it, and
 * for the table of docs/questions.md.
 */
import type { DesignName } from '../../src/kernel/remote/design-names.ts';
import { commandOf, type Experiment } from './question-rows.ts';

export interface Explored extends Experiment {
  /** Name of the check, or of a sentence of the scenario; null: nothing is found. */
  readonly finding: string | null;
}

/** Runs of the default search, and of the depth-first one: some tenths of a second each. */
const BOUNDS: Readonly<Record<string, readonly [auto: number, dfs: number]>> = {
  's01-cmdline-during-mprotect': [2, 2],
  's02-two-vmas': [4, 3],
  's03-file-thp-retract': [6, 3],
  's04-mprotect-none': [12, 3],
  's05-dontneed-reuse': [12, 4],
  's06-force-write-dontneed': [12, 4],
  's07-stack-growth': [40, 40],
  's08-userfaultfd-missing': [30, 30],
  's09-shared-upper-table': [8, 2],
  's10-exit-during-copy': [5, 3],
  's11-vma-reuse': [8, 2],
};
/** The designs that are expected to hold; the architectures are shared out among them. */
const HOLD: readonly (readonly [DesignName, 'x86_64' | 'arm64'])[] = [
  ['v0', 'x86_64'],
  ['v3', 'arm64'],
  ['v4', 'x86_64'],
  ['v5', 'arm64'],
];
/** One run has up to 200,000 steps, more than all runs of another scenario. */
const LONGEST = {
  file: 'remote/s12-readers-and-writers',
  runs: 1,
  maxSteps: 1_000_000,
  finding: null,
} as const;

const BOUNDED: readonly Explored[] = Object.entries(BOUNDS).flatMap(([name, [auto, dfs]]) =>
  HOLD.flatMap(([design, arch]) => [
    { file: `remote/${name}`, design, arch, runs: auto, finding: null },
    {
      file: `remote/${name}`,
      design,
      arch,
      policy: 'dfs' as const,
      preemptions: 1,
      runs: dfs,
      finding: null,
    },
  ]),
);

export const HOLDING: readonly Explored[] = [
  ...BOUNDED,
  ...HOLD.map(([design, arch]) => ({ ...LONGEST, design, arch })),
];

const WITHOUT_FIELDS = { checksOff: ['vma-without-lock'] };

export const BREAKING: readonly Explored[] = [
  { file: 'remote/s02-two-vmas', design: 'v1', runs: 20, finding: 'torn-remote-read' },
  { file: 'remote/s02-two-vmas', design: 'v1', arch: 'arm64', runs: 20, finding: 'torn-remote-read' },
  { file: 'remote/s02-two-vmas', design: 'v2', runs: 20, finding: 'torn-remote-read' },
  { file: 'remote/s04-mprotect-none', design: 'n1', runs: 20, finding: 'vma-without-lock' },
  {
    file: 'remote/s04-mprotect-none',
    design: 'n1',
    runs: 400,
    ...WITHOUT_FIELDS,
    finding: 'stale-remote-access',
  },
  { file: 'remote/s04-mprotect-none', design: 'n2', runs: 20, finding: 'vma-without-lock' },
  {
    file: 'remote/s04-mprotect-none',
    design: 'n2',
    runs: 400,
    ...WITHOUT_FIELDS,
    finding: 'stale-remote-access',
  },
  {
    file: 'remote/s03-file-thp-retract',
    design: 'n3',
    runs: 400,
    finding: 'stale-lookup',
  },
  {
    file: 'remote/s05-dontneed-reuse',
    design: 'n3',
    runs: 400,
    finding: 'stale-lookup',
  },
  { file: 'remote/s04-mprotect-none', design: 'n4', runs: 20, finding: 'lock-order' },
  { file: 'remote/s02-two-vmas', design: 'n4', arch: 'arm64', runs: 20, finding: 'lock-order' },
];

export function exploredTable(): string {
  const found = BREAKING.map(
    (row) => `| ${row.design} **breaks**: \`${row.finding}\` | \`${commandOf(row)}\` |\n`,
  );
  const held = HOLDING.map(
    (row) =>
      `| ${row.design}: nothing in ${row.runs} ${row.runs === 1 ? 'run' : 'runs'} | \`${commandOf(row)}\` |\n`,
  );
  return `| found | by |\n|---|---|\n${found.join('')}${held.join('')}`;
}
