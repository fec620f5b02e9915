/** `tablewalk run`: one scenario, once, or once for each of many seeds. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import { COST_PROFILES } from '../../hardware/cost-profile.ts';
import { type Retention, TLB_PROFILES } from '../../hardware/retention.ts';
import { DESIGN_NAMES } from '../../kernel/remote/design-names.ts';
import {
  byteSize,
  type MachineSettings,
  MOST_HUGE_PAGES,
  THP_MODES,
} from '../../userland/machine-settings.ts';
import type { RunConfig } from '../../userland/run-config.ts';
import type { ScenarioResult } from '../../userland/run-scenario.ts';
import type { Scenario } from '../../userland/scenario.ts';
import { architectureOption, scenarioArchitecture } from '../architecture.ts';
import { jsonText } from '../json.ts';
import { exclusive, oneOf, wholeNumber } from '../option-values.ts';
import { eventPaint } from '../paint.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly arch?: string;
  readonly cpus?: string;
  readonly policy?: string;
  readonly seed?: string;
  readonly seeds?: string;
  readonly schedule?: string;
  readonly retention?: string;
  readonly speculate?: boolean;
  readonly profile?: string;
  readonly cpuModel?: string;
  readonly levels?: string;
  readonly tlb?: string;
  readonly steps?: string;
  readonly memory?: string;
  readonly swap?: string;
  readonly hugepages?: string;
  readonly thp?: string;
  readonly lockdep?: boolean;
  readonly vmaLocks?: boolean;
  readonly design?: string;
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

const MAX_SEED = 2 ** 31 - 1;
const policies = ['virtual-time', 'round-robin', 'random', 'stalling'] as const;
/** Those that draw. */
const seeded = ['random', 'stalling'] as const;
const retentions: readonly Retention[] = ['profile', 'adversarial', 'none'];

const examples = `
The timeline is in the order of execution; times of different CPUs need not ascend down the page.

Examples:
  tablewalk run examples/remote-read.ts --policy random --seed 7
  tablewalk run examples/remote-read.ts --seeds 1-500`;

export function addRunCommand(program: Command, session: Session): void {
  program
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
    .option('--schedule <text>', 'make the choices another run printed')
    .option('--retention <mode>', `how long TLBs keep entries: ${retentions.join(', ')}`)
    .option(
      '--speculate',
      'CPUs may fill TLB entries ahead of any access, where the random policy chooses it',
    )
    .option(
      '--profile <name>',
      `what steps cost: ${Object.keys(COST_PROFILES).join(', ')}; default: flat, 1 cycle each`,
    )
    .option('--cpu-model <name>', 'the processor; a name that there is not lists those there are')
    .option('--levels <n>', 'levels of the page tables: 4, or 5 on a processor that has them')
    .option('--tlb <name>', `sizes of the TLBs: ${Object.keys(TLB_PROFILES).join(', ')}`)
    .option('--steps <n>', 'stop after this many steps')
    .option('--memory <size>', 'memory of the machine, such as 64MiB; default: as the scenario says')
    .option('--swap <size>', 'a swap area of this size')
    .option('--hugepages <pools>', 'huge pages set aside, such as 2MiB:8 or 2MiB:8,1GiB:1')
    .option('--thp <mode>', `transparent huge pages: ${THP_MODES.join(', ')}`)
    .option('--lockdep', 'tell of orders of locks that could deadlock')
    .option('--no-vma-locks', 'every fault takes mmap_lock, as before Linux 6.4')
    .option('--design <name>', `how remote accesses lock: ${DESIGN_NAMES.join(', ')}`)
    .option('--all', 'show every event: free locks, and each level of each walk')
    .option('--quiet', 'only the summary')
    .option('--json', 'print one JSON object')
    .addHelpText('after', examples)
    .action((file: string, options: Options) => run(file, options, session));
}

