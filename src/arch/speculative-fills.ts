/** The part of speculation that only the architecture knows: where a CPU would walk from, and the walk. */
export interface SpeculativeFills {
  /** Frame of the root table that a CPU has loaded. */
  rootFrame(cpu: number): number;
  /**
   * Fills the translation of a page number of user space, as a processor may do at any time (SDM vol. 3A, "Caching
   * Translation Information"): accessed flags are set, dirty never, and nothing faults.
   * @returns whether there was a translation
   */
  fill(cpu: number, page: number): boolean;
}
