/**
 * Nothing is under way: every lock is free, no section of RCU is open and no callback waits, no sequence count is odd, no
 * gather has pages to flush, and as many users of an address space are counted as there are.
 * @see Linux kernel/exit.c, `debug_check_no_locks_held`; include/linux/mm_types.h, `mm_users`, `tlb_flush_pending`
 */

import { hugetlbVmaLockOf, isHugetlbVma } from '../../kernel/mm/hugetlb/hugetlb-vma.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { type Audit, count } from './audit.ts';

interface Lock {
  readonly name: string;
  isLocked(): boolean;
}

export function auditLocks(audit: Audit): void {
  const { rcu } = audit.kernel;
  for (const lock of locks(audit)) if (lock.isLocked()) audit.report(`${lock.name} is locked`);
  for (const { name } of rcu.holders()) audit.report(`${name} is in a section of RCU`);
  audit.expectEqual('the number of RCU callbacks', rcu.pendingCallbacks, 0);
  auditTasks(audit);
  for (const { id, interruptsDisabled, pendingInterrupts } of audit.kernel.machine.cpus) {
    if (interruptsDisabled > 0) audit.report(`cpu ${id} has interrupts disabled`);
    if (pendingInterrupts.length > 0) audit.report(`cpu ${id} has interrupts to take`);
  }
}

function auditTasks(audit: Audit): void {
  const users = new Map<MmStruct, number>();
  for (const { name, mm, preemptDisabled, userfaultfdUnmaps } of audit.kernel.tasks.values()) {
    if (mm !== null) count(users, mm);
    if (preemptDisabled !== 0) audit.report(`${name} has preemption disabled`);
    if (userfaultfdUnmaps.length > 0) audit.report(`${name} has events of userfaultfd to send`);
  }
  for (const mm of audit.mms) auditMm(audit, mm, users.get(mm) ?? 0);
}

function auditMm(audit: Audit, mm: MmStruct, users: number): void {
  audit.expectEqual(`mm_users of ${mm.name}`, mm.mmUsers, users);
  audit.expectEqual(`tlb_flush_pending of ${mm.name}`, mm.tlbFlushPending, 0);
  if (mm.writeProtectSeq.sequence % 2 === 1) audit.report(`${mm.name} is being write-protected`);
  if (mm.mmLockSeq % 2 === 1) audit.report(`mm_lock_seq of ${mm.name} is odd`);
}

function* locks(audit: Audit): Generator<Lock> {
  const { tasks, hugetlb } = audit.kernel;
  for (const { allocLock, execUpdateLock } of tasks.values()) yield* [allocLock, execUpdateLock];
  for (const mm of audit.mms) {
    yield* [mm.mmapLock, mm.argLock, mm.pageTableLock];
    for (const vma of mm.vmas) yield* locksOf(vma);
  }
  for (const { iRwsem, iMmapRwsem } of audit.files) yield* [iRwsem, iMmapRwsem];
  for (const { lock } of audit.tables.keys()) yield lock;
  yield* hugetlb.faultMutexes();
}

function* locksOf(vma: VmArea): Generator<Lock> {
  if (vma.anonVma !== null) yield vma.anonVma.rwsem;
  if (vma.userfaultfd !== null) {
    const { pendingLock, faultsLock, eventsLock, mapChangingLock } = vma.userfaultfd;
    yield* [pendingLock, faultsLock, eventsLock, mapChangingLock];
  }
  const lock = isHugetlbVma(vma) ? hugetlbVmaLockOf(vma) : null;
  if (lock !== null) yield lock;
}
