/** The options that choose a run's machine and kernel: the same for every command that runs a scenario. */
import type { Command } from 'commander';
import { InputError } from '../base/input-error.ts';
import { COST_PROFILES } from '../hardware/cost-profile.ts';
import { type Retention, TLB_PROFILES } from '../hardware/retention.ts';
import { BUG_NAMES, type BugName } from '../kernel/bugs.ts';
import { DESIGN_NAMES } from '../kernel/remote/design-names.ts';
import { byteSize, type MachineSettings, MOST_HUGE_PAGES, THP_MODES } from '../userland/machine-settings.ts';
import type { RunConfig } from '../userland/run-config.ts';
import type { Scenario } from '../userland/scenario.ts';
import { architectureOption, scenarioArchitecture } from './architecture.ts';
import { exclusive, oneOf, wholeNumber } from './option-values.ts';

export interface MachineOptions {
  readonly arch?: string;
  readonly cpus?: string;
  readonly retention?: string;
  readonly profile?: string;
  readonly cpuModel?: string;
  readonly levels?: string;
  readonly tlb?: string;
  readonly memory?: string;
  readonly swap?: string;
  readonly hugepages?: string;
  readonly thp?: string;
  readonly lockdep?: boolean;
  readonly vmaLocks?: boolean;
  readonly design?: string;
  readonly bug?: readonly string[];
  readonly fills?: boolean;
  readonly evictions?: boolean;
  readonly gracePeriods?: boolean;
  readonly failAllocations?: string;
  readonly kill?: boolean;
  /** False: `--no-bugs`. */
  readonly bugs?: boolean;
}

const retentions: readonly Retention[] = ['profile', 'adversarial', 'none'];

/** Processor and TLBs. */
export function addProcessorOptions(command: Command): Command {
  return command
    .option('--retention <mode>', `how long TLBs keep entries: ${retentions.join(', ')}`)
    .option(
      '--profile <name>',
      `what steps cost: ${Object.keys(COST_PROFILES).join(', ')}; default: flat, 1 cycle each`,
    )
    .option('--cpu-model <name>', 'the processor; a name that there is not lists those there are')
    .option('--levels <n>', 'levels of the page tables: 4, or 5 on a processor that has them')
    .option('--tlb <name>', `sizes of the TLBs: ${Object.keys(TLB_PROFILES).join(', ')}`);
}

/** Memory, and settings of the kernel. */
export function addKernelOptions(command: Command): Command {
  return command
    .option('--memory <size>', 'memory of the machine, such as 64MiB; default: as the scenario says')
    .option('--swap <size>', 'a swap area of this size')
    .option('--hugepages <pools>', 'huge pages set aside, such as 2MiB:8 or 2MiB:8,1GiB:1')
    .option('--thp <mode>', `transparent huge pages: ${THP_MODES.join(', ')}`)
    .option('--lockdep', 'tell of orders of locks that could deadlock')
    .option('--no-vma-locks', 'every fault takes mmap_lock, as before Linux 6.4')
    .option('--design <name>', `how remote accesses lock: ${DESIGN_NAMES.join(', ')}`)
    .option('--bug <name>', 'a bug of an old kernel, beside those of the scenario; may be repeated', collect)
    .option('--no-bugs', 'without the bugs that the scenario puts in');
}

/** What may happen beside the steps of tasks, where the schedule chooses it. A replay needs what the run had. */
export function addHardwareOptions(command: Command): Command {
  return command
    .option(
      '--fills',
      'CPUs may fill TLB entries ahead of any access; needs --retention adversarial, the default then',
    )
    .option('--evictions', 'CPUs may forget a TLB entry at any time')
    .option('--grace-periods', 'grace periods of RCU end when the schedule says so, not as soon as they can')
    .option('--fail-allocations <n>', 'so many allocations may fail')
    .option('--kill', 'who waits in a way that a fatal signal ends may get SIGKILL');
}

function hardwareSettings(options: MachineOptions): Pick<RunConfig, 'hardware'> {
  const { evictions, gracePeriods, failAllocations, kill } = options;
  const failures =
    failAllocations === undefined ? 0 : wholeNumber('option --fail-allocations', failAllocations, 1, 1000);
  if (evictions !== true && gracePeriods !== true && kill !== true && failures === 0) return {};
  return {
    hardware: {
      evictions: evictions === true,
      gracePeriods: gracePeriods === true,
      kills: kill === true,
      failAllocations: failures,
    },
  };
}

const collect = (name: string, before: readonly string[] = []): readonly string[] => [...before, name];

/** A scenario as the options want it, and the configuration of its runs. */
export interface MachineChoice {
  readonly scenario: Scenario;
  readonly config: MachineConfig;
}

/** What of the configuration of a run is about its machine. */
type MachineConfig = Omit<
  RunConfig,
  'policy' | 'seed' | 'schedule' | 'speculation' | 'maxSteps' | 'maxEvents' | 'atEnd'
>;

/**
 * @param load gives the scenario; called when the options themselves are known to be right
 * @throws InputError for a value that an option cannot have
 */
export async function machineChoice(
  options: MachineOptions,
  load: () => Promise<Scenario>,
): Promise<MachineChoice> {
  const config = machineConfig(options);
  const bugs = (options.bug ?? []).map((name) => oneOf('option --bug', name, BUG_NAMES));
  if (options.bugs === false && bugs.length > 0) exclusive('--no-bugs', '--bug');
  const asked = options.arch === undefined ? null : await architectureOption(options.arch);
  const loaded = await load();
  const scenario = options.bugs === false ? { ...loaded, omitTlbFlushes: [] } : loaded;
  const architecture = await scenarioArchitecture(asked, scenario);
  return { scenario, config: { ...config, ...kernelBugs(options, bugs, scenario), architecture } };
}

function kernelBugs(
  { bugs }: MachineOptions,
  added: readonly BugName[],
  scenario: Scenario,
): Pick<MachineSettings, 'kernelBugs'> {
  if (bugs === false) return { kernelBugs: [] };
  return added.length === 0 ? {} : { kernelBugs: [...new Set([...(scenario.kernelBugs ?? []), ...added])] };
}

function machineConfig(options: MachineOptions): Omit<MachineConfig, 'architecture'> {
  const { cpus, retention } = options;
  return {
    ...(cpus === undefined ? {} : { cpus: wholeNumber('option --cpus', cpus, 1, 64) }),
    ...(retention === undefined ? {} : { retention: oneOf('option --retention', retention, retentions) }),
    ...(options.cpuModel === undefined ? {} : { cpuModel: options.cpuModel }),
    ...(options.levels === undefined ? {} : { levels: wholeNumber('option --levels', options.levels, 4, 5) }),
    ...(options.tlb === undefined ? {} : { tlbProfile: options.tlb }),
    ...machineSettings(options),
    ...costProfile(options.profile),
    ...hardwareSettings(options),
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
}: MachineOptions): MachineSettings {
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

function costProfile(name: string | undefined): Pick<RunConfig, 'profile'> {
  if (name === undefined) return {};
  const known = oneOf('option --profile', name, Object.keys(COST_PROFILES));
  return { profile: COST_PROFILES[known] as NonNullable<RunConfig['profile']> };
}

/** Read here too, so that a mistake in it is not taken for one of the scenario. */
export async function scheduleText(text: string): Promise<string> {
  const { parseSchedule } = await import('../sched/schedule-text.ts');
  try {
    parseSchedule(text);
    return text;
  } catch (error) {
    throw error instanceof InputError ? error.at({ file: 'option --schedule' }) : error;
  }
}
