/**
 * The way into the page-fault handlers: is the fault one this VMA may have, which handler is it for, and who counts it.
 * Left out: transparent huge pages of a pud, memory control groups.
 * @see Linux mm/memory.c, `handle_mm_fault`, `__handle_mm_fault`, `handle_pte_fault`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { mmapAssertLocked } from '../../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../../lock/rcu.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, setAccessFlagsInRun } from '../contiguous-ptes.ts';
import { hugetlbFault } from '../hugetlb/fault.ts';
import { PmdKind, type TablePage } from '../page-table.ts';
import { pteUnmapUnlock, rootTable, tableAlloc } from '../page-table-alloc.ts';
import { doHugePmdAnonymousPage } from '../thp/huge-fault.ts';
import { handleHugePmd } from '../thp/huge-wp.ts';
import { thpVmaAllowable } from '../thp/policy.ts';
import { flushAccessFlags } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
import { VM_HUGETLB, VM_MAYWRITE, VM_WRITE, VMH_DROPPABLE } from '../vma-flags.ts';
import { assertVmaLocked } from '../vma-lock.ts';
import { entryWritable, vmaIsAccessible } from '../vma-protection.ts';
import { doAnonymousPage } from './anonymous.ts';
import {
  FAULT_FLAG_INSTRUCTION,
  FAULT_FLAG_ORIG_PTE_VALID,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_VMA_LOCK,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_FALLBACK,
  VM_FAULT_MAJOR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGSEGV,
} from './fault-flags.ts';
import { doFault } from './file.ts';
import { doSwapPage } from './non-present.ts';
import { doNumaPage } from './numa.ts';
import { VmFault } from './vm-fault.ts';
import { doWpPage } from './write-protect.ts';

/**
 * Handles one fault. Needs mmap_lock for reading or, with FAULT_FLAG_VMA_LOCK, the VMA's own lock. Counts the fault for
 * `current`, whoever's memory it is.
 * @param page page number of the fault, inside the VMA
 * @param flags FAULT_FLAG_*
 * @param offset of the access in the page, in bytes
 * @returns VM_FAULT_*; with RETRY (unless RETRY_NOWAIT) or COMPLETED the lock is no longer held, and `vma` is not to
 *   be looked at
 */
export function* handleMmFault(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  flags: number,
  offset = 0,
): Task<number> {
  if ((flags & FAULT_FLAG_VMA_LOCK) === 0) mmapAssertLocked(current, vma.mm);
  else assertVmaLocked(current, vma);
  const { watcher } = current.kernel;
  if (watcher !== null) watcher.faults(current, vma, page);
  const droppable = (vma.flagsHigh & VMH_DROPPABLE) !== 0;
  const clean = sanitizeFaultFlags(vma, flags);
  let result = clean < 0 ? VM_FAULT_SIGSEGV : 0;
  if (result === 0 && !accessPermitted(current, vma, clean)) result = VM_FAULT_SIGSEGV;
  if (result === 0) {
    result =
      (vma.flags & VM_HUGETLB) !== 0
        ? yield* hugetlbFault(current, vma, page, clean)
        : yield* handlePageTables(new VmFault(current, vma, page, clean, offset));
    // A mapping whose pages may vanish does not fail for want of memory.
    if (droppable) result &= ~VM_FAULT_OOM;
  }
  accountFault(current, flags, result);
  return result;
}

/** The flags to go on with, or -1: no such fault can be right. @see `sanitize_fault_flags` */
function sanitizeFaultFlags(vma: VmArea, flags: number): number {
  let clean = flags;
  if ((flags & FAULT_FLAG_UNSHARE) !== 0) {
    if ((flags & FAULT_FLAG_WRITE) !== 0) return -1;
    if (!vma.cow) clean &= ~FAULT_FLAG_UNSHARE;
  } else if ((flags & FAULT_FLAG_WRITE) !== 0) {
    if ((vma.flags & VM_MAYWRITE) === 0) return -1;
    if ((vma.flags & VM_WRITE) === 0 && !vma.cow) return -1;
  }
  const nowaitUnderVmaLock = FAULT_FLAG_VMA_LOCK | FAULT_FLAG_RETRY_NOWAIT;
  return (flags & nowaitUnderVmaLock) === nowaitUnderVmaLock ? -1 : clean;
}

/** Protection keys. @see `arch_vma_access_permitted` */
function accessPermitted(current: TaskStruct, vma: VmArea, flags: number): boolean {
  return vma.mm.kernel.arch.vmaAccessPermitted(
    current.cpu,
    vma.flags,
    vma.flagsHigh,
    (flags & FAULT_FLAG_WRITE) !== 0,
    (flags & FAULT_FLAG_INSTRUCTION) !== 0,
    (flags & FAULT_FLAG_REMOTE) !== 0 || current.mm !== vma.mm,
  );
}

