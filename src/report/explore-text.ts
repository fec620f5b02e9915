/** What `tablewalk explore` prints: the picture of each finding, the rule it breaks, how to see it again, how far it went. */
import type { ExploreResult, Finding } from '../userland/explore/explore.ts';
import type { TaskPlace, TracedRun } from '../userland/explore/traced-run.ts';
import { DEFAULT_WIDTH, type ScheduleTimelineOptions, scheduleTimelineText } from './schedule-timeline.ts';
import { wrapped } from './timeline-text.ts';

export interface ExploreTextOptions extends ScheduleTimelineOptions {
  /** Every step is shown; default false: those that the finding is about. */
  readonly all?: boolean;
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
  const { text, rule, source, schedule, run, steps, preemptions, traced, remark } = finding;
  const [first = '', ...more] = text.split('\n');
  const command = options.command?.(schedule);
  return [
    ...(traced.trace.length === 0 ? [] : [pictureOf(result, traced, finding, options), '']),
    `FOUND: ${findingName(finding)}: ${first}`,
    ...more,
    ...(rule === null ? [] : [`  rule: ${rule}`]),
    ...(source === null ? [] : [`  source: ${source}`]),
    ...traced.places.flatMap((place) => placeLines(place, traced.steps, options)),
    ...(remark === null ? [] : [`  note: ${remark}`]),
    `  ${count(steps, 'step')}, ${count(preemptions, 'switch', 'switches')} that the schedule makes${found(run, result)}`,
    ...(command === undefined ? [] : [`  replay: ${command}`]),
    `schedule: ${schedule}`,
    '',
  ];
}

/** Where in the kernel a task was: its functions, from the innermost on. */
function placeLines(
  { task, step, functions, at }: TaskPlace,
  steps: number,
  { width = DEFAULT_WIDTH }: ExploreTextOptions,
): string[] {
  const when = step === steps ? `step ${withCommas(step)}` : `last at step ${withCommas(step)}`;
  const where = at === null ? '' : ` (${at})`;
  return wrapped(`  ${task}, ${when}: ${functions.join(' ← ')}${where}`, width);
}

const found = (run: number, { ended }: ExploreResult): string => {
  if (ended === 'replayed') return '';
  const first = `; first seen in run ${withCommas(run)}`;
  return run === 1 ? `${first}, in which every CPU gets the same time` : first;
};

/** A check has a name; what is no check says what it is. */
const findingName = ({ kind, name }: Finding): string => (kind === 'assertion' ? `${kind} "${name}"` : name);

function pictureOf(
  { cpus, settings }: ExploreResult,
  traced: TracedRun,
  finding: Finding | null,
  options: ExploreTextOptions,
): string {
  const timeline = {
    cpus,
    arch: settings.run.architecture.name,
    steps: traced.trace,
    events: traced.events,
    objects: finding?.objects ?? [],
    waits: finding?.waits ?? [],
    stands: traced.stands,
    found: finding === null ? null : findingName(finding),
    all: options.all === true,
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
      return findings.length === 0 ? `nothing is wrong in this run${withoutBugs(settings)}` : things;
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

/** A schedule that was found with a bug may fit without it, too. */
const withoutBugs = ({ run }: ExploreResult['settings']): string =>
  run.kernelBugs?.length === 0 ? ' (all bugs of the scenario are off)' : '';

function spaceOf({ preemptions, schedule, shard }: ExploreResult['settings']): string {
  const bound = preemptions === null ? '' : ` with at most ${count(preemptions, 'preemption')}`;
  const after = schedule === null ? '' : ' that begins as the given one';
  const part = shard.count === 1 ? '' : ` in shard ${shard.index}/${shard.count}`;
  return `${after}${bound}${part}`.trim() || 'there is';
}

function extent({ settings, distinctStates, redundant, deepest, checks, runs }: ExploreResult): string {
  const { policy, seed, preemptions, depth, reduction, shard } = settings;
  const own = {
    dfs: `, ${preemptions === null ? 'any number of preemptions' : `at most ${count(preemptions, 'preemption')}`}, ${reduction ? 'with' : 'without'} reduction`,
    pct: `, depth ${depth}, seed ${seed}`,
    auto: `, seed ${seed}`,
    random: `, seed ${seed}`,
    stalling: `, seed ${seed}`,
  }[policy];
  const part = shard.count === 1 ? '' : `, shard ${shard.index}/${shard.count}`;
  const seen = runs + redundant <= 1 ? 'not begun' : count(distinctStates, 'distinct state');
  return (
    `search ${policy}${own}${part}: ${seen}, ` +
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
      places: traced.places,
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
