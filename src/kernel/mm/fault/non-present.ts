/**
 * A pte that holds something other than a page: a page in swap, one that is being moved or that a device has for itself,
 * broken memory, or a marker.
 * Left out: pages in a device's own memory (device-private).
 * @see Linux mm/memory.c, `do_swap_page`, `handle_pte_marker`
 */
import type { Task } from '../../../base/task.ts';
import { Unsupported } from '../../unsupported.ts';
import { migrationEntryWait } from '../migration-pte.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { removeDeviceExclusiveEntry } from '../restore-exclusive.ts';
import {
  isMigrationType,
  isSwapType,
  PTE_MARKER_GUARD,
  PTE_MARKER_POISONED,
  SWP_DEVICE_EXCLUSIVE,
  SWP_HWPOISON,
  SWP_PTE_MARKER,
} from '../swap-entry.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';
import { doAnonymousPage } from './anonymous.ts';
import { VM_FAULT_HWPOISON, VM_FAULT_SIGSEGV } from './fault-flags.ts';
import { doFault } from './file.ts';
import { doSwapIn } from './swap.ts';
import type { VmFault } from './vm-fault.ts';

export function* doSwapPage(fault: VmFault): Task<number> {
  const { format } = fault.kernel.pageTables;
  const { originalHi: hi, originalLo: lo } = fault;
  const type = format.swapTypeOf(hi, lo);
  if (isSwapType(type)) return yield* doSwapIn(fault, format.swapOffsetOf(hi, lo));
  if (type === SWP_HWPOISON) return VM_FAULT_HWPOISON;
  if (isMigrationType(type)) {
    yield* migrationEntryWait(fault.current, fault.mm, fault.page);
    return 0;
  }
  if (type === SWP_DEVICE_EXCLUSIVE) {
    return yield* removeDeviceExclusiveEntry(fault, format.swapOffsetOf(hi, lo));
  }
  if (type !== SWP_PTE_MARKER) throw new Unsupported('a fault on a swap entry');
  const marker = format.swapOffsetOf(hi, lo);
  if ((marker & PTE_MARKER_POISONED) !== 0) return VM_FAULT_HWPOISON;
  if ((marker & PTE_MARKER_GUARD) !== 0) return VM_FAULT_SIGSEGV;
  if ((fault.vma.flags & VM_UFFD_WP) === 0) return yield* clearMarker(fault);
  return yield* fault.vma.anonymous ? doAnonymousPage(fault) : doFault(fault);
}

/** A marker of a range that is no longer registered. @see `pte_marker_clear` */
function* clearMarker(fault: VmFault): Task<number> {
  const { current, kernel, mm, index } = fault;
  const table = yield* pteOffsetMapLock(current, mm, fault.page);
  if (table === null) return 0;
  if (fault.unchanged(table)) {
    yield table.setEntry;
    kernel.pageTables.write(table, index, 0, 0);
  }
  yield* pteUnmapUnlock(current, table);
  return 0;
}
