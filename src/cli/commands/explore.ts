/** `tablewalk explore`: many schedules of one scenario, until something is wrong. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import { readTextFile } from '../../conformance/file-errors.ts';
import { SEARCH_POLICIES } from '../../sched/search/search.ts';
import type { ExploreConfig } from '../../userland/explore/config.ts';
import type { Exploration, ExploreProgress, ExploreResult } from '../../userland/explore/explore.ts';
import type { Scenario } from '../../userland/scenario.ts';
import { readCheckpoint, writeCheckpoint } from '../checkpoint-file.ts';
import { jsonText } from '../json.ts';
import {
  addHardwareOptions,
  addKernelOptions,
  addProcessorOptions,
  type MachineOptions,
  machineChoice,
  scheduleText,
} from '../machine-options.ts';
import { oneOf, wholeNumber } from '../option-values.ts';
import { schedulePaint } from '../paint.ts';
import { commandLine } from '../quoted-command.ts';
import type { Session } from '../session.ts';

interface Options extends MachineOptions {
  readonly policy?: string;
  readonly seed?: string;
  readonly runs?: string;
  readonly seconds?: string;
  readonly preemptions?: string;
  readonly depth?: string;
  readonly reduction?: boolean;
  readonly shard?: string;
  readonly schedule?: string;
  readonly steps?: string;
  readonly check?: readonly string[];
  readonly keepGoing?: boolean;
  readonly checkpoint?: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

const MAX_SEED = 2 ** 31 - 1;
const DEFAULT_SECONDS = 60;
const MOST = Number.MAX_SAFE_INTEGER;
/** Options that only say how schedules are searched and what is shown: a replay is the same without them. */
const OF_THE_SEARCH = [
  'policy',
  'runs',
  'seconds',
  'preemptions',
  'depth',
  'reduction',
  'shard',
  'schedule',
  'keepGoing',
  'checkpoint',
  'all',
  'json',
];

const examples = `
Exit status: 1 something was found; 0 nothing was, within the bounds; 2 bad usage or input.
What is found is shown as a timeline, in the simplest run that has it, with the schedule that replays it.

Examples:
  tablewalk explore examples/bugs/dirty-cow.ts
  tablewalk explore examples/bugs/dirty-cow.ts --no-bugs --policy dfs --preemptions 2 --seconds 600
  tablewalk explore examples/bugs/dirty-cow.ts --schedule '2*27 3*20'`;

export function addExploreCommand(program: Command, session: Session): void {
  const command = program
    .command('explore')
    .description('run a scenario under many schedules, watched by checks, until something is wrong')
    .argument('<scenario>', 'a .ts or .js module, or a .yaml file')
    .option('--arch <name>', 'x86_64 or arm64; default: as the scenario says, else x86_64')
    .option('--cpus <n>', 'number of CPUs, 1 to 64; default: as the scenario says')
    .option(
      '--policy <name>',
      `how schedules are searched: ${SEARCH_POLICIES.join(', ')}; default: auto, the others by turns`,
    )
    .option('--seed <n>', 'the same seed gives the same runs on any machine; default 1')
    .option('--runs <n>', 'make so many runs, at most')
    .option(
      '--seconds <n>',
      `stop after so long; default ${DEFAULT_SECONDS}, or no bound where --runs is given`,
    )
    .option('--preemptions <n>', 'of dfs: preemptions in a run, at most, or all; default 2')
    .option('--depth <n>', 'of pct: how many orderings the bug needs; default 3')
    .option('--no-reduction', 'of dfs: try also what only swaps steps that do not touch the same things')
    .option('--shard <i/n>', 'part i of n of the search, i from 0')
    .option('--schedule <text>', 'replay this schedule; with --policy: search among what can come after it')
    .option('--steps <n>', 'steps of a run, at most; default 100000')
    .option('--no-check <name>', 'leave out a check; may be repeated', (name: string, before: unknown) => [
      ...(Array.isArray(before) ? before : []),
      name,
    ])
    .option('--keep-going', 'collect what differs instead of stopping at the first finding')
    .option(
      '--checkpoint <file>',
      'write down now and then how far it is, and go on from there if it exists',
    );
  addHardwareOptions(addKernelOptions(addProcessorOptions(command)))
    .option('--all', 'show every step of a finding or of a replayed schedule')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((file: string, options: Options) => explore(file, options, command, session));
}

