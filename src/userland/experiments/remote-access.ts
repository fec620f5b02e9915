/**
 * The experiment of `tablewalk bench remote-access`: every design on the same transfers, first alone, then several
 * readers beside each other and beside a writer.
 */
import type { CostProfile } from '../../hardware/cost-profile.ts';
import type { DesignName } from '../../kernel/remote/design-names.ts';
import type { SystemArchitecture } from '../system.ts';
import {
  type ContentionCase,
  type ContentionCost,
  measureContention,
  type Writer,
} from './remote-access-contention.ts';
import { measureRemoteAccess, type RemoteAccessCase, type RemoteAccessCost } from './remote-access-cost.ts';

export interface RemoteAccessExperiment {
  readonly architecture: SystemArchitecture;
  readonly profile: CostProfile;
  readonly designs: readonly DesignName[];
  /** Sizes of the transfers, in bytes. */
  readonly sizes: readonly number[];
  readonly write: boolean;
  /** Numbers of CPUs that read at the same time. */
  readonly readers: readonly number[];
  /** Of each of them. */
  readonly callsOfReader: number;
}

export interface RemoteAccessFindings {
  readonly alone: readonly RemoteAccessCost[];
  readonly together: readonly ContentionCost[];
}

/** What a reader usually asks for: a word, a page, and more than a page of pointers. */
export const USUAL_SIZES: readonly number[] = [8, 4096, 65536, 2 ** 20];
export const USUAL_READERS: readonly number[] = [1, 2, 4, 8];
const WRITERS: readonly Writer[] = ['none', 'mprotect of another VMA'];

/** The cases of a call alone, as a table shows them: those of one transfer beside each other. */
function casesAlone({ designs, sizes, write }: RemoteAccessExperiment): RemoteAccessCase[] {
  return sizes.flatMap((bytes) =>
    [true, false].flatMap((present) =>
      ([1, 2] as const).flatMap((vmas) => designs.map((design) => ({ design, bytes, write, present, vmas }))),
    ),
  );
}

function casesTogether({ designs, readers }: RemoteAccessExperiment): ContentionCase[] {
  return WRITERS.flatMap((writer) =>
    readers.flatMap((count) => designs.map((design) => ({ design, readers: count, writer }))),
  );
}

/**
 * A generator that stops after every measurement with the number of those made, so that a caller can look at other things.
 * `next(true)` ends it: what was measured so far is the result.
 */
export function* remoteAccessExperiment(
  wanted: RemoteAccessExperiment,
): Generator<number, RemoteAccessFindings, boolean> {
  const alone: RemoteAccessCost[] = [];
  const together: ContentionCost[] = [];
  const findings = { alone, together };
  for (const each of casesAlone(wanted)) {
    alone.push(measureRemoteAccess(wanted, each));
    if (yield alone.length) return findings;
  }
  const { architecture, profile, callsOfReader: calls } = wanted;
  for (const each of casesTogether(wanted)) {
    together.push(measureContention({ architecture, profile, calls }, each));
    if (yield alone.length + together.length) return findings;
  }
  return findings;
}
