/**
 * What may differ between runs of one scenario, and what a run makes of it: the processor, CPUs, retention and policy.
 */
import type { ProcessorOptions } from '../arch/processor-options.ts';
import { InputError } from '../base/input-error.ts';
import type { CostProfile } from '../hardware/cost-profile.ts';
import { fillOf, type Policy } from '../sched/policy/policy.ts';
import { RandomPolicy } from '../sched/policy/random.ts';
import { ReplayPolicy } from '../sched/policy/replay.ts';
import { RoundRobinPolicy } from '../sched/policy/round-robin.ts';
import { StallingPolicy } from '../sched/policy/stalling.ts';
import { StraightPolicy } from '../sched/policy/straight.ts';
import { VirtualTimePolicy } from '../sched/policy/virtual-time.ts';
import { parseSchedule } from '../sched/schedule-text.ts';
import type { HardwareSettings } from './hardware-choices.ts';
import { MACHINE_SETTINGS, type MachineSettings } from './machine-settings.ts';
import type { Scenario } from './scenario.ts';
import type { System, SystemArchitecture } from './system.ts';
import { checkKeys } from './units.ts';

type PolicyName = 'virtual-time' | 'round-robin' | 'random' | 'stalling';

/**
 * What may differ between runs of one scenario; `cpuModel`, `levels` and `tlbProfile` choose the processor, `memory` and
 * its like go before what the scenario says.
 */
export interface RunConfig extends ProcessorOptions, MachineSettings {
  readonly architecture: SystemArchitecture;
  /** Default: the scenario's, else 1. */
  readonly cpus?: number;
  /**
   * Default: `virtual-time`. `schedule` goes before it. `stalling` draws as `random` does, and now and then lets one CPU do
   * nothing for a long while.
   */
  readonly policy?: PolicyName | Policy;
  /** For the policies that draw, and for random memory tags; default 1. */
  readonly seed?: number;
  /**
   * Makes the choices of another run: the text it printed. Past its end `policy` goes on, or, where none is given, whoever
   * made the last step as long as it can.
   */
  readonly schedule?: string;
  /** Watches the run with the checks of src/check/races, all or those named; the first finding ends it. Default: none. */
  readonly checks?: boolean | readonly string[];
  /** Default: the scenario's, else `profile`. */
  readonly retention?: 'profile' | 'adversarial' | 'none';
  /**
   * CPUs may fill translations ahead of any access, as the policy chooses: `random`, a replayed schedule, or one of
   * your own. Needs adversarial retention, which is the default then. Default: only if `schedule` has such fills; the
   * schedule of a run with speculation needs it in the replay too.
   */
  readonly speculation?: boolean;
  /** What else the schedule may let happen: docs/explore.md. Default: nothing. */
  readonly hardware?: HardwareSettings;
  /** What steps cost; default: one cycle each. */
  readonly profile?: CostProfile;
  /** Bound on steps; default 10 million. */
  readonly maxSteps?: number;
  /** Events kept in the result; default 100,000. They are counted beyond that. */
  readonly maxEvents?: number;
  /** Called once, when the programs have ended or the run was stopped, while the processes still have their memory. */
  readonly atEnd?: (system: System) => void;
}

const ANY_ARCHITECTURE = 'both';

export interface Settings {
  readonly processor: Required<ProcessorOptions>;
  readonly cpus: number;
  readonly retention: 'profile' | 'adversarial' | 'none';
  readonly speculation: boolean;
  readonly policy: Policy;
}

const RUN_KEYS: readonly string[] = [
  'architecture',
  'cpus',
  'policy',
  'seed',
  'schedule',
  'checks',
  'retention',
  'speculation',
  'hardware',
  'profile',
  'maxSteps',
  'maxEvents',
  'atEnd',
  'cpuModel',
  'levels',
  'tlbProfile',
  ...MACHINE_SETTINGS,
];
const POLICIES: readonly PolicyName[] = ['virtual-time', 'round-robin', 'random', 'stalling'];

/** @throws InputError for a key that is unknown, or a policy */
export function checkRunConfig(config: RunConfig): void {
  checkKeys(config, RUN_KEYS, 'the configuration of a run');
  const { policy = 'virtual-time' } = config;
  if (typeof policy !== 'string' || POLICIES.includes(policy)) return;
  throw new InputError('the policy is not known', { expected: POLICIES.join(', '), found: `'${policy}'` });
}

/** What a run has, from its configuration and what the scenario says. @throws InputError for what cannot be */
export function settle(scenario: Scenario, config: RunConfig): Settings {
  const { arch = ANY_ARCHITECTURE } = scenario;
  if (arch !== ANY_ARCHITECTURE && arch !== config.architecture.name) {
    throw new InputError(
      `the scenario "${scenario.title}" is for ${arch}, not ${config.architecture.name}`,
      inFile(scenario),
    );
  }
  const cpus = config.cpus ?? scenario.cpus ?? 1;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 64) {
    throw new InputError('the number of CPUs is out of range', { expected: '1 to 64', found: `${cpus}` });
  }
  checkPlacement(scenario, cpus);
  return {
    processor: config.architecture.processor(config),
    cpus,
    ...settleSpeculation(scenario, config),
    policy: policyOf(config),
  };
}

function checkPlacement(scenario: Scenario, cpus: number): void {
  for (const [name, cpu] of Object.entries(scenario.placement ?? {})) {
    if (Number.isInteger(cpu) && cpu >= 0 && cpu < cpus) continue;
    throw new InputError(
      `"${name}" has no CPU ${cpu} to run on: there ${cpus === 1 ? 'is' : 'are'} ${cpus}`,
      {
        ...inFile(scenario),
        expected: cpus === 1 ? 'CPU 0' : `0 to ${cpus - 1}`,
      },
    );
  }
}

function settleSpeculation(
  scenario: Scenario,
  { retention, speculation, schedule, policy = 'virtual-time' }: RunConfig,
): Pick<Settings, 'retention' | 'speculation'> {
  const replayed = schedule === undefined ? null : parseSchedule(schedule);
  const wanted = speculation ?? replayed?.codes.some((code) => fillOf(code) !== null) ?? false;
  const settled = retention ?? scenario.retention ?? (wanted ? 'adversarial' : 'profile');
  if (!wanted) return { retention: settled, speculation: false };
  if (settled !== 'adversarial') {
    throw new InputError('speculative fills need TLB retention adversarial', { found: settled });
  }
  if (replayed === null && typeof policy === 'string' && policy !== 'random') {
    throw new InputError(`the policy ${policy} never chooses speculative fills`, {
      expected: "policy 'random'",
    });
  }
  return { retention: settled, speculation: true };
}

function policyOf({ policy, seed = 1, schedule }: RunConfig): Policy {
  if (schedule === undefined) return policyNamed(policy ?? 'virtual-time', seed);
  const after = policy === undefined ? new StraightPolicy() : policyNamed(policy, seed);
  return new ReplayPolicy(parseSchedule(schedule), after);
}

function policyNamed(policy: PolicyName | Policy, seed: number): Policy {
  if (typeof policy !== 'string') return policy;
  switch (policy) {
    case 'virtual-time':
      return new VirtualTimePolicy();
    case 'round-robin':
      return new RoundRobinPolicy();
    case 'random':
      return new RandomPolicy(seed);
    case 'stalling':
      return new StallingPolicy(seed);
  }
}

/** Where an error about the scenario is. */
export const inFile = ({ file }: Scenario): { readonly file?: string } =>
  file === undefined ? {} : { file };
