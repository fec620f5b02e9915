/**
 * Breakpoints and the trace flag of x86-64.
 * @see Linux arch/x86/include/asm/uprobes.h; arch/x86/kernel/step.c, `is_setting_trap_flag`; Intel SDM vol. 2, "Instruction
 * Prefixes" and "POPF/POPFD/POPFQ", "IRET/IRETD/IRETQ", "INT3"
 */
import type { InstructionProbes } from '../../instruction-probes.ts';

const INT3 = 0xcc;
const LONGEST_INSTRUCTION = 15;
/** POPF and IRET. */
const SETTERS: ReadonlySet<number> = new Set([0x9d, 0xcf]);
/** Operand and address size, segments, LOCK, REPNE and REP. */
const PREFIXES: ReadonlySet<number> = new Set([
  0x66, 0x67, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0, 0xf2, 0xf3,
]);

/** REX, in 64-bit mode, which is the only one here. */
const isRex = (byte: number): boolean => byte >= 0x40 && byte <= 0x4f;

export const instructionProbes: InstructionProbes = {
  breakpoint: Uint8Array.of(INT3),
  // One byte more than there can be: `MAX_UINSN_BYTES`.
  longestInstruction: LONGEST_INSTRUCTION + 1,
  trapFlagInstructions: {
    longest: LONGEST_INSTRUCTION,
    sets: (bytes) => SETTERS.has(bytes.find((byte) => !PREFIXES.has(byte) && !isRex(byte)) ?? -1),
  },
};
