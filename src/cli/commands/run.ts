/** `tablewalk run`: one scenario, once, or once for each of many seeds. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import type { RunConfig } from '../../userland/run-config.ts';
import type { ScenarioResult } from '../../userland/run-scenario.ts';
import type { Scenario } from '../../userland/scenario.ts';
import { jsonText } from '../json.ts';
import {
  addHardwareOptions,
  addKernelOptions,
  addProcessorOptions,
  type MachineOptions,
  machineChoice,
  scheduleText,
} from '../machine-options.ts';
import { exclusive, oneOf, wholeNumber } from '../option-values.ts';
import { eventPaint } from '../paint.ts';
import type { Session } from '../session.ts';

interface Options extends MachineOptions {
  readonly policy?: string;
  readonly seed?: string;
  readonly seeds?: string;
  readonly schedule?: string;
  readonly checks?: boolean;
  readonly steps?: string;
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

type RunChoices = Pick<RunConfig, 'policy' | 'seed' | 'schedule' | 'checks' | 'speculation' | 'maxSteps'>;

const MAX_SEED = 2 ** 31 - 1;
const policies = ['virtual-time', 'round-robin', 'random', 'stalling'] as const;
/** Those that draw. */
const seeded = ['random', 'stalling'] as const;

const examples = `
The timeline is in the order of execution; times of different CPUs need not ascend down the page.

Examples:
  tablewalk run examples/remote-read.ts --policy random --seed 7
  tablewalk run examples/remote-read.ts --seeds 1-500`;

export function addRunCommand(program: Command, session: Session): void {
  const command = program
    .command('run')
    .description('run a scenario, print what happened and what it cost')
    .argument('<scenario>', 'a .ts or .js module, or a .yaml file')
    .option('--arch <name>', 'x86_64 or arm64; default: as the scenario says, else x86_64')
    .option('--cpus <n>', 'number of CPUs, 1 to 64; default: as the scenario says')
    .option(
      '--policy <name>',
      `who goes on where several can: ${policies.join(', ')} (random, and one CPU now and then does nothing for long)`,
    )
    .option('--seed <n>', 'seed of the policies random and stalling, and of random memory tags')
    .option(
      '--seeds <a-b>',
      'run once for each seed, policy random or the one given, and stop at the first run that fails',
    )
    .option(
      '--schedule <text>',
      'make the choices another run printed, then those of --policy; default: with few context switches',
    )
    .option('--checks', 'watch the run with all checks; the default with --schedule')
    .option('--no-checks', 'without')
    .option('--steps <n>', 'stop after this many steps');
  addHardwareOptions(addKernelOptions(addProcessorOptions(command)))
    .option('--all', 'show every event: free locks, and each level of each walk')
    .option('--quiet', 'only the summary')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((file: string, options: Options) => run(file, options, session));
}

async function run(file: string, options: Options, session: Session): Promise<void> {
  const { loadScenario } = await import('../load-scenario.ts');
  const choices = await runChoices(options);
  const seeds = options.seeds === undefined ? null : seedRange(options.seeds, options);
  const { scenario, config: machine } = await machineChoice(options, () => loadScenario(file));
  const config: RunConfig = { ...machine, ...choices };
  if (seeds !== null) return runSeeds(file, scenario, config, seeds, session);
  const withTimeline = scenario.timeline !== false || options.all === true;
  const kept = withTimeline || options.json ? config : { ...config, maxEvents: 0 };
  const result = await runWatched(scenario, kept, session, (steps) => `${steps} steps`);
  const { scenarioJson, scenarioSummary, scenarioText } = await import('../../report/scenario-text.ts');
  if (options.json) session.print(jsonText(scenarioJson(result)));
  else if (options.quiet || !withTimeline) session.print(scenarioSummary(result));
  else
    session.print(
      scenarioText(result, {
        all: options.all === true,
        width: session.width,
        paint: eventPaint(session.colours),
      }),
    );
  judge(file, result, session);
}

/** What the outcome means for the exit status. */
function judge(file: string, { outcome }: ScenarioResult, session: Session): void {
  if (outcome.kind === 'unsupported') session.nothingChecked(`${file}: ${outcome.what} is not built`);
  else if (outcome.kind !== 'finished' && outcome.kind !== 'interrupted') session.checkFailed();
}

