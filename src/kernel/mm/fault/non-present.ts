/**
 * A pte that holds something other than a page: a page in swap, or a marker. Migration and the other kinds come with the
 * parts that make such entries.
 * @see Linux mm/memory.c, `do_swap_page`, `handle_pte_marker`
 */
import type { Task } from '../../../base/task.ts';
import { Unsupported } from '../../unsupported.ts';
import { isSwapType, PTE_MARKER_GUARD, SWP_PTE_MARKER } from '../swap-entry.ts';
import { VM_FAULT_SIGSEGV } from './fault-flags.ts';
import { doSwapIn } from './swap.ts';
import type { VmFault } from './vm-fault.ts';

export function* doSwapPage(fault: VmFault): Task<number> {
  const { format } = fault.kernel.pageTables;
  const { originalHi: hi, originalLo: lo } = fault;
  const type = format.swapTypeOf(hi, lo);
  if (isSwapType(type)) return yield* doSwapIn(fault, format.swapOffsetOf(hi, lo));
  if (type !== SWP_PTE_MARKER) throw new Unsupported('a fault on a swap entry');
  const marker = format.swapOffsetOf(hi, lo);
  if ((marker & PTE_MARKER_GUARD) !== 0) return VM_FAULT_SIGSEGV;
  throw new Unsupported('a fault on a userfaultfd marker');
}
