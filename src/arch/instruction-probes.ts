/**
 * What generic kernel code must know of instructions to put breakpoints into programs and to step them: bytes, and no
 * more of their meaning than Linux's generic code asks for.
 */

/** Instructions by which a program can set the flag that makes the processor step. */
interface TrapFlagInstructions {
  /** Bytes of the longest instruction. */
  readonly longest: number;
  /** Do these bytes, maybe cut short, begin with such an instruction? */
  sets(bytes: Uint8Array): boolean;
}

export interface InstructionProbes {
  /** The breakpoint of uprobes (`UPROBE_SWBP_INSN`), as it lies in memory. Probes are aligned to its length. */
  readonly breakpoint: Uint8Array;
  /** Bytes of the original instruction that a probe keeps (`MAX_UINSN_BYTES`). */
  readonly longestInstruction: number;
  /** Null where the debugger's step is none of the program's business. */
  readonly trapFlagInstructions: TrapFlagInstructions | null;
}