async function explore(file: string, options: Options, command: Command, session: Session): Promise<void> {
  // Objects of runs that are over are young again: V8 would else put them where old ones are. Measured: half the time.
  setFlagsFromString('--no-allocation-site-pretenuring');
  const { loadScenario } = await import('../load-scenario.ts');
  mustGoTogether(options);
  const choices = await searchChoices(options);
  const seconds = secondsBound(options);
  const { scenario, config } = await machineChoice(options, () => loadScenario(file));
  const { checkpoint } = options;
  const before = checkpoint === undefined ? null : readCheckpoint(checkpoint);
  const resume = before === null ? {} : { resume: before };
  const source = checkpoint === undefined ? {} : { source: readTextFile(file) };
  const result = await explored(
    scenario,
    { ...config, ...choices, ...resume, ...source },
    { seconds, checkpoint },
    session,
  );
  const { exploreJson, exploreText } = await import('../../report/explore-text.ts');
  const replay = (schedule: string): string =>
    commandLine(command, file, OF_THE_SEARCH, ['--schedule', schedule]);
  if (options.json) session.print(jsonText(exploreJson(result, replay)));
  else {
    const paint = schedulePaint(session.colours);
    const all = options.all === true;
    session.print(exploreText(result, { width: session.width, paint, command: replay, all }));
  }
  if (result.unsupported !== null) session.nothingChecked(`${file}: ${result.unsupported} is not built`);
  else if (result.findings.length > 0) session.checkFailed();
}

type SearchChoices = Omit<ExploreConfig, 'architecture' | 'resume' | 'source'>;

async function searchChoices(options: Options): Promise<SearchChoices> {
  const { policy, seed, schedule, steps, check } = options;
  return {
    ...(policy === undefined ? {} : { policy: oneOf('option --policy', policy, SEARCH_POLICIES) }),
    ...(seed === undefined ? {} : { seed: wholeNumber('option --seed', seed, 0, MAX_SEED) }),
    ...bounds(options),
    ...(schedule === undefined ? {} : { schedule: await scheduleText(schedule) }),
    ...(steps === undefined ? {} : { maxSteps: wholeNumber('option --steps', steps, 1, MOST) }),
    ...(Array.isArray(check) ? { checksOff: await checkNames(check) } : {}),
    ...(options.fills === true ? { speculation: true } : {}),
    ...(options.keepGoing === true ? { keepGoing: true } : {}),
  };
}

/** Where the search ends, and which part of it this is. */
function bounds({ runs, preemptions, depth, reduction, shard }: Options): Partial<SearchChoices> {
  return {
    ...(runs === undefined ? {} : { runs: wholeNumber('option --runs', runs, 1, MOST) }),
    ...(preemptions === undefined ? {} : { preemptions: preemptionBound(preemptions) }),
    ...(depth === undefined ? {} : { depth: wholeNumber('option --depth', depth, 1, 100) }),
    ...(reduction === false ? { reduction } : {}),
    ...(shard === undefined ? {} : { shard: shardOf(shard) }),
  };
}

async function checkNames(names: readonly string[]): Promise<readonly string[]> {
  const { CHECK_NAMES } = await import('../../check/races/registry.ts');
  return names.map((name) => oneOf('option --no-check', name, CHECK_NAMES));
}

const preemptionBound = (text: string): number | null =>
  text === 'all' ? null : wholeNumber('option --preemptions', text, 0, 1000);

