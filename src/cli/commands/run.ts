/** `tablewalk run`: one scenario, once. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import { InputError } from '../../base/input-error.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { RunConfig } from '../../userland/run-scenario.ts';
import { architectureOption } from '../architecture.ts';
import { jsonText } from '../json.ts';
import { exclusive, oneOf, wholeNumber } from '../option-values.ts';
import { eventPaint } from '../paint.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly arch: string;
  readonly cpus?: string;
  readonly policy?: string;
  readonly seed?: string;
  readonly schedule?: string;
  readonly retention?: string;
  readonly profile?: string;
  readonly steps?: string;
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

const policies = ['virtual-time', 'round-robin', 'random'] as const;
const retentions: readonly Retention[] = ['profile', 'adversarial', 'none'];

export function addRunCommand(program: Command, session: Session): void {
  program
    .command('run')
    .description('run a scenario, print what happened and what it cost')
    .argument('<scenario>', 'a .ts or .js module, or a .yaml file')
    .option('--arch <name>', 'x86_64 (arm64 is not built yet)', 'x86_64')
    .option('--cpus <n>', 'number of CPUs, 1 to 64; default: as the scenario says')
    .option('--policy <name>', `who goes on where several can: ${policies.join(', ')}`)
    .option('--seed <n>', 'seed of the random policy')
    .option('--schedule <text>', 'make the choices another run printed')
    .option('--retention <mode>', `how long TLBs keep entries: ${retentions.join(', ')}`)
    .option('--profile <name>', 'what steps cost, a name of the cost profiles')
    .option('--steps <n>', 'stop after this many steps')
    .option('--all', 'show every event: free locks, and each level of each walk')
    .option('--quiet', 'only the summary')
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExample:\n  tablewalk run examples/remote-read.ts --policy random --seed 7')
    .action((file: string, options: Options) => run(file, options, session));
}

async function run(file: string, options: Options, session: Session): Promise<void> {
  const { loadScenario } = await import('../load-scenario.ts');
  const { runScenarioInSlices } = await import('../../userland/run-scenario.ts');
  const { scenarioJson, scenarioSummary, scenarioText } = await import('../../report/scenario-text.ts');
  const config = await runConfig(options);
  const scenario = await loadScenario(file);
  const slices = runScenarioInSlices(scenario, config);
  let slice = slices.next();
  while (!slice.done) {
    session.progress(`${slice.value} steps`);
    // A turn of the event loop: Ctrl-C is noticed here.
    await nextTurn();
    slice = slices.next(session.interruption.aborted);
  }
  const result = slice.value;
  if (options.json) session.print(jsonText(scenarioJson(result)));
  else if (options.quiet) session.print(scenarioSummary(result));
  else
    session.print(
      scenarioText(result, {
        all: options.all === true,
        width: session.width,
        paint: eventPaint(session.colours),
      }),
    );
  const { kind } = result.outcome;
  if (kind === 'unsupported') session.nothingChecked(`${file}: ${result.outcome.what} is not built`);
  else if (kind !== 'finished' && kind !== 'interrupted') session.checkFailed();
}

async function runConfig(options: Options): Promise<RunConfig> {
  const { cpus, policy, seed, schedule, retention, steps } = options;
  if (schedule !== undefined && policy !== undefined) exclusive('--schedule', '--policy');
  if (options.quiet && options.json) exclusive('--quiet', '--json');
  return {
    architecture: await architectureOption(options.arch),
    ...(cpus === undefined ? {} : { cpus: wholeNumber('option --cpus', cpus, 1, 64) }),
    ...(policy === undefined ? {} : { policy: oneOf('option --policy', policy, policies) }),
    ...(seed === undefined ? {} : { seed: wholeNumber('option --seed', seed, 0, 2 ** 31 - 1) }),
    ...(schedule === undefined ? {} : { schedule: await scheduleText(schedule) }),
    ...(retention === undefined ? {} : { retention: oneOf('option --retention', retention, retentions) }),
    ...(steps === undefined
      ? {}
      : { maxSteps: wholeNumber('option --steps', steps, 1, Number.MAX_SAFE_INTEGER) }),
    ...(await costProfile(options.profile)),
  };
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

async function costProfile(name: string | undefined): Promise<Pick<RunConfig, 'profile'>> {
  if (name === undefined) return {};
  const { COST_PROFILES } = await import('../../hardware/cost-profile.ts');
  const known = oneOf('option --profile', name, Object.keys(COST_PROFILES));
  return { profile: COST_PROFILES[known] as NonNullable<RunConfig['profile']> };
}
