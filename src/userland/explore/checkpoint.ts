/**
 * Where an exploration is, as plain JSON: what another process needs to go on from there and to come to the same answer.
 * It belongs to one scenario and one configuration, and says so itself.
 */
import { InputError } from '../../base/input-error.ts';
import type { SearchOptions, SearchState } from '../../sched/search/search.ts';
import type { Scenario } from '../scenario.ts';
import type { ExploreSettings } from './config.ts';

export interface ExploreCheckpoint {
  readonly format: 'tablewalk explore checkpoint';
  readonly version: 1;
  /** What it belongs to: names with values as text. */
  readonly of: Readonly<Record<string, string>>;
  readonly search: SearchState;
  readonly deepest: number;
  readonly slow: number;
  readonly findings: readonly FoundBefore[];
}

/** A finding, as the run that has it in its simplest form. */
interface FoundBefore {
  readonly run: number;
  readonly schedule: string;
  /** In words, to tell whether it is still found. */
  readonly key: string;
}

/** It is of something else than what is to go on. */
export class CheckpointMisfit extends InputError {}

const FORMAT = 'tablewalk explore checkpoint';

export function makeCheckpoint(
  of: ExploreCheckpoint['of'],
  rest: Pick<ExploreCheckpoint, 'search' | 'deepest' | 'slow' | 'findings'>,
): ExploreCheckpoint {
  return { format: FORMAT, version: 1, of, ...rest };
}

/** What tells one exploration from another, beside the options of its search. */
export function identityOf(
  scenario: Scenario,
  { run, maxSteps, checksOff, schedule, source }: ExploreSettings,
): ExploreCheckpoint['of'] {
  const { architecture, profile, ...config } = run;
  return {
    scenario: scenario.title,
    code: checksum(codeOf(scenario) + source),
    architecture: architecture.name,
    costs: profile?.name ?? 'flat',
    configuration: JSON.stringify(Object.fromEntries(Object.entries(config).sort())),
    steps: String(maxSteps),
    'checks off': [...checksOff].sort().join(', ') || 'none',
    schedule: schedule ?? 'none',
  };
}

/** The text of a scenario's functions, and its settings; not that of the modules they use. */
function codeOf(scenario: Scenario): string {
  const { file: _, ...rest } = scenario;
  return JSON.stringify(rest, (_key, value: unknown) =>
    typeof value === 'function' ? String(value) : value,
  );
}

/** FNV-1a with 32 bits. */
function checksum(text: string): string {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, '0');
}

/** @throws CheckpointMisfit when it is no checkpoint, or one of something else */
export function checkCheckpoint(
  value: unknown,
  of: ExploreCheckpoint['of'],
  options: SearchOptions,
): ExploreCheckpoint {
  const checkpoint = value as Partial<ExploreCheckpoint> | null;
  if (checkpoint?.format !== FORMAT || checkpoint.version !== 1 || checkpoint.of === undefined) {
    throw new CheckpointMisfit('not a checkpoint of this version', {
      expected: `"format": "${FORMAT}", "version": 1`,
    });
  }
  for (const [key, here] of Object.entries(of)) {
    const there = String(checkpoint.of[key]);
    if (there !== here) throw another(key === 'code' ? EDITED : `${key}: ${there} in the file, ${here} here`);
  }
  checkSearch(checkpoint.search?.options, options);
  return checkpoint as ExploreCheckpoint;
}

const EDITED = 'the scenario has been edited since';

const another = (difference: string): CheckpointMisfit =>
  new CheckpointMisfit(`the checkpoint is of another exploration: ${difference}`);

/** As the command line has them. */
function checkSearch(there: SearchOptions | undefined, here: SearchOptions): void {
  for (const key of ['policy', 'seed', 'preemptions', 'depth', 'reduction'] as const) {
    if (there?.[key] !== here[key])
      throw another(`${key}: ${there?.[key] ?? 'all'} in the file, ${here[key] ?? 'all'} here`);
  }
  const shardOf = ({ shard }: SearchOptions): string => `${shard.index}/${shard.count}`;
  if (there !== undefined && shardOf(there) !== shardOf(here)) {
    throw another(`shard: ${shardOf(there)} in the file, ${shardOf(here)} here`);
  }
}
