/**
 * What can be wrong with one run, and whether two runs have the same thing wrong with them. A run that only reached
 * its bound on steps is a problem when its tasks do not end though all of them get their turn.
 */
import type { WaitReport } from '../../sched/run-result.ts';

type ProblemKind =
  /** A check of src/check/races found something. */
  | 'check'
  /** A sentence of the scenario's `always` or `finally`, or a check that a program makes itself, does not hold. */
  | 'assertion'
  | 'deadlock'
  /** The emulator threw: a WARN or BUG of the kernel, or a mistake in it. */
  | 'broken invariant'
  | 'livelock'
  /** A program threw, and does not under the schedule that gives every CPU the same time. */
  | 'program error';

export interface Problem {
  readonly kind: ProblemKind;
  /** Of the check or of the assertion; of other kinds the same as `kind`. */
  readonly name: string;
  /** What happened, for people; the first line says it. */
  readonly text: string;
  /** The rule that is broken, as one sentence, and where it is from; null where the scenario has it. */
  readonly rule: string | null;
  readonly source: string | null;
  /** Names of the objects it is about, as far as they are known: locks, VMAs, frames. */
  readonly objects: readonly string[];
  /** Whose step it was, as far as that is known. */
  readonly task: string | null;
  /** Who waits for what: of a deadlock. */
  readonly waits: readonly ProblemWait[];
}

/** Who waits at the end of a deadlock, and for what. */
type ProblemWait = Pick<WaitReport, 'task' | 'cpu' | 'operation' | 'object' | 'holders'>;

/** Two problems with the same key are the same finding, found on two ways. */
export function problemKey({ kind, name, text }: Problem): string {
  return kind === 'broken invariant' || kind === 'program error'
    ? `${kind}: ${withoutNumbers(text)}`
    : `${kind}: ${name}`;
}

/** What a message says, whichever frame, address or step it is about. */
const withoutNumbers = (text: string): string =>
  (text.split('\n')[0] as string).replaceAll(/0x[0-9a-f]+|\d+/gi, '#');
