/**
 * The VMAs that UFFDIO_MOVE moves between, both locked, and what must be true of them.
 * @see Linux mm/userfaultfd.c, `uffd_move_lock`, `find_vmas_mm_locked`, `validate_move_areas`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EINVAL, ENOENT } from '../../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { lockVmaUnderRcu } from '../lock-vma-under-rcu.ts';
import type { MmStruct } from '../mm.ts';
import type { VmArea } from '../vma.ts';
import {
  VM_ACCESS_FLAGS,
  VM_HUGETLB,
  VM_IO,
  VM_LOCKED,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_SHARED,
  VM_WRITE,
} from '../vma-flags.ts';
import { vmaEndRead, vmaStartReadLocked } from '../vma-lock.ts';
import { vmaPageProtection } from '../vma-protection.ts';
import type { UserfaultfdContext } from './context.ts';
import { findVmaAndPrepareAnon, uffdLockVma } from './mfill-lock.ts';

export interface MoveVmas {
  readonly target: VmArea;
  readonly source: VmArea;
}

/** Locks the VMAs at the two pages. -ENOENT, or -EAGAIN (too many readers). */
export function* uffdMoveLock(
  current: TaskStruct,
  mm: MmStruct,
  targetPage: number,
  sourcePage: number,
): Task<MoveVmas | number> {
  if (!mm.kernel.config.perVmaLocks) {
    yield* mmapReadLock(current, mm);
    const found = yield* findBoth(current, mm, targetPage, sourcePage);
    if (typeof found === 'number') yield* mmapReadUnlock(current, mm);
    return found;
  }
  const target = yield* uffdLockVma(current, mm, targetPage);
  if (typeof target === 'number') return target;
  if (target.contains(sourcePage)) return { target, source: target };
  // Waiting for mmap_lock with the first VMA locked could deadlock with a writer that waits for that VMA.
  const source = yield* lockVmaUnderRcu(current, mm, sourcePage);
  if (source !== null) return { target, source };
  yield* vmaEndRead(current, target);
  return yield* lockBothUnderMmapLock(current, mm, targetPage, sourcePage);
}

function* findBoth(
  current: TaskStruct,
  mm: MmStruct,
  targetPage: number,
  sourcePage: number,
): Task<MoveVmas | number> {
  const target = yield* findVmaAndPrepareAnon(current, mm, targetPage);
  if (target === null) return -ENOENT;
  const source = target.contains(sourcePage) ? target : mm.vmas.lookup(sourcePage);
  return source === null ? -ENOENT : { target, source };
}

function* lockBothUnderMmapLock(
  current: TaskStruct,
  mm: MmStruct,
  targetPage: number,
  sourcePage: number,
): Task<MoveVmas | number> {
  yield* mmapReadLock(current, mm);
  let result = yield* findBoth(current, mm, targetPage, sourcePage);
  if (typeof result !== 'number') {
    const { target, source }: MoveVmas = result;
    if (!(yield* vmaStartReadLocked(current, target))) result = -EAGAIN;
    else if (source !== target && !(yield* vmaStartReadLocked(current, source))) {
      yield* vmaEndRead(current, target);
      result = -EAGAIN;
    }
  }
  yield* mmapReadUnlock(current, mm);
  return result;
}

export function* uffdMoveUnlock(current: TaskStruct, { target, source }: MoveVmas): Task<void> {
  const { mm } = target;
  if (!mm.kernel.config.perVmaLocks) {
    yield* mmapReadUnlock(current, mm);
    return;
  }
  yield* vmaEndRead(current, source);
  if (source !== target) yield* vmaEndRead(current, target);
}

const UNMOVABLE = VM_PFNMAP | VM_IO | VM_HUGETLB | VM_MIXEDMAP | VM_SHARED;

/** 0 or -EINVAL: only between private anonymous memory with the same rights, writable, into what `context` watches. */
export function validateMoveAreas(context: UserfaultfdContext, { target, source }: MoveVmas): number {
  const { vmShadowStackHigh } = target.mm.kernel.arch;
  if (vmaPageProtection(target) !== vmaPageProtection(source)) return -EINVAL;
  const differing = (target.flags ^ source.flags) & (VM_ACCESS_FLAGS | VM_LOCKED);
  if (differing !== 0) return -EINVAL;
  if ((source.flags & VM_WRITE) === 0) return -EINVAL;
  if (((source.flags | target.flags) & UNMOVABLE) !== 0) return -EINVAL;
  if ((source.flagsHigh & vmShadowStackHigh) !== 0) return -EINVAL;
  if (target.userfaultfd !== context) return -EINVAL;
  return target.anonymous && source.anonymous ? 0 : -EINVAL;
}