function shardOf(text: string): { readonly index: number; readonly count: number } {
  const [, index, count] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  if (index === undefined || Number(index) >= Number(count)) {
    throw new InputError('option --shard', {
      expected: 'I/N with I from 0 to N - 1, such as 0/4',
      found: `'${text}'`,
    });
  }
  return { index: Number(index), count: Number(count) };
}

/** Options that only some searches have. */
const OF_POLICY = [
  ['preemptions', '--preemptions', 'dfs'],
  ['reduction', '--no-reduction', 'dfs'],
  ['depth', '--depth', 'pct'],
] as const;

/** @throws InputError for an option that would do nothing */
function mustGoTogether(options: Options): void {
  const { policy, schedule, runs, seconds, checkpoint, shard } = options;
  for (const [name, flag, owner] of OF_POLICY) {
    const given = options[name] !== undefined && options[name] !== true;
    if (!given || policy === owner) continue;
    throw new InputError(`option ${flag} is for --policy ${owner}`, {
      found: policy === undefined ? 'no --policy' : `--policy ${policy}`,
    });
  }
  if (schedule === undefined || policy !== undefined) return;
  const useless = Object.entries({
    '--runs': runs,
    '--seconds': seconds,
    '--checkpoint': checkpoint,
    '--shard': shard,
  });
  const [flag] = useless.find(([, value]) => value !== undefined) ?? [];
  if (flag === undefined) return;
  throw new InputError(
    `--schedule replays one run, and ${flag} is for a search: add --policy to search from the end of the schedule, or leave out ${flag}`,
  );
}

function secondsBound({ seconds, runs }: Options): number {
  if (seconds !== undefined) return wholeNumber('option --seconds', seconds, 1, 10 ** 9);
  return runs === undefined ? DEFAULT_SECONDS : Number.POSITIVE_INFINITY;
}

/** Between two looks at Ctrl-C and at the terminal, and between two checkpoints, in milliseconds. */
const TURN = 100;
const CHECKPOINT = 10_000;

async function explored(
  scenario: Scenario,
  config: ExploreConfig,
  { seconds, checkpoint }: { readonly seconds: number; readonly checkpoint: string | undefined },
  session: Session,
): Promise<ExploreResult> {
  const { exploreScenario } = await import('../../userland/explore/explore.ts');
  const { CheckpointMisfit } = await import('../../userland/explore/checkpoint.ts');
  const exploration = placed(exploreScenario(scenario, config), CheckpointMisfit, checkpoint);
  const start = performance.now();
  let turn = start;
  let saved = start;
  let step = exploration.next();
  while (!step.done) {
    const now = performance.now();
    if (now >= turn + TURN) {
      turn = now;
      session.progress(progressLine(step.value, now - start));
      await nextTurn();
    }
    if (checkpoint !== undefined && now >= saved + CHECKPOINT && step.value.phase === 'searching') {
      saved = now;
      writeCheckpoint(checkpoint, step.value.save());
    }
    step = exploration.next(session.interruption.aborted || now - start >= seconds * 1000);
  }
  if (checkpoint !== undefined) writeCheckpoint(checkpoint, step.value.save());
  return step.value;
}

/** A checkpoint that does not fit is named. */
function* placed(
  exploration: Exploration,
  Misfit: typeof InputError,
  checkpoint: string | undefined,
): Exploration {
  try {
    return yield* exploration;
  } catch (error) {
    if (error instanceof Misfit && checkpoint !== undefined) throw error.at({ file: checkpoint });
    throw error;
  }
}

function progressLine(
  { runs, distinctStates, deepest, phase }: ExploreProgress,
  milliseconds: number,
): string {
  const rate = Math.round((runs * 1000) / Math.max(1, milliseconds));
  return `${phase}: ${runs} runs, ${distinctStates} states, deepest ${deepest} steps, ${rate} runs/s`;
}
