/**
 * Finding the VMA that pages are filled into and keeping it as it is: by its own lock where that is built in, else by
 * mmap_lock; with the lock that tells whether mappings are changing.
 * @see Linux mm/userfaultfd.c, `uffd_lock_vma`, `uffd_mfill_lock`, `find_vma_and_prepare_anon`, `validate_dst_vma`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, ENOENT } from '../../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { anonVmaPrepare } from '../anon-vma-prepare.ts';
import { lockVmaUnderRcu } from '../lock-vma-under-rcu.ts';
import type { MmStruct } from '../mm.ts';
import type { VmArea } from '../vma.ts';
import { VM_SHARED } from '../vma-flags.ts';
import { vmaEndRead, vmaStartReadLocked } from '../vma-lock.ts';
import type { UserfaultfdContext } from './context.ts';

/** The VMA at `page`, with its anon_vma if it is private; null when there is none. Needs mmap_lock. */
export function* findVmaAndPrepareAnon(current: TaskStruct, mm: MmStruct, page: number): Task<VmArea | null> {
  const vma = mm.vmas.lookup(page);
  if (vma !== null && (vma.flags & VM_SHARED) === 0) yield* anonVmaPrepare(current, vma);
  return vma;
}

/** The VMA at `page` under its own lock, which needs no mmap_lock if it has its anon_vma; or -ENOENT, -EAGAIN. */
export function* uffdLockVma(current: TaskStruct, mm: MmStruct, page: number): Task<VmArea | number> {
  const locked = yield* lockVmaUnderRcu(current, mm, page);
  if (locked !== null) {
    if ((locked.flags & VM_SHARED) !== 0 || locked.anonVma !== null) return locked;
    yield* vmaEndRead(current, locked);
  }
  yield* mmapReadLock(current, mm);
  const vma = yield* findVmaAndPrepareAnon(current, mm, page);
  let result: VmArea | number = vma ?? -ENOENT;
  if (vma !== null && !(yield* vmaStartReadLocked(current, vma))) result = -EAGAIN;
  yield* mmapReadUnlock(current, mm);
  return result;
}

/**
 * Locks the VMA that holds all of pages [start, end) and is registered. -ENOENT: there is none; -EAGAIN: too many readers,
 * or mappings are changing.
 */
export function* mfillLock(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: number,
  end: number,
): Task<VmArea | number> {
  const { mm } = context;
  let vma: VmArea | number;
  if (mm.kernel.config.perVmaLocks) vma = yield* uffdLockVma(current, mm, start);
  else {
    yield* mmapReadLock(current, mm);
    vma = (yield* findVmaAndPrepareAnon(current, mm, start)) ?? -ENOENT;
    if (typeof vma === 'number') yield* mmapReadUnlock(current, mm);
  }
  if (typeof vma === 'number') return vma;
  if (end > vma.end || vma.userfaultfd === null) {
    yield* unlockVma(current, vma);
    return -ENOENT;
  }
  yield* context.mapChangingLock.downRead(current);
  if (context.mmapChanging === 0) return vma;
  yield* mfillUnlock(current, context, vma);
  return -EAGAIN;
}

/** Ends `mfillLock`. */
export function* mfillUnlock(current: TaskStruct, context: UserfaultfdContext, vma: VmArea): Task<void> {
  yield* context.mapChangingLock.upRead(current);
  yield* unlockVma(current, vma);
}

function* unlockVma(current: TaskStruct, vma: VmArea): Task<void> {
  const { mm } = vma;
  if (mm.kernel.config.perVmaLocks) yield* vmaEndRead(current, vma);
  else yield* mmapReadUnlock(current, mm);
}
