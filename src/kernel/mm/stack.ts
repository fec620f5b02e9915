/**
 * Stacks that grow when something below them is touched, and the lookup of a VMA for a fault, which may make one grow.
 * Left out: stacks that grow upwards (no architecture here has them).
 * @see Linux mm/vma.c `expand_downwards`, `acct_stack_growth`; mm/mmap.c `expand_stack_locked`; mm/mmap_lock.c
 * `lock_mm_and_find_vma`, `expand_stack`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, ENOMEM, EPERM } from '../errno.ts';
import {
  mmapReadLockKillable,
  mmapReadTrylock,
  mmapReadUnlock,
  mmapWriteDowngrade,
  mmapWriteLockKillable,
  mmapWriteUnlock,
} from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { anonVmaPostUpdate, anonVmaPreUpdate } from './anon-vma.ts';
import { anonVmaPrepare } from './anon-vma-prepare.ts';
import { mayExpandVm, mlockFutureOk } from './limits.ts';
import { type MmStruct, vmStatAccount } from './mm.ts';
import { securityVmEnoughMemory } from './overcommit.ts';
import { limitPages } from './rlimit.ts';
import type { VmArea } from './vma.ts';
import { VM_GROWSDOWN, VM_LOCKED } from './vma-flags.ts';
import { vmaStartWrite } from './vma-lock.ts';
import { vmaIsAccessible } from './vma-protection.ts';

/** Would the stack become too large? Charges the pages if not. 0 or -ENOMEM. @see `acct_stack_growth` */
function accountStackGrowth(current: TaskStruct, vma: VmArea, size: number, grow: number): number {
  const { mm } = vma;
  if (!mayExpandVm(current, mm, vma.flags, grow)) return -ENOMEM;
  if (size > limitPages(current.rlimits.stack)) return -ENOMEM;
  if (!mlockFutureOk(current, mm, vma.flags, grow)) return -ENOMEM;
  return securityVmEnoughMemory(mm, grow);
}

/** May the VMA start at `page`? 0 or a negative errno, in Linux's order. */
function mayExpand(vma: VmArea, page: number): number {
  const { mm } = vma;
  const { config } = mm.kernel;
  if ((vma.flags & VM_GROWSDOWN) === 0) return -EFAULT;
  if (page < config.mmapMinPage) return -EPERM;
  const previous = mm.vmas.findPrevious(vma.start);
  if (previous === null || (previous.flags & VM_GROWSDOWN) !== 0 || !vmaIsAccessible(previous)) return 0;
  return page - previous.end < config.stackGuardGapPages ? -ENOMEM : 0;
}

/**
 * Makes `vma` start at `page`, if it may. Needs mmap_lock for writing. 0, -EFAULT, -EPERM or -ENOMEM.
 * @see `expand_downwards`
 */
export function* expandDownwards(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const { mm } = vma;
  const refused = mayExpand(vma, page);
  if (refused !== 0) return refused;
  yield* anonVmaPrepare(current, vma);
  if (!mm.kernel.bugs.stackrot) yield* vmaStartWrite(current, mm, vma);
  const { anonVma } = vma;
  if (anonVma === null) throw new Error(`${vma.name} has no anon_vma after it was given one`);
  yield* anonVma.rwsem.downWrite(current);
  const { stackrot } = mm.kernel.bugs;
  // Two faults may come here at once where mmap_lock is held for reading.
  if (stackrot) yield* mm.pageTableLock.lock(current);
  const error = yield* growDown(current, vma, page);
  if (stackrot) yield* mm.pageTableLock.unlock(current);
  yield* anonVma.rwsem.upWrite(current);
  return error;
}

/** Then only a number in a node changes, where Linux 6.1 to 6.4 did this with readers inside: in place. */
function leavesGap(vma: VmArea, page: number): boolean {
  return vma.mm.vmas.findPrevious(vma.start)?.end !== page;
}

/** With the VMA write-locked, and its anon_vma too, in whose trees its range changes. 0 or -ENOMEM. */
function* growDown(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const { mm } = vma;
  // Somebody may have been here while mmap_lock was let go: then nothing is left to do.
  if (page >= vma.start) return 0;
  const grow = vma.start - page;
  if (grow > vma.pgoff) return -ENOMEM;
  const error = accountStackGrowth(current, vma, vma.end - page, grow);
  if (error !== 0) return error;
  if ((vma.flags & VM_LOCKED) !== 0) mm.lockedVm += grow;
  vmStatAccount(mm, vma.flags, grow);
  anonVmaPreUpdate(vma);
  yield mm.treeStore;
  mm.vmas.resize(vma.start, page, vma.end, mm.kernel.bugs.stackrot && leavesGap(vma, page));
  vma.start = page;
  vma.pgoff -= grow;
  anonVmaPostUpdate(vma);
  return 0;
}

/**
 * For somebody who holds mmap_lock for reading and found no VMA at `page`: lets it go, takes it for writing, expands the
 * stack above and comes back with it held for reading. Null: it could not be, and the lock is *not* held.
 * @see `expand_stack`
 */
export function* expandStack(current: TaskStruct, mm: MmStruct, page: number): Task<VmArea | null> {
  yield* mmapReadUnlock(current, mm);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return null;
  const vma = mm.vmas.find(page);
  if (vma !== null && (vma.start <= page || (yield* expandDownwards(current, vma, page)) === 0)) {
    yield* mmapWriteDowngrade(current, mm);
    return vma;
  }
  yield* mmapWriteUnlock(current, mm);
  return null;
}

/**
 * For a page fault: takes mmap_lock for reading, finds the VMA, lets a stack grow down to the page. Null: there is no
 * VMA (or the task was killed while waiting) and the lock is not held.
 * @see `lock_mm_and_find_vma`
 */
export function* lockMmAndFindVma(current: TaskStruct, mm: MmStruct, page: number): Task<VmArea | null> {
  if (!(yield* mmapReadTrylock(current, mm)) && (yield* mmapReadLockKillable(current, mm)) !== 0) return null;
  const vma = mm.vmas.find(page);
  if (vma !== null && vma.start <= page) return vma;
  if (vma === null || (vma.flags & VM_GROWSDOWN) === 0) {
    yield* mmapReadUnlock(current, mm);
    return null;
  }
  if (mm.kernel.bugs.stackrot) return yield* expandUnderReadLock(current, vma, page);
  return yield* expandStack(current, mm, page);
}

/** As Linux 6.1 to 6.4 did it. Null: it could not be, and the lock is not held. @see v6.4 mm/mmap.c, `find_extend_vma` */
function* expandUnderReadLock(current: TaskStruct, vma: VmArea, page: number): Task<VmArea | null> {
  const error = yield* expandDownwards(current, vma, page);
  if (error === 0) return vma;
  yield* mmapReadUnlock(current, vma.mm);
  return null;
}
