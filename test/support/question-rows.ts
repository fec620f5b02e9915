/**
 * The experiments of docs/questions.md: each a command and what it found. The test of the page makes them as the command would
 * and writes the rows between the page's marks.
 */
import { architectureNamed } from '../../src/arch/registry.ts';
import type { DesignName } from '../../src/kernel/remote/design-names.ts';
import type { ExploreConfig } from '../../src/userland/explore/config.ts';
import type { ExploreResult } from '../../src/userland/explore/explore.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import type { Scenario } from '../../src/userland/scenario.ts';
import type { ReportSection } from '../../src/userland/scenario-report.ts';
import { explore } from './exhibits.ts';

type Choices = Pick<
  ExploreConfig,
  'policy' | 'preemptions' | 'runs' | 'schedule' | 'checksOff' | 'maxSteps' | 'profile'
>;

export interface Experiment extends Choices {
  /** In examples, without `.ts`. */
  readonly file: string;
  readonly design: DesignName;
  readonly arch?: 'x86_64' | 'arm64';
}

export async function scenarioNamed(file: string): Promise<Scenario> {
  const [folder, name] = file.split('/');
  const module = (await import(`../../examples/${folder}/${name}.ts`)) as { readonly default: Scenario };
  return module.default;
}

/** Depth first, with at most so many preemptions, for each of some designs. */
export const depthFirst = (
  file: string,
  preemptions: number,
  designs: readonly DesignName[],
  more: Partial<Experiment> = {},
): Experiment[] => designs.map((design) => ({ file, policy: 'dfs', preemptions, design, ...more }));

export function commandOf({ file, arch, ...choices }: Experiment): string {
  const { policy, preemptions, runs, schedule, checksOff = [], maxSteps, design } = choices;
  return [
    `tablewalk explore examples/${file}.ts`,
    ...(arch === undefined ? [] : [`--arch ${arch}`]),
    ...(policy === undefined ? [] : [`--policy ${policy}`]),
    ...(preemptions === undefined ? [] : [`--preemptions ${preemptions ?? 'all'}`]),
    ...(runs === undefined ? [] : [`--runs ${runs}`]),
    ...(maxSteps === undefined ? [] : [`--steps ${maxSteps}`]),
    ...checksOff.map((name) => `--no-check ${name}`),
    ...(schedule === undefined ? [] : [`--schedule '${schedule}'`]),
    `--design ${design}`,
  ].join(' ');
}

/** @param shrinkRuns default: as the command's */
export async function make(
  { file, arch, ...choices }: Experiment,
  shrinkRuns = 2000,
): Promise<ExploreResult> {
  return explore(await scenarioNamed(file), arch ?? 'x86_64', { ...choices, shrinkRuns });
}

export const ROWS_HEAD = '| found | by |\n|---|---|\n';

export function rowOf(experiment: Experiment, result: ExploreResult): string {
  return `| ${foundBy(experiment, result)} | \`${commandOf(experiment)}\` |\n`;
}

function foundBy({ design, preemptions, schedule }: Experiment, result: ExploreResult): string {
  const { ended, runs, redundant, distinctStates, findings } = result;
  const [finding] = findings;
  if (finding !== undefined) {
    const { kind, name, text, preemptions: switches } = finding;
    const by =
      kind === 'check' ? `the check \`${name}\`` : kind === 'assertion' ? 'the sentence' : `a ${name}`;
    const what = kind === 'assertion' ? `“${name}”: ${firstLine(text)}` : firstLine(text);
    const with_ = switches === 1 ? '1 switch' : `${switches} switches`;
    return `**${design} breaks**, ${by}: ${what}. Schedule, ${with_}: \`${finding.schedule}\``;
  }
  const many = `${grouped(runs)} run${runs === 1 ? '' : 's'}`;
  if (ended !== 'exhausted') return `${design}: nothing in ${many}`;
  const after = schedule === undefined ? '' : ' that begins so';
  return `${design} holds under every schedule${after} with at most ${preemptions} preemption${preemptions === 1 ? '' : 's'}: ${many}, ${grouped(redundant)} more cut short, ${grouped(distinctStates)} states`;
}

const firstLine = (text: string): string => (text.split('\n')[0] as string).replaceAll('|', '\\|');
const grouped = (count: number): string => count.toLocaleString('en-US');

/** The report of one run, as `tablewalk run` shows it. */
export async function reportOf({ file, design, profile }: Experiment): Promise<readonly ReportSection[]> {
  const scenario = await scenarioNamed(file);
  const config = { architecture: architectureNamed('x86_64'), design, maxEvents: 0 };
  return runScenario(scenario, profile === undefined ? config : { ...config, profile }).report;
}
