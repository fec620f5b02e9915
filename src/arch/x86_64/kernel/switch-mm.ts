/**
 * Making a CPU run in another address space. The order matters: the own bit in the new mm's mask is set *before* its
 * generation is read, so that a flush either finds this CPU in the mask or this CPU sees the flush's generation.
 * Left out: the mitigations between processes (IBPB, L1D flush), the LDT, performance counters.
 * @see Linux arch/x86/mm/tlb.c, `switch_mm_irqs_off`, `enter_lazy_tlb`
 */
import type { Task } from '../../../base/task.ts';
import type { Cpu } from '../../../hardware/cpu.ts';
import { type AsidChoice, chooseNewAsid } from './pcid.ts';
import type { CpuTlbState, X86MmContext, X86TlbPort } from './tlb-state.ts';

/** One CPU as these functions need it. */
export interface X86KernelCpu {
  readonly cpu: Cpu;
  readonly state: CpuTlbState;
  readonly port: X86TlbPort;
  readonly hasPcid: boolean;
  readonly initMm: X86MmContext;
}

/** Loads CR3 and, when flushing, notes that the slot is as new as `generation`. */
function loadNewMm(
  { state, port, hasPcid }: X86KernelCpu,
  next: X86MmContext,
  choice: AsidChoice,
  generation: number,
): void {
  if (choice.needFlush) {
    state.contextIds[choice.asid] = next.contextId;
    state.generations[choice.asid] = generation;
  }
  port.loadCr3(next.rootFrame, hasPcid ? choice.asid + 1 : 0, next.lamCr3Bits, hasPcid && !choice.needFlush);
}

/** Interrupts must be off. */
export function* switchMmIrqsOff(kernelCpu: X86KernelCpu, next: X86MmContext): Task<void> {
  const { state, initMm } = kernelCpu;
  const previous = state.loadedMm;
  const wasLazy = state.isLazy;
  const choice: AsidChoice = { asid: state.loadedAsid, needFlush: true };
  if (wasLazy) {
    yield state.change;
    state.isLazy = false;
    state.leavesLazy = true;
  }
  if (previous === next) {
    if (!wasLazy) return;
    yield next.readGeneration;
    state.leavesLazy = false;
    const generation = next.tlbGeneration;
    if (state.generations[state.loadedAsid] === generation) return;
    loadNewMm(kernelCpu, next, choice, generation);
    return;
  }
  yield state.change;
  state.switching = true;
  if (next !== initMm && !next.hasCpu(state.cpu)) {
    yield next.setCpuMask;
    next.setCpu(state.cpu);
  }
  yield next.readGeneration;
  const generation = next.tlbGeneration;
  chooseNewAsid(state, next, generation, kernelCpu.hasPcid, choice);
  loadNewMm(kernelCpu, next, choice, generation);
  yield state.change;
  state.loadedMm = next;
  state.loadedAsid = choice.asid;
  state.switching = false;
  state.leavesLazy = false;
}

/** `switch_mm`: for the scheduler; turns interrupts off around it. */
export function* switchMm(kernelCpu: X86KernelCpu, next: X86MmContext): Task<void> {
  kernelCpu.cpu.disableInterrupts();
  yield* switchMmIrqsOff(kernelCpu, next);
  kernelCpu.cpu.enableInterrupts();
}

/** A kernel thread is about to run: nothing is loaded, flushes need not come here any more. */
export function* enterLazyTlb({ state, initMm }: X86KernelCpu): Task<void> {
  if (state.loadedMm === initMm || state.isLazy) return;
  yield state.change;
  state.isLazy = true;
}
