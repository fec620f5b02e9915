/** `tablewalk explore`: many schedules of one scenario, until something is wrong. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import { SEARCH_POLICIES } from '../../sched/search/search.ts';
import type { ExploreConfig } from '../../userland/explore/config.ts';
import type { ExploreProgress, ExploreResult } from '../../userland/explore/explore.ts';
import type { Scenario } from '../../userland/scenario.ts';
import {
  addKernelOptions,
  addProcessorOptions,
  type MachineOptions,
  machineChoice,
} from '../machine-options.ts';
import { oneOf, wholeNumber } from '../option-values.ts';
import type { Session } from '../session.ts';

interface Options extends MachineOptions {
  readonly policy?: string;
  readonly seed?: string;
  readonly runs?: string;
  readonly seconds?: string;
}

const MAX_SEED = 2 ** 31 - 1;
const DEFAULT_SECONDS = 60;

export function addExploreCommand(program: Command, session: Session): void {
  const command = program
    .command('explore')
    .description('run a scenario under many schedules, watched by checks, until something is wrong')
    .argument('<scenario>', 'a .ts or .js module, or a .yaml file')
    .option('--arch <name>', 'x86_64 or arm64; default: as the scenario says, else x86_64')
    .option('--cpus <n>', 'number of CPUs, 1 to 64; default: as the scenario says')
    .option('--policy <name>', `how schedules are searched: ${SEARCH_POLICIES.join(', ')}`)
    .option('--seed <n>', 'the same seed gives the same runs on any machine; default 1')
    .option('--runs <n>', 'runs to make, at most')
    .option('--seconds <n>', `time to take, at most; default ${DEFAULT_SECONDS}, or none if --runs is given`);
  addKernelOptions(addProcessorOptions(command)).action((file: string, options: Options) =>
    explore(file, options, session),
  );
}

async function explore(file: string, options: Options, session: Session): Promise<void> {
  const { loadScenario } = await import('../load-scenario.ts');
  const { policy, seed, runs } = options;
  const choices = {
    ...(policy === undefined ? {} : { policy: oneOf('option --policy', policy, SEARCH_POLICIES) }),
    ...(seed === undefined ? {} : { seed: wholeNumber('option --seed', seed, 0, MAX_SEED) }),
    ...(runs === undefined ? {} : { runs: wholeNumber('option --runs', runs, 1, Number.MAX_SAFE_INTEGER) }),
  };
  const seconds = secondsBound(options);
  const { scenario, config } = await machineChoice(options, () => loadScenario(file));
  const result = await explored(scenario, { ...config, ...choices }, seconds, session);
  const { exploreText } = await import('../../report/explore-text.ts');
  session.print(exploreText(result, { width: session.width }));
  if (result.unsupported !== null) session.nothingChecked(`${file}: ${result.unsupported} is not built`);
  else if (result.findings.length > 0) session.checkFailed();
}

function secondsBound({ seconds, runs }: Options): number {
  if (seconds !== undefined) return wholeNumber('option --seconds', seconds, 1, 10 ** 9);
  return runs === undefined ? DEFAULT_SECONDS : Number.POSITIVE_INFINITY;
}

/** Between two looks at Ctrl-C and at the terminal, in milliseconds. */
const TURN = 100;

async function explored(
  scenario: Scenario,
  config: ExploreConfig,
  seconds: number,
  session: Session,
): Promise<ExploreResult> {
  const { exploreScenario } = await import('../../userland/explore/explore.ts');
  const exploration = exploreScenario(scenario, config);
  const start = performance.now();
  let turn = start;
  let step = exploration.next();
  while (!step.done) {
    const now = performance.now();
    if (now >= turn + TURN) {
      turn = now;
      session.progress(progressLine(step.value, now - start));
      await nextTurn();
    }
    step = exploration.next(session.interruption.aborted || now - start >= seconds * 1000);
  }
  return step.value;
}

function progressLine(
  { runs, distinctStates, deepest, phase }: ExploreProgress,
  milliseconds: number,
): string {
  const rate = Math.round((runs * 1000) / Math.max(1, milliseconds));
  return `${phase}: ${runs} runs, ${distinctStates} states, deepest ${deepest} steps, ${rate} runs/s`;
}
