/**
 * The museum: one row for each exhibit of examples/bugs, with what the explorer must find there. The test of the exhibits
 * and that of docs/museum.md read it.
 */
import type { BugName } from '../../src/kernel/bugs.ts';

export interface Exhibit {
  /** In examples/bugs. */
  readonly file: string;
  /** The switch that its `kernelBugs` has, and nothing else. */
  readonly bug: BugName;
  /** Where it is found. The bugs of one architecture have one. */
  readonly architectures: readonly ('x86_64' | 'arm64')[];
  /**
   * What the default search finds, one of these, whichever it meets first: names of checks, `deadlock`, or `assertion` for a
   * sentence of the exhibit's own.
   */
  readonly finding: readonly string[];
  /** In the text of what is found. */
  readonly text: RegExp;
}

const BOTH = ['x86_64', 'arm64'] as const;

/** By name of the file. */
export const EXHIBITS: readonly Exhibit[] = [
  {
    file: 'mremap-stale-tlb.ts',
    bug: 'mremap-stale-tlb',
    architectures: BOTH,
    finding: ['assertion'],
    text: /./,
  },
];
