/**
 * Faults on huge pages that userfaultfd is asked to resolve. The address told is that of the huge page, unless the exact
 * one was asked for.
 * @see Linux mm/hugetlb.c, `hugetlb_handle_userfault`; fs/userfaultfd.c, `userfaultfd_huge_must_wait`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { VmFault } from '../fault/vm-fault.ts';
import { handleUserfault, type UserfaultReason } from '../userfaultfd/handle-userfault.ts';
import { UFFD_FEATURE_EXACT_ADDRESS } from '../userfaultfd/uffd-abi.ts';
import { entryWritable } from '../vma-protection.ts';
import type { HugeFault } from './huge-fault.ts';
import { hugetlbWalk } from './huge-walk.ts';
import { hugetlbVmaLockRead, hugetlbVmaUnlockRead } from './hugetlb-vma.ts';

/** Needs the lock that the fault holds, and neither the fault mutex nor the vma_lock. VM_FAULT_*. */
export function* hugetlbHandleUserfault(fault: HugeFault, reason: UserfaultReason): Task<number> {
  const { current, vma, flags, start, page } = fault;
  const exact = vma.userfaultfd?.has(UFFD_FEATURE_EXACT_ADDRESS) === true;
  const told = new VmFault(current, vma, exact ? page : start, flags);
  return yield* handleUserfault(told, reason, (_fault, writeProtect) => mustWait(fault, writeProtect));
}

/** The tables are read again, without their locks, now that the fault can be woken. */
function* mustWait(fault: HugeFault, writeProtect: boolean): Task<boolean> {
  const { current, kernel, vma, mm, start, index } = fault;
  yield* hugetlbVmaLockRead(current, vma);
  const table = hugetlbWalk(mm, vma, start);
  let waits = true;
  if (table !== null) {
    yield table.readEntry;
    kernel.pageTables.read(table, index);
    const flags = kernel.pageTables.flags(table.level);
    // Nothing, and a marker, are to be filled in.
    waits = (flags & EntryFlag.Present) === 0 || (writeProtect && !entryWritable(flags));
  }
  yield* hugetlbVmaUnlockRead(current, vma);
  return waits;
}
