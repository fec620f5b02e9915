/**
 * A fault of a page in a hole that fallocate is punching waits until the hole is there: otherwise faults could keep
 * filling what is being emptied. The fault's lock is let go for that when the caller can come again.
 * @see Linux mm/shmem.c, `shmem_fault`, `shmem_falloc_wait`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../base/task.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import { FAULT_FLAG_RETRY_NOWAIT, VM_FAULT_NOPAGE, VM_FAULT_RETRY } from './fault/fault-flags.ts';
import { faultFlagAllowRetryFirst, releaseFaultLock } from './fault/fault-lock.ts';
import type { VmFault } from './fault/vm-fault.ts';

/** 0: no hole is being made there. Else the fault is over: VM_FAULT_RETRY, with its lock let go, or VM_FAULT_NOPAGE. */
export function* shmemFallocWait(fault: VmFault, mapping: AddressSpace): Task<number> {
  const { hole } = mapping;
  if (hole === null || fault.pgoff < hole.first || fault.pgoff >= hole.end) return 0;
  const release = faultFlagAllowRetryFirst(fault.flags) && !fault.has(FAULT_FLAG_RETRY_NOWAIT);
  if (release) yield* releaseFaultLock(fault);
  const done = (): boolean => mapping.hole !== hole;
  yield new SchedPoint(PointKind.Wait, mapping, 'shmem_falloc_wait', StepCost.ContextSwitch, done);
  return release ? VM_FAULT_RETRY : VM_FAULT_NOPAGE;
}
