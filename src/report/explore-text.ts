/** What `tablewalk explore` prints. */
import type { ExploreResult, Finding } from '../userland/explore/explore.ts';

export function exploreText(result: ExploreResult): string {
  const { title, runs, ended, findings } = result;
  const lines = [
    `${title}: ${findings.length} found in ${runs} runs (${ended})`,
    ...findings.flatMap(findingLines),
  ];
  return `${lines.join('\n')}\n`;
}

function findingLines({ kind, name, text, run, schedule, steps, preemptions }: Finding): string[] {
  return [
    '',
    `${kind}: ${name}`,
    text,
    `run ${run}, ${steps} steps, ${preemptions} preemptions`,
    `schedule: ${schedule}`,
  ];
}
