/**
 * TTBR0_EL1 and TTBR1_EL1 of one CPU as Linux writes them: the process' table and CnP in the one, the kernel's table and
 * the ASID in the other.
 * @see Linux arch/arm64/mm/context.c, `cpu_do_switch_mm`; asm/mmu_context.h, `cpu_set_reserved_ttbr0`; asm/assembler.h,
 *   `phys_to_ttbr`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import type { Arm64Mmu } from '../mmu.ts';
import type { ShareabilityDomain } from '../shareability-domain.ts';
import { TTBR0_EL1, TTBR1_EL1 } from '../system-registers.ts';
import type { TranslationTablePort } from './switch-mm.ts';

const CNP = TTBR0_EL1.half('CnP').lo;
const ASID_SHIFT = TTBR1_EL1.field('ASID').low - 32;
/** Address bits 51:48, in the high half, and where TTBRn_EL1 has them: from bit 2 on. */
const WIDE_SHIFT = 16;
const WIDE_PLACE = 2;

/** Both halves of a table's address as TTBRn_EL1 holds it. @param frame of 4 KiB, up to 40 bits */
export const tableHigh = (frame: number): number => Math.floor(frame / 0x10_0000) & 0xffff;
export const tableLow = (frame: number): number =>
  ((frame % 0x10_0000) * 0x1000) | ((Math.floor(frame / 0x10_0000) >> WIDE_SHIFT) << WIDE_PLACE);

export class TranslationTables implements TranslationTablePort {
  readonly #mmu: Arm64Mmu;
  readonly #domain: ShareabilityDomain;
  readonly #cpu: number;
  readonly #emptyRootFrame: number;
  readonly #flush: SchedPoint;
  readonly #betweenTables: SchedPoint;

  /** Begins with the empty table in both registers and ASID 0. */
  constructor(mmu: Arm64Mmu, domain: ShareabilityDomain, cpu: number, emptyRootFrame: number) {
    this.#mmu = mmu;
    this.#domain = domain;
    this.#cpu = cpu;
    this.#emptyRootFrame = emptyRootFrame;
    const own = new SharedObject(`translations of cpu ${cpu}`);
    this.#flush = new SchedPoint(PointKind.Write, own, 'local_flush_tlb_all');
    this.#betweenTables = new SchedPoint(PointKind.Write, own, 'ttbr0_el1', StepCost.None);
    this.#writeTtbr1(0);
    this.setReservedTtbr0();
  }

  setReservedTtbr0(): void {
    this.#writeTtbr0(this.#emptyRootFrame, 0);
  }

  *loadTables(rootFrame: number, asid: number): Task<void> {
    this.#writeTtbr1(asid);
    // Two writes: a walk in between is made with the new ASID, and must not find the old table.
    yield this.#betweenTables;
    this.#writeTtbr0(rootFrame, CNP);
  }

  *flushLocal(): Task<void> {
    yield this.#flush;
    this.#domain.tlbi(this.#cpu, 'VMALLE1');
    this.#domain.dsb(this.#cpu, 'NSH');
    this.#domain.synchronizeContext(this.#cpu);
  }

  #writeTtbr0(rootFrame: number, cnp: number): void {
    const { state } = this.#mmu;
    state.ttbr0Hi = tableHigh(rootFrame);
    state.ttbr0Lo = tableLow(rootFrame) | cnp;
    this.#mmu.updateControls();
  }

  #writeTtbr1(asid: number): void {
    const { state } = this.#mmu;
    state.ttbr1Hi = tableHigh(this.#emptyRootFrame) | (asid << ASID_SHIFT);
    state.ttbr1Lo = tableLow(this.#emptyRootFrame) | CNP;
    this.#mmu.updateControls();
  }
}
