/**
 * A second look at the page tables by a fault that is queued already: whoever filled the page in just before did not see
 * it in the queue and has not woken it.
 * Left out: hugetlb, which asks its own (`userfaultfd_huge_must_wait`).
 * @see Linux fs/userfaultfd.c, `userfaultfd_must_wait`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { rcuReadLock, rcuReadUnlock } from '../../lock/rcu.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import { rootTable } from '../page-table-alloc.ts';
import { SWP_PTE_MARKER } from '../swap-entry.ts';
import { entryWritable } from '../vma-protection.ts';

/**
 * Needs the lock that the fault holds; no lock of the table, which an RCU section keeps from being freed meanwhile: other
 * readers of mmap_lock may take empty tables out.
 */
export function* userfaultfdMustWait(fault: VmFault, writeProtect: boolean): Task<boolean> {
  rcuReadLock(fault.current);
  const waits = yield* mustWait(fault, writeProtect);
  rcuReadUnlock(fault.current);
  return waits;
}

function* mustWait(fault: VmFault, writeProtect: boolean): Task<boolean> {
  const { kernel, mm, page, index } = fault;
  const { pageTables } = kernel;
  const table = pageTables.lookup(rootTable(mm), page, pageTables.lastLevel);
  if (table === null) {
    const level = pageTables.lastLevel - 1;
    if (pageTables.format.isNone(pageTables.hi, pageTables.lo)) return true;
    // A huge page: it waits only where that is write-protected.
    return writeProtect && !entryWritable(pageTables.flags(level));
  }
  yield table.readEntry;
  pageTables.read(table, index);
  const { format, hi, lo } = pageTables;
  if (format.isNone(hi, lo)) return true;
  const flags = pageTables.flags(table.level);
  if ((flags & EntryFlag.Present) === 0) return format.swapTypeOf(hi, lo) === SWP_PTE_MARKER;
  return writeProtect && !entryWritable(flags);
}
