/**
 * The lock under which a fault is handled: the VMA's own or mmap_lock, either for reading. Handlers that must wait for
 * something let it go and answer VM_FAULT_RETRY.
 * @see Linux mm/memory.c, `vmf_can_call_fault`, `__vmf_anon_prepare`, `vmf_anon_prepare`; include/linux/mm.h,
 * `release_fault_lock`, `fault_flag_allow_retry_first`
 */
import type { Task } from '../../../base/task.ts';
import { mmapReadLock, mmapReadTrylock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import { anonVmaPrepare, anonVmaPrepareUnlocked } from '../anon-vma-prepare.ts';
import { vmaEndRead } from '../vma-lock.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_VMA_LOCK,
  VM_FAULT_RETRY,
} from './fault-flags.ts';
import type { VmFault } from './vm-fault.ts';

/** Lets the lock go; the VMA is not to be looked at afterwards. The caller answers RETRY or COMPLETED. */
export function* releaseFaultLock(fault: VmFault): Task<void> {
  const { current, mm, vma } = fault;
  if (fault.has(FAULT_FLAG_VMA_LOCK)) yield* vmaEndRead(current, vma);
  else yield* mmapReadUnlock(current, mm);
}

/** May the handler let the lock go and ask for another attempt? Once; the second attempt must wait with it held. */
export function faultFlagAllowRetryFirst(flags: number): boolean {
  return (flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) === FAULT_FLAG_ALLOW_RETRY;
}

/**
 * May the mapping's own fault handler be called under the lock that is held? A driver's, which maps nothing around the
 * fault, only under mmap_lock: else the VMA's lock is let go and the answer is VM_FAULT_RETRY. 0: yes.
 */
export function* vmfCanCallFault(fault: VmFault): Task<number> {
  const { current, vma } = fault;
  if (vma.ops?.hasMapPages === true || !fault.has(FAULT_FLAG_VMA_LOCK)) return 0;
  yield* vmaEndRead(current, vma);
  return VM_FAULT_RETRY;
}

/**
 * Gives the VMA its anon_vma before its first anonymous page. That takes mmap_lock, since neighbours are looked at; a
 * fault under the VMA's lock may only try it, as a writer that holds it may wait for this VMA's readers.
 * @returns 0; VM_FAULT_RETRY, the VMA's lock let go
 */
export function* vmfAnonPrepare(fault: VmFault): Task<number> {
  const { current, mm, vma } = fault;
  if (vma.anonVma !== null) return 0;
  if (!fault.has(FAULT_FLAG_VMA_LOCK)) {
    yield* anonVmaPrepare(current, vma);
    return 0;
  }
  const { bugs } = current.kernel;
  if (bugs.lockVmaAnonVmaCheck) {
    yield* anonVmaPrepareUnlocked(current, vma);
    return 0;
  }
  if (bugs.mmapLockUnderVmaLock) yield* mmapReadLock(current, mm);
  else if (!(yield* mmapReadTrylock(current, mm))) {
    yield* vmaEndRead(current, vma);
    return VM_FAULT_RETRY;
  }
  yield* anonVmaPrepare(current, vma);
  yield* mmapReadUnlock(current, mm);
  return 0;
}
