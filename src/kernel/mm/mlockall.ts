/**
 * mlockall and munlockall: all that is mapped now, and flags that every later mapping starts with.
 * @see Linux mm/mlock.c, `mlockall`, `apply_mlockall_flags`
 */
import type { Task } from '../../base/task.ts';
import { EINTR, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';
import { canDoMlock } from './limits.ts';
import { type MlockFixup, mlockFixup } from './mlock-fixup.ts';
import type { MmStruct } from './mm.ts';
import { populateOperations } from './populate.ts';
import { limitPages } from './rlimit.ts';
import type { VmArea } from './vma.ts';
import { VM_LOCKED, VM_LOCKED_MASK, VM_LOCKONFAULT } from './vma-flags.ts';

export const MCL_CURRENT = 1;
export const MCL_FUTURE = 2;
/** With one of the others: lock pages as they are faulted in. */
export const MCL_ONFAULT = 4;

/** Errors of single VMAs are ignored. Needs mmap_lock for writing. */
function* applyMlockallFlags(current: TaskStruct, mm: MmStruct, flags: number): Task<void> {
  const onFault = (flags & MCL_ONFAULT) !== 0 ? VM_LOCKONFAULT : 0;
  mm.defFlags &= ~VM_LOCKED_MASK;
  if ((flags & MCL_FUTURE) !== 0) {
    mm.defFlags |= VM_LOCKED | onFault;
    if ((flags & MCL_CURRENT) === 0) return;
  }
  const lockFlags = (flags & MCL_CURRENT) !== 0 ? VM_LOCKED | onFault : 0;
  let prev: VmArea | null = null;
  for (let vma = mm.vmas.find(0); vma !== null; ) {
    const fixed: MlockFixup = yield* mlockFixup(current, mm, prev, vma, vma.start, vma.end, lockFlags);
    prev = fixed.vma;
    vma = mm.vmas.find(fixed.vma.end);
  }
}

/**
 * The system call. 0, -EINVAL (no flags, unknown ones, or MCL_ONFAULT alone), -EPERM (RLIMIT_MEMLOCK is 0 and no
 * CAP_IPC_LOCK), -ENOMEM (MCL_CURRENT with more mapped than the limit) or -EINTR (killed).
 */
export function* sysMlockall(current: TaskStruct, flags: number): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mlockall without an address space`);
  const known = (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) === 0;
  if (flags === 0 || !known || flags === MCL_ONFAULT) return -EINVAL;
  if (!canDoMlock(current)) return -EPERM;
  const all = (flags & MCL_CURRENT) !== 0;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  const fits = mm.totalVm <= limitPages(current.rlimits.memlock) || current.capable(CAP_IPC_LOCK);
  const allowed = !all || fits;
  if (allowed) yield* applyMlockallFlags(current, mm, flags);
  yield* mmapWriteUnlock(current, mm);
  if (!allowed) return -ENOMEM;
  if (all) yield* populateOperations(mm.kernel).mmPopulate(current, 0, mm.taskSizePages);
  return 0;
}

/** munlockall: 0 or -EINTR. Later mappings are not locked any more either. */
export function* sysMunlockall(current: TaskStruct): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls munlockall without an address space`);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  yield* applyMlockallFlags(current, mm, 0);
  yield* mmapWriteUnlock(current, mm);
  return 0;
}
