/**
 * The anon_vma of a VMA of huge pages, before its first private page. Under the VMA's own lock mmap_lock may only be
 * tried: without it the fault is tried again, and lets the VMA's lock go when it has let go its own.
 * @see Linux mm/memory.c, `__vmf_anon_prepare`
 */
import type { Task } from '../../../base/task.ts';
import { mmapReadTrylock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import { anonVmaPrepare } from '../anon-vma-prepare.ts';
import { FAULT_FLAG_VMA_LOCK, VM_FAULT_RETRY } from '../fault/fault-flags.ts';
import type { HugeFault } from './huge-fault.ts';

/** 0, or VM_FAULT_RETRY with every lock still held. */
export function* hugeAnonPrepare(fault: HugeFault): Task<number> {
  const { current, mm, vma } = fault;
  if (vma.anonVma !== null) return 0;
  if (!fault.has(FAULT_FLAG_VMA_LOCK)) {
    yield* anonVmaPrepare(current, vma);
    return 0;
  }
  if (!(yield* mmapReadTrylock(current, mm))) return VM_FAULT_RETRY;
  yield* anonVmaPrepare(current, vma);
  yield* mmapReadUnlock(current, mm);
  return 0;
}
