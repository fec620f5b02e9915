/** What a user may say about how a dump is read, beside the core itself. */
export interface DumpStateOptions {
  /** REGS.json. */
  readonly regs?: string;
  /** The page table, in place of the one of REGS.json or of the core. x86-64 only. */
  readonly cr3?: bigint;
  /** The same of AArch64: the tables of the lower and of the upper half. */
  readonly ttbr0?: bigint;
  readonly ttbr1?: bigint;
  /**
   * A name of REGS.json's `roots`. x86-64: `NAME.kernel` is the kernel's root of the pair under page-table isolation.
   * AArch64: TTBR0_EL1 of that process; `kernel` is TTBR1_EL1.
   */
  readonly root?: string;
  /** Which processor's note of the core, from 0. x86-64 only. */
  readonly cpu?: number;
}
