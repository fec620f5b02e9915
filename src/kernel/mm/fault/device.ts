/**
 * A fault on memory of a device: its driver's handler puts the entry in, or all of it was mapped at once and what is
 * missing does not exist.
 * @see Linux mm/memory.c, `do_fault`, `__do_fault`
 */
import type { Task } from '../../../base/task.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { VM_FAULT_NOPAGE, VM_FAULT_SIGBUS } from './fault-flags.ts';
import { vmfCanCallFault } from './fault-lock.ts';
import type { VmFault } from './vm-fault.ts';

/** VM_FAULT_*, NOPAGE when the access is to be made again. */
export function* doDeviceFault(fault: VmFault): Task<number> {
  const { vma } = fault;
  if (vma.ops?.fault === undefined) return yield* withoutHandler(fault);
  const refused = yield* vmfCanCallFault(fault);
  return refused !== 0 ? refused : yield* vma.ops.fault(fault);
}

/** Somebody may have been changing the entry when it was read, so it is read again under its lock. */
function* withoutHandler(fault: VmFault): Task<number> {
  const { current, kernel, mm } = fault;
  const { pageTables } = kernel;
  const table = yield* pteOffsetMapLock(current, mm, fault.page);
  if (table === null) return VM_FAULT_SIGBUS;
  pageTables.read(table, fault.index);
  const none = pageTables.format.isNone(pageTables.hi, pageTables.lo);
  yield* pteUnmapUnlock(current, table);
  return none ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}
