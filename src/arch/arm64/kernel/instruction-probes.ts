/**
 * Breakpoints of arm64. A debugger steps by MDSCR_EL1 and SPSR_EL1, which no instruction of a program reaches.
 * @see Linux arch/arm64/include/asm/uprobes.h, arch/arm64/include/asm/brk-imm.h, `UPROBES_BRK_IMM`; Arm ARM, "BRK"
 */
import type { InstructionProbes } from '../../instruction-probes.ts';

export const instructionProbes: InstructionProbes = {
  /** BRK #5, little endian. */
  breakpoint: Uint8Array.of(0xa0, 0x00, 0x20, 0xd4),
  longestInstruction: 4,
  trapFlagInstructions: null,
};
