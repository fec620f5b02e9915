/**
 * What CPUs do on their own account between the steps of tasks, as one more thing that can happen next: filling a
 * translation ahead of any access. Only a policy that means to chooses it.
 * Left out: other speculation (loads, stores, branches).
 */

/** Where the fills come from. */
export interface Speculation {
  /** How many fills a CPU could make now, at most `FILLS_PER_CPU`. A function of the machine's state. */
  count(cpu: number): number;
  /** Makes fill `index` of those. */
  fill(cpu: number, index: number): void;
}
