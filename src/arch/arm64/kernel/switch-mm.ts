/**
 * Making a CPU run in another address space: an ASID, then the two registers that hold table and ASID. The ASID is in
 * TTBR1_EL1 (TCR_EL1.A1 = 1); in between TTBR0_EL1 points to an empty table, so that no translation is made with one of
 * the new and one of the old.
 * Left out: the emulation of PAN by TTBR0_EL1, branch predictor hardening, saved TTBR0 of kernel threads.
 * @see Linux arch/arm64/mm/context.c, `check_and_switch_context`, `cpu_do_switch_mm`; asm/mmu_context.h, `switch_mm`
 */
import type { Task } from '../../../base/task.ts';
import type { Cpu } from '../../../hardware/cpu.ts';
import type { Arm64MmContext, AsidAllocator } from './asid.ts';

/** What switching does to a CPU's translation hardware. */
export interface TranslationTablePort {
  /** TTBR0_EL1: the empty table. */
  setReservedTtbr0(): void;
  /** The ASID into TTBR1_EL1, then the table into TTBR0_EL1. */
  loadTables(rootFrame: number, asid: number): Task<void>;
  /** DSB NSHST; TLBI VMALLE1; DSB NSH; ISB. */
  flushLocal(): Task<void>;
}

/** One CPU as these functions need it. */
export interface Arm64KernelCpu {
  readonly cpu: Cpu;
  readonly port: TranslationTablePort;
  readonly initMm: Arm64MmContext;
  /** `active_mm`: what is loaded, also while a kernel thread runs. */
  activeMm: Arm64MmContext;
}

/** `switch_mm`: for the scheduler; turns interrupts off around it. */
export function* switchMm(asids: AsidAllocator, own: Arm64KernelCpu, next: Arm64MmContext): Task<void> {
  if (own.activeMm === next) return;
  own.cpu.disableInterrupts();
  if (next === own.initMm) own.port.setReservedTtbr0();
  else yield* checkAndSwitchContext(asids, own, next);
  own.activeMm = next;
  own.cpu.enableInterrupts();
}

/** Interrupts must be off. */
function* checkAndSwitchContext(
  asids: AsidAllocator,
  { cpu, port }: Arm64KernelCpu,
  next: Arm64MmContext,
): Task<void> {
  // With tables common to CPUs (CnP) nothing may be walked under an ASID whose table is not its own.
  port.setReservedTtbr0();
  yield* asids.activate(cpu.id, next, () => port.flushLocal());
  yield* port.loadTables(next.rootFrame, asids.asidOf(next));
}
