/**
 * A pte that holds something other than a page. Guard markers are answered; swap, migration and the other kinds come
 * with the parts that make such entries.
 * @see Linux mm/memory.c, `do_swap_page`, `handle_pte_marker`
 */
import type { Task } from '../../../base/task.ts';
import { Unsupported } from '../../unsupported.ts';
import { PTE_MARKER_GUARD, SWP_PTE_MARKER } from '../swap-entry.ts';
import { VM_FAULT_SIGSEGV } from './fault-flags.ts';
import type { VmFault } from './vm-fault.ts';

// biome-ignore lint/correctness/useYield: a handler among handlers; those to come wait for locks and I/O
export function* doSwapPage(fault: VmFault): Task<number> {
  const { format } = fault.kernel.pageTables;
  const { originalHi: hi, originalLo: lo } = fault;
  if (format.swapTypeOf(hi, lo) !== SWP_PTE_MARKER) throw new Unsupported('a fault on a swap entry');
  const marker = format.swapOffsetOf(hi, lo);
  if ((marker & PTE_MARKER_GUARD) !== 0) return VM_FAULT_SIGSEGV;
  throw new Unsupported('a fault on a userfaultfd marker');
}
