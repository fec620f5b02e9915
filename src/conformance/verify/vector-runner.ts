/**
 * What the verifier needs of an architecture: to take one line of a vector file, run it and say what came out
 * differently. Each architecture brings its own runner; the verifier counts, filters and reports.
 */
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import type { Retention } from '../../hardware/retention.ts';
import type { Place } from '../json-fields.ts';

/** One thing that was not as recorded. */
export interface Mismatch {
  /** `outcome`, or the entry: `entry 0xa017b620`. */
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

/** The first step of a vector that did not come out as recorded. */
export interface VectorDifference {
  readonly id: string;
  readonly file: string;
  readonly line: number;
  /** From 1. */
  readonly step: number;
  readonly steps: number;
  /** What decides beside the control registers: keys, processor; with the registers when there is no walk. */
  readonly state: readonly string[];
  /** The step in words: `user write of 0x7f00… through DS`. */
  readonly operation: string;
  readonly mismatches: readonly Mismatch[];
  /** The walk, level by level, as the model made it; null for steps that translate nothing. */
  readonly walk: ExplainedWalk | null;
}

/** The difference at step `index` of a vector: where it is, with what was found there. */
export const differenceAt = (
  { id, steps }: { readonly id: string; readonly steps: readonly unknown[] },
  index: number,
  { file, line }: Place & { readonly line: number },
  {
    state,
    walk,
    operation,
    mismatches,
  }: Pick<VectorDifference, 'state' | 'walk' | 'operation' | 'mismatches'>,
): VectorDifference => ({
  id,
  file,
  line,
  step: index + 1,
  steps: steps.length,
  state,
  operation,
  mismatches,
  walk,
});

/** One vector, run. */
export interface VectorOutcome {
  readonly id: string;
  /** What the vector is, as the report counts it: `sequences`, `MTE accesses`. */
  readonly kind: string;
  /** Steps that were run: up to the one that differed. */
  readonly steps: number;
  readonly tags: readonly string[];
  readonly difference: VectorDifference | null;
  /** What it needs and the model does not have, so that it was not run: neither passed nor failed. */
  readonly unsupported?: readonly string[];
}

export interface VectorRunner {
  /**
   * Runs one parsed line from a fresh state.
   * @throws InputError naming file, line and field when it is not a vector of this architecture
   */
  run(value: unknown, place: Place & { readonly line: number }): VectorOutcome;
}

/** One access of a vector, explained. */
export interface ExplainedVector {
  readonly id: string;
  /** The step that is explained, from 1, and how many there are. */
  readonly step: number;
  readonly steps: number;
  /** The step in words. */
  readonly operation: string;
  /** What decides beside the registers that the walk names. */
  readonly state: readonly string[];
  readonly walk: ExplainedWalk;
  /** What the recording machine gave. */
  readonly recorded: string;
}

export interface VectorArchitecture {
  /** As in a vector's field `arch`. */
  readonly name: string;
  createRunner(retention: Retention): VectorRunner;
  /**
   * Makes one access of the vector of this parsed line, observed.
   * @param step from 1; the last access when not given
   * @throws InputError when the line is no vector, or the step makes no access
   */
  explain(value: unknown, place: Place, step?: number): ExplainedVector;
}
