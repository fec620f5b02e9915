/** A check that looks on while a scenario runs: its rule, where the rule is from, and what it does to see to it. */
import type { Watch } from './watch.ts';

export interface CheckDefinition {
  /** As the command line and reports name it: `pte-without-lock`. */
  readonly name: string;
  /** What must hold, in one sentence. */
  readonly rule: string;
  /** Where that is said: Linux file and function, manual, CVE, commit. */
  readonly source: string;
  /**
   * Puts its listeners in, once for many runs: what it remembers of a run it forgets in `watch.onRun`. Null: what it looks
   * for is how a run ends, and is told by whoever makes the runs.
   */
  readonly attach: ((watch: Watch) => void) | null;
}

/** One violation. */
export interface CheckFinding {
  /** Name of the check. */
  readonly check: string;
  /** What is wrong, in words. */
  readonly text: string;
  /** Steps made when it was found. */
  readonly step: number;
  /** The task that made the step; null at the end of a run, and for what CPUs do by themselves. */
  readonly task: string | null;
  /** Names of the objects concerned, as schedules and timelines name them. */
  readonly objects: readonly string[];
}