/** A fault counts once, when it is over and did not fail. @see `mm_account_fault` */
function accountFault(current: TaskStruct, flags: number, result: number): void {
  if ((result & (VM_FAULT_RETRY | VM_FAULT_ERROR)) !== 0) return;
  if ((result & VM_FAULT_MAJOR) !== 0 || (flags & FAULT_FLAG_TRIED) !== 0) current.majFlt++;
  else current.minFlt++;
}

/** @see `__handle_mm_fault`: the tables above the pte table */
function* handlePageTables(fault: VmFault): Task<number> {
  const { current, kernel, mm, page } = fault;
  const { pageTables } = kernel;
  const pmdLevel = pageTables.lastLevel - 1;
  if ((yield* tableAlloc(current, mm, page, pmdLevel)) === null) return VM_FAULT_OOM;
  const huge = yield* handlePmd(fault);
  if ((huge & VM_FAULT_FALLBACK) === 0) return huge;
  // Whoever takes the table out frees it only after this section, which ends with the table's lock if it is taken.
  rcuReadLock(current);
  fault.table = pageTables.lookup(rootTable(mm), page, pageTables.lastLevel);
  return yield* handlePteFault(fault);
}

/** What the pmd is makes it a fault of a huge page, or (FALLBACK) one of a pte. */
function* handlePmd(fault: VmFault): Task<number> {
  const { kernel, vma, mm, page } = fault;
  const { pageTables } = kernel;
  const kind = pageTables.pmdKind(rootTable(mm), page);
  if (kind === PmdKind.Table) return VM_FAULT_FALLBACK;
  if (kind === PmdKind.None) {
    return thpVmaAllowable(vma, 'fault') ? yield* doHugePmdAnonymousPage(fault) : VM_FAULT_FALLBACK;
  }
  fault.originalHi = pageTables.hi;
  fault.originalLo = pageTables.lo;
  const result = yield* handleHugePmd(fault);
  fault.originalHi = 0;
  fault.originalLo = 0;
  return result;
}

function* handlePteFault(fault: VmFault): Task<number> {
  const { current, kernel, vma, table } = fault;
  const { pageTables } = kernel;
  if (table !== null) {
    yield table.readEntry;
    pageTables.read(table, fault.index);
    fault.originalHi = pageTables.hi;
    fault.originalLo = pageTables.lo;
    fault.flags |= FAULT_FLAG_ORIG_PTE_VALID;
  }
  if (table === null || pageTables.format.isNone(pageTables.hi, pageTables.lo)) {
    rcuReadUnlock(current);
    return yield* doPteMissing(fault);
  }
  const entry = fault.originalFlags;
  if ((entry & EntryFlag.Present) === 0) {
    rcuReadUnlock(current);
    return yield* doSwapPage(fault);
  }
  if ((entry & EntryFlag.Protnone) !== 0 && vmaIsAccessible(vma)) return yield* doNumaPage(fault, table);
  return yield* handlePresentPte(fault, table, entry);
}

/** @see `do_pte_missing` */
function doPteMissing(fault: VmFault): Task<number> {
  return fault.vma.anonymous ? doAnonymousPage(fault) : doFault(fault);
}

/** The page is there: either the fault is about write protection, or somebody else has handled it already. */
function* handlePresentPte(fault: VmFault, table: TablePage, entry: number): Task<number> {
  const { current, kernel, mm, page } = fault;
  const { pageTables } = kernel;
  yield* table.lock.lock(current);
  if (!fault.unchanged(table)) {
    yield* pteUnmapUnlock(current, table);
    return 0;
  }
  let set: number = EntryFlag.Young;
  if (fault.has(FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)) {
    if (!entryWritable(entry)) return yield* doWpPage(fault, table);
    if (fault.has(FAULT_FLAG_WRITE)) set |= EntryFlag.Dirty;
  }
  if (inRun(kernel, table, fault.index)) {
    yield* setAccessFlagsInRun(current, mm, table, page, set);
    yield* pteUnmapUnlock(current, table);
    return 0;
  }
  yield table.setEntry;
  const changed = pageTables.change(table, fault.index, set, 0);
  if (changed) yield* flushAccessFlags(current, mm, page, fault.has(FAULT_FLAG_WRITE));
  // Another CPU allowed more in the meantime and this one's TLB does not know yet. Retried faults have flushed.
  else if (!fault.has(FAULT_FLAG_TRIED) && fault.has(FAULT_FLAG_WRITE) && mm.context !== null) {
    yield* kernel.arch.flushSpuriousFault(current.cpu, mm.context, page);
  }
  yield* pteUnmapUnlock(current, table);
  return 0;
}
