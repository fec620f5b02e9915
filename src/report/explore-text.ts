/** What `tablewalk explore` prints. */
import type { ExploreResult, Finding } from '../userland/explore/explore.ts';
import { type ScheduleTimelineOptions, scheduleTimelineText } from './schedule-timeline.ts';

export function exploreText(result: ExploreResult, options: ScheduleTimelineOptions): string {
  const { title, runs, ended, findings } = result;
  const lines = [
    `${title}: ${findings.length} found in ${runs} runs (${ended})`,
    ...findings.flatMap((finding) => findingLines(finding, result, options)),
  ];
  return `${lines.join('\n')}\n`;
}

function findingLines(finding: Finding, result: ExploreResult, options: ScheduleTimelineOptions): string[] {
  const { kind, name, text, run, schedule, steps, preemptions, objects, waits, traced } = finding;
  const timeline = {
    cpus: result.cpus,
    arch: result.settings.run.architecture.name,
    steps: traced.trace,
    events: traced.events,
    objects,
    waits,
    found: `${kind}: ${name}`,
  };
  return [
    '',
    scheduleTimelineText(timeline, options),
    '',
    `${kind}: ${name}`,
    text,
    `run ${run}, ${steps} steps, ${preemptions} preemptions`,
    `schedule: ${schedule}`,
  ];
}
