/**
 * What the designs with VMA locks have in common: taking the lock of the VMA of a page, or saying why not, and asking
 * whether the VMA is one for a short cut.
 * @see Linux mm/mmap_lock.c, `lock_vma_under_rcu`; mm/gup.c, `check_vma_flags`
 */

import type { Task } from '../../../base/task.ts';
import { checkVmaFlags } from '../../gup/check-vma-flags.ts';
import { FOLL_ANON, FOLL_FORCE, FOLL_REMOTE, FOLL_WRITE } from '../../gup/foll-flags.ts';
import { lockVmaUnderRcu } from '../../mm/lock-vma-under-rcu.ts';
import { countVmaLookup } from '../../mm/look-up-costs.ts';
import type { MmStruct } from '../../mm/mm.ts';
import type { VmArea } from '../../mm/vma.ts';
import { VM_HUGETLB, VM_IO, VM_PFNMAP } from '../../mm/vma-flags.ts';
import { VmaLockFailure } from '../../mm/vma-lock-counters.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';

/** The VMA that holds `page`, its own lock held for reading; or why that could not be had. Never waits. */
export function* lockRemoteVma(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
): Task<VmArea | RemoteFallback> {
  const { config } = current.kernel;
  if (!config.perVmaLocks) return RemoteFallback.NoVmaLocks;
  countVmaLookup(current);
  const vma = yield* lockVmaUnderRcu(current, mm, page);
  return vma ?? lockRefusal(mm);
}

/** Why `lockVmaUnderRcu` has just given none. */
export function lockRefusal({ vmaLockCounters }: MmStruct): RemoteFallback {
  switch (vmaLockCounters.last) {
    case VmaLockFailure.Hole:
      return RemoteFallback.Hole;
    case VmaLockFailure.WriteLocked:
    case VmaLockFailure.Excluded:
    case VmaLockFailure.WriteLockedMeanwhile:
      return RemoteFallback.VmaWriteLocked;
    default:
      return RemoteFallback.VmaChanged;
  }
}

/** Why a read of present pages may not be made in this VMA, or null when it may. Needs the VMA's lock. */
export function readRefusal(current: TaskStruct, vma: VmArea, gupFlags: number): RemoteFallback | null {
  if ((vma.flags & (VM_IO | VM_PFNMAP)) !== 0) return RemoteFallback.DeviceMemory;
  if ((vma.flags & VM_HUGETLB) !== 0) return RemoteFallback.Hugetlb;
  return checkVmaFlags(current, vma, gupFlags | FOLL_REMOTE) === 0 ? null : RemoteFallback.Permission;
}

/**
 * Before each page, or each run of them: nothing more is moved for who is to die.
 * @see Linux mm/gup.c, `__get_user_pages`
 */
export function killRefusal(current: TaskStruct): RemoteFallback | null {
  return current.fatalSignalPending() ? RemoteFallback.Killed : null;
}

/** Why a transfer cannot be a read of present pages, as far as its flags say. */
export function flagsRefusal(gupFlags: number): RemoteFallback | null {
  if ((gupFlags & FOLL_WRITE) !== 0) return RemoteFallback.Write;
  return (gupFlags & ~(FOLL_FORCE | FOLL_ANON)) === 0 ? null : RemoteFallback.Flags;
}

/** Does the VMA hold all of a transfer, whose first page is `first`? Needs the VMA's lock. */
export function isInside(vma: VmArea, first: number, { offset, length }: RemoteTransfer): boolean {
  return first + Math.ceil((offset + length) / 4096) <= vma.end;
}

/** What is left of a transfer when `moved` bytes of it are done. */
export function remainder(transfer: RemoteTransfer, moved: number): RemoteTransfer {
  if (moved === 0) return transfer;
  const { mm, page, offset, buffer, length, gupFlags } = transfer;
  const from = offset + moved;
  return {
    mm,
    page: page + Math.floor(from / 4096),
    offset: from % 4096,
    buffer: buffer.subarray(moved),
    length: length - moved,
    gupFlags,
  };
}
