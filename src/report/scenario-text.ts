/** What `tablewalk run` prints: the timeline, then how it ended and what it cost. */
import type { ScenarioOutcome, ScenarioResult } from '../userland/run-scenario.ts';
import { tableLines } from './table.ts';
import { type TimelineOptions, timelineText } from './timeline-text.ts';

export type ScenarioTextOptions = Omit<TimelineOptions, 'cpus'>;

const withCommas = (count: number): string => count.toLocaleString('en-US');

/** Everything, with a final newline. */
export function scenarioText(result: ScenarioResult, options: ScenarioTextOptions = {}): string {
  return `${timelineText(result.events, { ...options, cpus: result.config.cpus })}\n\n${scenarioSummary(result)}`;
}

/** One documented object for `--json`. */
export function scenarioJson(result: ScenarioResult): object {
  return {
    ...result,
    programs: result.programs.map((program) => ({ ...program, value: program.value ?? null })),
    variables: Object.fromEntries(result.variables),
  };
}

/** How it ended, what each program did, counters, and the schedule that gives the same run again. */
export function scenarioSummary(result: ScenarioResult): string {
  const { config, programs, variables } = result;
  const lines = [
    `${result.title}: ${outcomeWords(result.outcome)}`,
    '',
    ...programTable(programs),
    '',
    ...(variables.length > 0 ? [`shared variables: ${variables.map(variableText).join(', ')}`] : []),
    `events: ${counterText(result.counters)}`,
    `${withCommas(result.steps)} steps, ${withCommas(result.cycles)} cycles ` +
      `(${result.cyclesByCpu.map((cycles, cpu) => `CPU ${cpu}: ${withCommas(cycles)}`).join(', ')})`,
    `${config.arch} (${config.cpuModel}, ${config.levels} levels, TLB ${config.tlbProfile})`,
    `${config.cpus} ${config.cpus === 1 ? 'CPU' : 'CPUs'}, policy ${config.policy}, seed ${config.seed}, ` +
      `TLB retention ${config.retention}, costs ${config.profile}`,
    ...(result.schedule === '' ? [] : [`schedule: ${result.schedule}`]),
  ];
  return `${lines.join('\n')}\n`;
}

function outcomeWords(outcome: ScenarioOutcome): string {
  switch (outcome.kind) {
    case 'finished':
      return 'finished, every assertion holds';
    case 'assertion failed':
      return `ASSERTION FAILED: "${outcome.name}": ${outcome.text}`;
    case 'unsupported':
      return `unsupported: ${outcome.what}`;
    case 'interrupted':
      return outcome.text;
    default:
      return `${outcome.kind.toUpperCase()}\n${outcome.text}`;
  }
}

function programTable(programs: ScenarioResult['programs']): string[] {
  const rows = programs.map(({ name, pid, cpu, state, exitStatus, killedBy, minFlt, majFlt }) => [
    name,
    String(pid),
    String(cpu),
    killedBy ?? (state === 'running' ? 'still running' : `exit status ${exitStatus >> 8}`),
    String(minFlt),
    String(majFlt),
  ]);
  return tableLines([['program', 'pid', 'CPU', 'end', 'minor faults', 'major'], ...rows]);
}

function variableText([name, value]: ScenarioResult['variables'][number]): string {
  return `${name} = ${typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value)}`;
}

function counterText(counters: Readonly<Record<string, number>>): string {
  const shown = Object.entries(counters).filter(([, count]) => count > 0);
  return shown.map(([kind, count]) => `${kind} ${withCommas(count)}`).join(', ') || 'none';
}