async function run(file: string, options: Options, session: Session): Promise<void> {
  const { loadScenario } = await import('../load-scenario.ts');
  const choices = await runChoices(options);
  const asked = options.arch === undefined ? null : await architectureOption(options.arch);
  const seeds = options.seeds === undefined ? null : seedRange(options.seeds, options);
  const scenario = await loadScenario(file);
  const config = { ...choices, architecture: await scenarioArchitecture(asked, scenario) };
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

async function runChoices(options: Options): Promise<Omit<RunConfig, 'architecture'>> {
  const { cpus, policy, seed, schedule, retention, steps } = options;
  if (schedule !== undefined && policy !== undefined) exclusive('--schedule', '--policy');
  if (options.quiet && options.json) exclusive('--quiet', '--json');
  return {
    ...(cpus === undefined ? {} : { cpus: wholeNumber('option --cpus', cpus, 1, 64) }),
    ...(policy === undefined ? {} : { policy: oneOf('option --policy', policy, policies) }),
    ...(seed === undefined ? {} : { seed: wholeNumber('option --seed', seed, 0, MAX_SEED) }),
    ...(schedule === undefined ? {} : { schedule: await scheduleText(schedule) }),
    ...(retention === undefined ? {} : { retention: oneOf('option --retention', retention, retentions) }),
    ...(options.speculate === true ? speculation(options) : {}),
    ...(options.cpuModel === undefined ? {} : { cpuModel: options.cpuModel }),
    ...(options.levels === undefined ? {} : { levels: wholeNumber('option --levels', options.levels, 4, 5) }),
    ...(options.tlb === undefined ? {} : { tlbProfile: options.tlb }),
    ...(steps === undefined
      ? {}
      : { maxSteps: wholeNumber('option --steps', steps, 1, Number.MAX_SAFE_INTEGER) }),
    ...machineSettings(options),
    ...costProfile(options.profile),
  };
}

/** Memory and the kernel's settings, as `MachineSettings` has them. */
function machineSettings({
  memory,
  swap,
  hugepages,
  thp,
  lockdep,
  vmaLocks,
  design,
}: Options): MachineSettings {
  return {
    ...(memory === undefined ? {} : { memory: byteSize(memory, 'option --memory') }),
    ...(swap === undefined ? {} : { swap: byteSize(swap, 'option --swap') }),
    ...(hugepages === undefined ? {} : { hugepages: pools(hugepages) }),
    ...(thp === undefined ? {} : { transparentHugepage: oneOf('option --thp', thp, THP_MODES) }),
    ...(lockdep === true ? { lockdep } : {}),
    ...(vmaLocks === false ? { perVmaLocks: false } : {}),
    ...(design === undefined ? {} : { design: oneOf('option --design', design, DESIGN_NAMES) }),
  };
}

/** `2MiB:8,1GiB:1`. */
function pools(text: string): NonNullable<MachineSettings['hugepages']> {
  const found: Record<string, number> = {};
  for (const part of text.split(',')) {
    const [, size, count] = /^(2MiB|1GiB):(\d+)$/.exec(part) ?? [];
    if (size === undefined || Number(count) > MOST_HUGE_PAGES) {
      const expected = `2MiB or 1GiB, each with at most ${MOST_HUGE_PAGES} pages, such as 2MiB:8,1GiB:1`;
      throw new InputError('option --hugepages', { expected, found: `'${text}'` });
    }
    found[size] = Number(count);
  }
  return found;
}

/** Only the random policy chooses fills: it is the default of a run that asks for them. */
function speculation({ policy, schedule }: Options): Pick<RunConfig, 'speculation' | 'policy'> {
  return policy === undefined && schedule === undefined
    ? { speculation: true, policy: 'random' }
    : { speculation: true };
}

/** Read here too, so that a mistake in it is not taken for one of the scenario. */
async function scheduleText(text: string): Promise<string> {
  const { parseSchedule } = await import('../../sched/schedule-text.ts');
  try {
    parseSchedule(text);
    return text;
  } catch (error) {
    throw error instanceof InputError ? error.at({ file: 'option --schedule' }) : error;
  }
}

function costProfile(name: string | undefined): Pick<RunConfig, 'profile'> {
  if (name === undefined) return {};
  const known = oneOf('option --profile', name, Object.keys(COST_PROFILES));
  return { profile: COST_PROFILES[known] as NonNullable<RunConfig['profile']> };
}
