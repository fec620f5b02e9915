/**
 * A scenario: processes that run programs on one machine, what they tell each other, and what must hold. A scenario
 * is data and functions without state of their own; `runScenario` makes a fresh machine and kernel for every run, so
 * that a run is a function of scenario, configuration and seed or schedule.
 * Left out: threads of one process, sockets, and any notion of real time.
 */

import { InputError } from '../base/input-error.ts';
import type { Task } from '../base/task.ts';
import { checkMachineSettings, MACHINE_SETTINGS, type MachineSettings } from './machine-settings.ts';
import { FLUSH_OPERATIONS, type FlushOperation } from './omit-flushes.ts';
import type { ReportSection } from './scenario-report.ts';
import type { Share } from './share.ts';
import type { User } from './user.ts';
import type { WorldView } from './world-view.ts';

/**
 * A program: a generator that makes calls with `yield* u.…`. Between two calls it takes no time and cannot be
 * interrupted. What it returns is part of the result of the run. A forked process exits with 0 when its program returns,
 * the others when all have returned.
 */
export type Program = (u: User, share: Share) => Task<unknown>;

/** `true` when it holds; `false`, or a text that says more, when it does not. */
export type Assertion = (world: WorldView) => boolean | string;

export interface Scenario extends MachineSettings {
  /** One line: what happens, or what is shown. */
  readonly title: string;
  /** Longer explanation for reports. */
  readonly description?: string;
  /**
   * Name of the only architecture it is for, or `both` (the default) for any. A run on another one is refused with an
   * `InputError`.
   */
  readonly arch?: string;
  /** CPUs of the machine, 1…64; default 1. The configuration of a run may change it. */
  readonly cpus?: number;
  /** TLB retention this scenario is about; default `profile`. The configuration of a run may change it. */
  readonly retention?: 'profile' | 'adversarial' | 'none';
  /**
   * A kernel with a bug put in on purpose: these functions change nothing in any TLB. For scenarios that show what a
   * missing flush does, and for trying a check.
   */
  readonly omitTlbFlushes?: readonly FlushOperation[];
  /**
   * One process for each, all there from the start, with pids 2, 3, … in this order and an empty address space each.
   * Process number n starts on CPU (n - 1) mod cpus, unless `placement` says otherwise.
   */
  readonly programs: Readonly<Record<string, Program>>;
  /** CPU by program name, or by the name that a `fork` gives its child. */
  readonly placement?: Readonly<Record<string, number>>;
  /** Must hold at every point where the scheduler may switch. The name is a sentence: it is what a violation prints. */
  readonly always?: Readonly<Record<string, Assertion>>;
  /**
   * Must hold when every program has ended. Processes of `programs` still have their memory then; forked ones have
   * exited.
   */
  readonly finally?: Readonly<Record<string, Assertion>>;
  /**
   * What the run has to say: tables and notes for whoever reads it, made when every program has ended, also when an
   * assertion of `finally` does not hold then.
   */
  readonly report?: (world: WorldView) => readonly ReportSection[];
  /** `false`: there is too much of it to read, and `tablewalk run` prints it only with `--all`. */
  readonly timeline?: boolean;
  /** File it was loaded from, for messages. Set by loaders, not by authors. */
  readonly file?: string;
}

const KEYS: ReadonlySet<string> = new Set([
  'title',
  'description',
  'arch',
  'cpus',
  'retention',
  'omitTlbFlushes',
  'programs',
  'placement',
  'always',
  'finally',
  'report',
  'timeline',
  'file',
  ...MACHINE_SETTINGS,
]);

/**
 * Checks a scenario and gives it back: `export default defineScenario({ title, programs: { *debugger(u, share) {…} } })`.
 * @throws InputError for an unknown key, a value of the wrong kind, or a placement on a CPU that is not there
 */
export function defineScenario(scenario: Scenario): Scenario {
  return checkScenario(scenario);
}

/** `defineScenario` for a value of unknown origin, such as the default export of a module. */
export function checkScenario(value: unknown): Scenario {
  if (typeof value !== 'object' || value === null) {
    throw new InputError('not a scenario', {
      expected: 'the result of defineScenario({…})',
      found: typeof value,
    });
  }
  const scenario = value as Scenario;
  for (const key of Object.keys(scenario)) {
    if (!KEYS.has(key))
      throw new InputError(`a scenario has no "${key}"`, { expected: [...KEYS].join(', ') });
  }
  if (typeof scenario.title !== 'string' || scenario.title === '')
    throw new InputError('a scenario needs a title');
  checkPrograms(scenario);
  checkArch(scenario.arch);
  checkOneOf('retention', scenario.retention, ['profile', 'adversarial', 'none']);
  for (const operation of scenario.omitTlbFlushes ?? [])
    checkOneOf('omitTlbFlushes', operation, FLUSH_OPERATIONS);
  checkMachineSettings(scenario);
  checkCpus(scenario);
  checkAssertions(scenario);
  return scenario;
}

function checkAssertions(scenario: Scenario): void {
  for (const group of ['always', 'finally'] as const) {
    for (const [name, assertion] of Object.entries(scenario[group] ?? {})) {
      if (typeof assertion !== 'function') throw new InputError(`${group} "${name}" is not a function`);
    }
  }
  const { report, timeline }: { readonly report?: unknown; readonly timeline?: unknown } = scenario;
  if (report !== undefined && typeof report !== 'function')
    throw new InputError('"report" is not a function');
  if (timeline !== undefined && typeof timeline !== 'boolean') {
    throw new InputError('"timeline" is not known', { expected: 'true or false', found: String(timeline) });
  }
}

function checkPrograms(scenario: Scenario): void {
  const programs: unknown = scenario.programs;
  const names = typeof programs === 'object' && programs !== null ? Object.entries(programs) : [];
  if (names.length === 0) throw new InputError('a scenario needs "programs", at least one');
  for (const [name, program] of names) {
    if (typeof program !== 'function') {
      throw new InputError(`program "${name}" is not a function`, { expected: `*${name}(u, share) {…}` });
    }
  }
}

/** Which names there are is known where the run is configured. */
function checkArch(arch: unknown): void {
  if (arch === undefined || (typeof arch === 'string' && arch !== '')) return;
  throw new InputError('"arch" is not a name', {
    expected: 'the name of an architecture, or both',
    found: String(arch),
  });
}

function checkOneOf(key: string, value: unknown, allowed: readonly string[]): void {
  if (value !== undefined && !allowed.includes(value as string)) {
    throw new InputError(`"${key}" is not known`, { expected: allowed.join(', '), found: String(value) });
  }
}

function checkCpus({ cpus = 1, placement = {} }: Scenario): void {
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 64) {
    throw new InputError('"cpus" is out of range', {
      expected: 'a whole number from 1 to 64',
      found: String(cpus),
    });
  }
  for (const [name, cpu] of Object.entries(placement)) {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= cpus) {
      throw new InputError(`"placement" puts "${name}" on CPU ${cpu}`, { expected: `0 to ${cpus - 1}` });
    }
  }
}
