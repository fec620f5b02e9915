/**
 * What Linux knows about the TLBs: per CPU which mm is loaded under which PCID and how far each PCID's contents are up
 * to date; per mm a number that is never reused and a generation that every flush raises. A slot's generation says:
 * the TLB holds nothing of that mm older than this.
 * Left out: user PCIDs of page-table isolation, global ASIDs flushed by INVLPGB.
 * @see Linux arch/x86/include/asm/tlbflush.h, `struct tlb_state`; mmu.h, `mm_context_t`
 */
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../../base/task.ts';
import { MmContext } from '../../kernel-arch.ts';

/** `TLB_NR_DYN_ASIDS`: address spaces that a CPU keeps apart by PCID. PCID = slot + 1; 0 is the kernel's own. */
export const DYNAMIC_ASIDS = 6;

export class X86MmContext extends MmContext {
  /** Never reused, so that a slot cannot be mistaken for another mm's. init_mm is 0. */
  readonly contextId: number;
  /** Raised by every flush. Starts at 1: a fresh slot, at 0, is behind. */
  tlbGeneration = 1;
  /** `untag_mask`, all ones without linear-address masking. */
  untagMask = 0xffff_ffff_ffff_ffffn;
  /** The CR3 bits that go with it. */
  lamCr3Bits = 0n;
  /** Protection keys that programs or the kernel use, one bit each; key 0 from the beginning. */
  pkeyAllocationMap = 1;
  /** The key of memory that may only be executed; -1 until there is such memory. */
  executeOnlyPkey = -1;
  /** Virtual time from which a flush may also visit CPUs that only have a stale bit in the mask. */
  nextTrim = 0;
  readonly setCpuMask: SchedPoint;
  readonly clearCpuMask: SchedPoint;
  readonly readCpuMask: SchedPoint;
  readonly incrementGeneration: SchedPoint;
  readonly readGeneration: SchedPoint;

  constructor(name: string, rootFrame: number, cpuCount: number, contextId: number) {
    super(name, rootFrame, cpuCount);
    this.contextId = contextId;
    // The generation and the mask are on lines of their own in Linux; one object here, as every flush touches both.
    this.setCpuMask = new SchedPoint(PointKind.Write, this, 'cpumask_set_cpu', StepCost.AtomicUpdate);
    this.clearCpuMask = new SchedPoint(PointKind.Write, this, 'cpumask_clear_cpu', StepCost.AtomicUpdate);
    this.readCpuMask = new SchedPoint(PointKind.Read, this, 'mm_cpumask', StepCost.SharedLoad);
    this.incrementGeneration = new SchedPoint(PointKind.Write, this, 'inc_mm_tlb_gen', StepCost.AtomicUpdate);
    this.readGeneration = new SchedPoint(PointKind.Read, this, 'read tlb_gen', StepCost.SharedLoad);
  }

  setCpu(cpu: number): void {
    this.cpuMask[cpu >> 5] = (this.cpuMask[cpu >> 5] as number) | (1 << (cpu & 31));
  }

  clearCpu(cpu: number): void {
    this.cpuMask[cpu >> 5] = (this.cpuMask[cpu >> 5] as number) & ~(1 << (cpu & 31));
  }
}

/** One CPU's `cpu_tlbstate`. */
export class CpuTlbState extends SharedObject {
  readonly cpu: number;
  loadedMm: X86MmContext;
  /** LOADED_MM_SWITCHING: CR3 is about to change, entries of either mm may be there. */
  switching = false;
  loadedAsid = 0;
  /** The mm stays loaded although a kernel thread runs. */
  isLazy = false;
  /**
   * Lazy until just now, and the generation has not been looked at since: programs do not run yet. Linux has no such
   * field; it is for those who look at the TLBs.
   */
  leavesLazy = false;
  nextAsid = 1;
  /** `ctxs[]`. */
  readonly contextIds = new Float64Array(DYNAMIC_ASIDS).fill(-1);
  readonly generations = new Float64Array(DYNAMIC_ASIDS);
  /** Just before `loadedMm`, `switching` or `isLazy` changes: other CPUs look at them. */
  readonly change: SchedPoint;
  readonly look: SchedPoint;

  constructor(cpu: number, initMm: X86MmContext) {
    super(`tlb state of cpu ${cpu}`);
    this.cpu = cpu;
    this.loadedMm = initMm;
    this.contextIds[0] = initMm.contextId;
    this.generations[0] = initMm.tlbGeneration;
    this.change = new SchedPoint(PointKind.Write, this, 'loaded_mm', StepCost.SharedLoad);
    this.look = new SchedPoint(PointKind.Read, this, 'should_flush_tlb', StepCost.SharedLoad);
  }
}

/** What the bookkeeping does to a CPU's translation hardware. */
export interface X86TlbPort {
  /** MOV to CR3. `noflush` is its bit 63: what the TLB holds of this PCID stays. Without PCIDs, `pcid` is 0. */
  loadCr3(rootFrame: number, pcid: number, lamBits: bigint, noflush: boolean): void;
  /** INVLPG: this page in the current PCID, global entries too, and all paging-structure caches of the PCID. */
  invlpg(page: number): void;
}
