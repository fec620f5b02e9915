/**
 * UFFDIO_WRITEPROTECT: the next write to a page of the range is reported and waits; or no longer.
 * @see Linux fs/userfaultfd.c, `userfaultfd_writeprotect`; mm/userfaultfd.c, `mwriteprotect_range`, `uffd_wp_range`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EINVAL, ENOENT, ESRCH } from '../../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { MM_CP_TRY_CHANGE_WRITABLE, MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE } from '../change-flags.ts';
import { changeProtection, manualWriteUpgrade } from '../change-protection.ts';
import { mmgetNotZero, mmput } from '../mm-lifetime.ts';
import { tlbFinishMmu, tlbGatherMmu } from '../mmu-gather.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';
import { misalignedHugetlb } from './can-userfault.ts';
import type { UserfaultfdContext } from './context.ts';
import { UFFDIO_WRITEPROTECT_MODE_DONTWAKE, UFFDIO_WRITEPROTECT_MODE_WP } from './uffd-abi.ts';
import { validateRange } from './validate-range.ts';
import { wakeUserfault } from './wake.ts';

/**
 * Protects pages [start, end) of the VMA, or lets writes through again. Needs mmap_lock in any way. The number of ptes
 * changed, or -ENOMEM: no page table for the markers of absent pages; what lies before is protected.
 */
export function* uffdWpRange(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  protect: boolean,
): Task<number> {
  let changeFlags = protect ? MM_CP_UFFD_WP : MM_CP_UFFD_WP_RESOLVE;
  // Fresh ptes of a shared mapping with write protection are read-only, so writable ones have to be made by hand.
  if (!protect && manualWriteUpgrade(vma)) changeFlags |= MM_CP_TRY_CHANGE_WRITABLE;
  const gather = yield* tlbGatherMmu(current, vma.mm);
  const changed = yield* changeProtection(current, vma.mm, vma, start, end, gather, changeFlags);
  yield* tlbFinishMmu(current, gather);
  return changed;
}

/**
 * The ioctl; `mode` is UFFDIO_WRITEPROTECT_MODE_*. 0; -EINVAL: bad range or mode; -ENOENT: nothing mapped, or a part that
 * is not registered for write protection (what lies before it is done); -EAGAIN: mappings are changing; -ESRCH: the process
 * is gone.
 */
export function* userfaultfdWriteprotect(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
  mode: bigint,
): Task<number> {
  if (context.features === null) return -EINVAL;
  yield context.peek;
  if (context.mmapChanging > 0) return -EAGAIN;
  const { mm } = context;
  const invalid = validateRange(mm, start, length);
  if (invalid !== 0) return invalid;
  const known = UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
  if ((mode & ~known) !== 0n || mode === known) return -EINVAL;
  if (!(yield* mmgetNotZero(mm))) return -ESRCH;
  const firstPage = Number(start >> 12n);
  const endPage = firstPage + Number(length >> 12n);
  const protect = mode === UFFDIO_WRITEPROTECT_MODE_WP;
  const error = yield* writeProtectRange(current, context, firstPage, endPage, protect);
  yield* mmput(current, mm);
  if (error === 0 && mode === 0n) yield* wakeUserfault(current, context, { start, length });
  return error;
}

/** @see mm/userfaultfd.c, `mwriteprotect_range` */
function* writeProtectRange(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: number,
  end: number,
  protect: boolean,
): Task<number> {
  const { mm } = context;
  yield* mmapReadLock(current, mm);
  yield* context.mapChangingLock.downRead(current);
  let error = context.mmapChanging > 0 ? -EAGAIN : -ENOENT;
  if (context.mmapChanging === 0) {
    for (const vma of mm.vmas.inRange(start, end)) {
      error = refusal(vma, start, end);
      if (error !== 0) break;
      const from = Math.max(vma.start, start);
      const changed = yield* uffdWpRange(current, vma, from, Math.min(vma.end, end), protect);
      error = Math.min(changed, 0);
      if (error !== 0) break;
    }
  }
  yield* context.mapChangingLock.upRead(current);
  yield* mmapReadUnlock(current, mm);
  return error;
}

/** Of one VMA of the range: -ENOENT (not registered for it), -EINVAL (a part of a huge page), or 0. */
function refusal(vma: VmArea, start: number, end: number): number {
  if ((vma.flags & VM_UFFD_WP) === 0) return -ENOENT;
  return misalignedHugetlb(vma, start) || misalignedHugetlb(vma, end) ? -EINVAL : 0;
}
