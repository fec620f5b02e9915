/**
 * Which of the CPU's few PCIDs an mm gets, and whether what the TLB holds under it is too old.
 * @see Linux arch/x86/mm/tlb.c, `choose_new_asid`
 */
import { type CpuTlbState, DYNAMIC_ASIDS, type X86MmContext } from './tlb-state.ts';

export interface AsidChoice {
  asid: number;
  needFlush: boolean;
}

/**
 * @param nextGeneration the mm's generation, read after this CPU set its bit in the mm's mask
 * @param hasPcid without PCIDs there is one slot and every load flushes
 */
export function chooseNewAsid(
  state: CpuTlbState,
  next: X86MmContext,
  nextGeneration: number,
  hasPcid: boolean,
  out: AsidChoice,
): void {
  out.asid = 0;
  out.needFlush = true;
  if (!hasPcid) return;
  for (let asid = 0; asid < DYNAMIC_ASIDS; asid++) {
    if (state.contextIds[asid] !== next.contextId) continue;
    out.asid = asid;
    out.needFlush = (state.generations[asid] as number) < nextGeneration;
    return;
  }
  out.asid = state.nextAsid++;
  if (out.asid >= DYNAMIC_ASIDS) {
    out.asid = 0;
    state.nextAsid = 1;
  }
}