/** One run, in slices: Ctrl-C is noticed between them. */
async function runWatched(
  scenario: Scenario,
  config: RunConfig,
  session: Session,
  progress: (steps: number) => string,
): Promise<ScenarioResult> {
  const { runScenarioInSlices } = await import('../../userland/run-scenario.ts');
  const slices = runScenarioInSlices(scenario, config);
  let slice = slices.next();
  while (!slice.done) {
    session.progress(progress(slice.value));
    await nextTurn();
    slice = slices.next(session.interruption.aborted);
  }
  return slice.value;
}

interface SeedRange {
  readonly first: number;
  readonly last: number;
  readonly policy: (typeof seeded)[number];
}

const MOST_SEEDS_BETWEEN_TURNS = 64;

/** Runs until one fails, and says which, how it ended, and how to see it whole. */
async function runSeeds(
  file: string,
  scenario: Scenario,
  config: RunConfig,
  { first, last, policy }: SeedRange,
  session: Session,
): Promise<void> {
  const { scenarioSummary } = await import('../../report/scenario-text.ts');
  const ended = (runs: number, rest: string): void =>
    session.line(`${runs} ${runs === 1 ? 'run' : 'runs'}, ${rest}`);
  for (let seed = first; seed <= last; seed++) {
    const runs = seed - first;
    if (runs % MOST_SEEDS_BETWEEN_TURNS === 0) {
      session.progress(`seed ${seed}`);
      await nextTurn();
    }
    if (session.interruption.aborted) return ended(runs, 'none failed (stopped early)');
    const each = { ...config, policy, seed, maxEvents: 0 };
    const result = await runWatched(scenario, each, session, (steps) => `seed ${seed}, ${steps} steps`);
    const { kind } = result.outcome;
    if (kind === 'finished') continue;
    if (kind === 'interrupted') return ended(runs, 'none failed (stopped early)');
    session.line(scenarioSummary(result));
    judge(file, result, session);
    return ended(runs + 1, `seed ${seed} failed: '--policy ${policy} --seed ${seed}' shows the whole run`);
  }
  ended(last - first + 1, 'none failed');
}

/** `1-500`, or one number. @throws InputError when it is none, or another option says the same or shows one run */
function seedRange(text: string, options: Options): SeedRange {
  const { seed, schedule, policy, json, all } = options;
  if (seed !== undefined) exclusive('--seeds', '--seed');
  if (schedule !== undefined) exclusive('--seeds', '--schedule');
  const own = seeded.find((name) => name === (policy ?? 'random'));
  if (own === undefined) exclusive('--seeds', `--policy ${policy}`);
  if (json) exclusive('--seeds', '--json');
  if (all) exclusive('--seeds', '--all');
  const [from = '', to = from, more] = text.split('-');
  if (more !== undefined) throw new InputError('option --seeds', { expected: 'A-B', found: `'${text}'` });
  const first = wholeNumber('option --seeds', from, 0, MAX_SEED);
  return { first, last: wholeNumber('option --seeds', to, first, MAX_SEED), policy: own };
}

async function runChoices(options: Options): Promise<RunChoices> {
  const { policy, seed, schedule, steps } = options;
  if (options.quiet && options.json) exclusive('--quiet', '--json');
  return {
    ...(policy === undefined ? {} : { policy: oneOf('option --policy', policy, policies) }),
    ...(seed === undefined ? {} : { seed: wholeNumber('option --seed', seed, 0, MAX_SEED) }),
    ...(schedule === undefined ? {} : { schedule: await scheduleText(schedule) }),
    // A schedule is there to show what an exploration has found.
    ...((options.checks ?? schedule !== undefined) ? { checks: true } : {}),
    ...(options.fills === true ? speculation(options) : {}),
    ...(steps === undefined
      ? {}
      : { maxSteps: wholeNumber('option --steps', steps, 1, Number.MAX_SAFE_INTEGER) }),
  };
}

/** Only the random policy chooses fills: it is the default of a run that asks for them. */
function speculation({ policy, schedule }: Options): Pick<RunConfig, 'speculation' | 'policy'> {
  return policy === undefined && schedule === undefined
    ? { speculation: true, policy: 'random' }
    : { speculation: true };
}
