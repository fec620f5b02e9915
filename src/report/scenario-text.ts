/** What `tablewalk run` prints: the timeline, then how it ended and what it cost. */
import { hexAddress } from '../base/u64.ts';
import { COST_PROFILES } from '../hardware/cost-profile.ts';
import { TLB_PROFILES, type TlbProfile } from '../hardware/retention.ts';
import { signalName } from '../userland/calls/signal-names.ts';
import type { ProgramResult, ScenarioResult } from '../userland/run-scenario.ts';
import { sectionLines } from './sections-text.ts';
import { tableLines } from './table.ts';
import { type TimelineOptions, timelineText } from './timeline-text.ts';

export type ScenarioTextOptions = Omit<TimelineOptions, 'cpus' | 'arch'>;

/** From here numbers are easier to recognise in hexadecimal. */
const FIRST_HEXADECIMAL = 4096;

const withCommas = (count: number): string => count.toLocaleString('en-US');

/** Everything, with a final newline. */
export function scenarioText(result: ScenarioResult, options: ScenarioTextOptions = {}): string {
  return `${timelineText(result.events, { ...options, cpus: result.config.cpus, arch: result.config.arch })}\n\n${scenarioSummary(result, options)}`;
}

/** One documented object for `--json`. */
export function scenarioJson(result: ScenarioResult): object {
  return {
    ...result,
    programs: result.programs.map((program) => ({ ...program, value: program.value ?? null })),
    variables: Object.fromEntries(result.variables),
  };
}

/**
 * How it ended, what each program did, what it cost, and the schedule that gives the same run again, where the
 * configuration alone does not say it.
 * @param options `all` also counts the events by kind
 */
export function scenarioSummary(
  result: ScenarioResult,
  { all = false }: Pick<ScenarioTextOptions, 'all'> = {},
): string {
  const { config, programs, variables } = result;
  const lines = [
    `${result.title}: ${outcomeWords(result)}`,
    '',
    ...result.report.flatMap((section) => [...sectionLines(section), '']),
    ...programTable(programs),
    '',
    ...(variables.length > 0 ? [`shared variables: ${variables.map(variableText).join(', ')}`] : []),
    ...result.remarks.map((remark) => `WARNING: ${remark}`),
    ...remoteLines(result),
    ...(all ? [`events: ${counterText(result.counters)}`] : []),
    `${withCommas(result.steps)} steps, ${withCommas(result.cycles)} cycles ` +
      `(${result.cyclesByCpu.map((cycles, cpu) => `CPU ${cpu}: ${withCommas(cycles)}`).join(', ')})`,
    `${config.arch} (${config.cpuModel}, ${config.levels} levels, TLB ${profileName(config.tlbProfile, tlbArchitectures, config.arch)})`,
    `${config.cpus} ${config.cpus === 1 ? 'CPU' : 'CPUs'}, policy ${config.policy}${['random', 'stalling'].includes(config.policy) || config.seed !== 1 ? `, seed ${config.seed}` : ''}, ` +
      `TLB retention ${config.retention}${config.speculation ? ' with speculative fills' : ''}, costs ${profileName(config.profile, costArchitectures, config.arch)}`,
    ...(needsSchedule(result) ? [`schedule: ${result.schedule}`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** Nothing when nobody accessed another process's memory. */
function remoteLines({ remoteAccess }: ScenarioResult): string[] {
  if (remoteAccess === null) return [];
  const { design, wrong, calls, bytes, vmaLookups, walks, fallbacks } = remoteAccess;
  const reasons = Object.entries(fallbacks).map(([reason, count]) => `${reason} ${withCommas(count)}`);
  return [
    ...(wrong === null ? [] : [`WARNING: design ${design} is wrong on purpose: ${wrong}`]),
    `remote accesses (design ${design}): ${withCommas(calls)} ${calls === 1 ? 'call' : 'calls'}, ${withCommas(bytes)} bytes copied, ` +
      `${withCommas(vmaLookups)} VMA look-ups, ${withCommas(walks)} walks, ` +
      `fallbacks to mmap_lock: ${reasons.join(', ') || 'none'}`,
  ];
}

type Architectures = ReadonlyMap<string, string | null | undefined>;

const tlbArchitectures: Architectures = new Map(
  Object.entries(TLB_PROFILES).map(([name, { arch }]: readonly [string, TlbProfile]) => [name, arch]),
);
const costArchitectures: Architectures = new Map(
  Object.entries(COST_PROFILES).map(([name, { data }]) => [name, data.arch]),
);

/** Figures of a processor of another architecture can be asked for; the summary says so. */
function profileName(name: string, architectures: Architectures, arch: string): string {
  const own = architectures.get(name) ?? arch;
  return own === arch ? name : `${name}, a processor of ${own}`;
}

/** A run that ended well under a policy without choices of its own is repeated by its configuration. */
function needsSchedule({ outcome, config, schedule }: ScenarioResult): boolean {
  // A schedule without a choice is written as a dash.
  if (schedule === '' || schedule === '-') return false;
  return outcome.kind !== 'finished' || !['virtual-time', 'round-robin'].includes(config.policy);
}

function outcomeWords({ outcome, assertions }: ScenarioResult): string {
  switch (outcome.kind) {
    case 'finished':
      return assertions === 0 ? 'finished' : 'finished, every assertion holds';
    case 'assertion failed':
      return `ASSERTION FAILED: "${outcome.name}": ${outcome.text}`;
    case 'check failed':
      return `CHECK FAILED: ${outcome.name}: ${outcome.text}\n  rule: ${outcome.rule}\n  source: ${outcome.source}`;
    case 'unsupported':
      return `unsupported: ${outcome.what}`;
    case 'interrupted':
      return outcome.text;
    case 'deadlock':
      return outcome.text.replace(/^deadlock/, 'DEADLOCK');
    case 'step bound':
      return `STEP BOUND: ${outcome.text}`;
  }
}

/** A process that is left when its program has returned is there for the assertions about the end. */
function endWords({ state, exitStatus, killedBy, returned }: ProgramResult): string {
  if (killedBy !== null) return killedBy;
  if (state === 'running') return returned ? 'returned' : 'still running';
  const signal = exitStatus & 0x7f;
  return signal === 0 ? `exit status ${exitStatus >> 8}` : `killed by ${signalName(signal)}`;
}

function programTable(programs: ScenarioResult['programs']): string[] {
  const rows = programs.map((program) => [
    program.name,
    String(program.pid),
    String(program.cpu),
    endWords(program),
    String(program.minFlt),
    String(program.majFlt),
  ]);
  return tableLines([['program', 'pid', 'CPU', 'end', 'minor faults', 'major'], ...rows]);
}

/** Small numbers (counts, pids) decimal, larger ones (addresses, data) hexadecimal, whichever type holds them. */
function variableText([name, value]: ScenarioResult['variables'][number]): string {
  const isLarge = typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value));
  return `${name} = ${isLarge && value >= FIRST_HEXADECIMAL ? hexAddress(BigInt(value)) : String(value)}`;
}

function counterText(counters: Readonly<Record<string, number>>): string {
  const shown = Object.entries(counters).filter(([, count]) => count > 0);
  return shown.map(([kind, count]) => `${kind} ${withCommas(count)}`).join(', ') || 'none';
}
