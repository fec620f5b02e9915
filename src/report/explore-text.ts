/** What `tablewalk explore` prints: the picture of each finding, the rule it breaks, how to see it again, how far it went. */
import type { ExploreResult, Finding } from '../userland/explore/explore.ts';
import type { TracedRun } from '../userland/explore/traced-run.ts';
import { type ScheduleTimelineOptions, scheduleTimelineText } from './schedule-timeline.ts';

export interface ExploreTextOptions extends ScheduleTimelineOptions {
  /** The command that replays a schedule of this exploration; default: none is shown. */
  readonly command?: (schedule: string) => string;
}

/** Everything, with a final newline. */
export function exploreText(result: ExploreResult, options: ExploreTextOptions = {}): string {
  const { findings, replayed } = result;
  const lines = [
    ...(replayed === null ? [] : [pictureOf(result, replayed, null, options), '']),
    ...findings.flatMap((finding) => findingLines(finding, result, options)),
    ...summaryLines(result),
  ];
  return `${lines.join('\n')}\n`;
}

function findingLines(finding: Finding, result: ExploreResult, options: ExploreTextOptions): string[] {
  const { text, rule, source, schedule, run, steps, preemptions } = finding;
  const [first = '', ...more] = text.split('\n');
  const command = options.command?.(schedule);
  return [
    pictureOf(result, finding.traced, finding, options),
    '',
    `FOUND: ${findingName(finding)}: ${first}`,
    ...more,
    ...(rule === null ? [] : [`  rule: ${rule}`]),
    ...(source === null ? [] : [`  source: ${source}`]),
    `  ${count(steps, 'step')}, ${count(preemptions, 'switch', 'switches')} that the schedule makes${found(run, result)}`,
    ...(command === undefined ? [] : [`  replay: ${command}`]),
    `schedule: ${schedule}`,
    '',
  ];
}

const found = (run: number, { ended }: ExploreResult): string => {
  if (ended === 'replayed') return '';
  return run === 0 ? '; every CPU given the same time shows it' : `; first seen in run ${withCommas(run)}`;
};

/** A check has a name; what is no check says what it is. */
export const findingName = ({ kind, name }: Finding): string =>
  kind === 'assertion' ? `${kind} "${name}"` : name;

function pictureOf(
  { cpus, settings }: ExploreResult,
  { trace, events }: TracedRun,
  finding: Finding | null,
  options: ExploreTextOptions,
): string {
  const timeline = {
    cpus,
    arch: settings.run.architecture.name,
    steps: trace,
    events,
    objects: finding?.objects ?? [],
    waits: finding?.waits ?? [],
    found: finding === null ? null : findingName(finding),
  };
  return scheduleTimelineText(timeline, options);
}

function summaryLines(result: ExploreResult): string[] {
  const { title, settings, slow, checks } = result;
  return [
    `${title}: ${verdict(result)}`,
    ...(result.ended === 'replayed' ? [] : [extent(result)]),
    ...(slow === 0
      ? []
      : [`${count(slow, 'run')} came to an end only by turns, after ${withCommas(settings.maxSteps)} steps`]),
    ...(checks.off.length === 0 ? [] : [`WARNING: checks that are off: ${checks.off.join(', ')}`]),
  ];
}

function verdict(result: ExploreResult): string {
  const { findings, unsupported, ended, runs, settings } = result;
  const things = findings.length === 0 ? 'nothing found' : count(findings.length, 'finding');
  switch (ended) {
    case 'unsupported':
      return `unsupported: ${unsupported}`;
    case 'replayed':
      return findings.length === 0 ? 'nothing is wrong in this run' : things;
    case 'exhausted':
      return `${things}: every schedule ${spaceOf(settings)} was tried, in ${count(runs, 'run')}`;
    case 'runs':
      return `${things} in ${count(runs, 'run')}, the bound; not every schedule was tried`;
    case 'stopped':
      return `${things} in ${count(runs, 'run')}, then it was stopped; not every schedule was tried`;
    case 'finding':
      return `${things} in ${count(runs, 'run')}`;
  }
}

function spaceOf({ preemptions, schedule, shard }: ExploreResult['settings']): string {
  const bound = preemptions === null ? '' : ` with at most ${count(preemptions, 'preemption')}`;
  const after = schedule === null ? '' : ' that begins as the given one';
  return `${after}${bound}${shardText(shard)}`.trim() || 'there is';
}

const shardText = ({ index, count: all }: ExploreResult['settings']['shard']): string =>
  all === 1 ? '' : ` of shard ${index}/${all}`;

function extent({ settings, distinctStates, redundant, deepest, checks }: ExploreResult): string {
  const { policy, seed, preemptions, depth, reduction, shard } = settings;
  const own = {
    dfs: `, ${preemptions === null ? 'any number of' : `at most ${preemptions}`} preemptions, ${reduction ? 'with' : 'without'} reduction`,
    pct: `, depth ${depth}, seed ${seed}`,
    auto: `, seed ${seed}`,
    random: `, seed ${seed}`,
    stalling: `, seed ${seed}`,
  }[policy];
  return (
    `search ${policy}${own}${shardText(shard)}: ${count(distinctStates, 'distinct state')}, ` +
    `${redundant === 0 ? '' : `${count(redundant, 'run')} given up as redundant, `}longest run ${count(deepest, 'step')}, ` +
    `${count(checks.on.length, 'check')} on`
  );
}

/** One documented object for `--json`. */
export function exploreJson(result: ExploreResult, command: (schedule: string) => string): object {
  const { title, settings, cpus, ended, runs, redundant, distinctStates, deepest, slow, checks } = result;
  const { policy, seed, preemptions, depth, reduction, shard, maxSteps } = settings;
  return {
    title,
    arch: settings.run.architecture.name,
    cpus,
    search: { policy, seed, preemptions, depth, reduction, shard, maxSteps, schedule: settings.schedule },
    ended,
    runs,
    redundant,
    distinctStates,
    deepest,
    slow,
    unsupported: result.unsupported,
    checks,
    findings: result.findings.map(({ traced, ...finding }) => ({
      ...finding,
      command: command(finding.schedule),
      timeline: timelineJson(traced),
    })),
    replayed:
      result.replayed === null
        ? null
        : { schedule: result.replayed.schedule(), timeline: timelineJson(result.replayed) },
  };
}

function timelineJson({ trace, events }: TracedRun): object[] {
  return trace.map(({ firstEvent, ...step }, index) => ({
    ...step,
    // What happened before the first step, the start of tasks, is told with it.
    events: events.slice(index === 0 ? 0 : firstEvent, trace[index + 1]?.firstEvent),
  }));
}

const withCommas = (number: number): string => number.toLocaleString('en-US');
const count = (number: number, one: string, many = `${one}s`): string =>
  `${withCommas(number)} ${number === 1 ? one : many}`;
