/**
 * One fault on behalf of GUP: FOLL_ flags to fault flags, VM_FAULT_ results to errno.
 * @see Linux mm/gup.c, `faultin_page`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EBUSY, EFAULT, EHWPOISON, ENOMEM } from '../errno.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_VMA_LOCK,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
  VM_FAULT_ERROR,
  VM_FAULT_HWPOISON,
  VM_FAULT_HWPOISON_LARGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_WRITE,
} from '../mm/fault/fault-flags.ts';
import { handleMmFault } from '../mm/fault/handle-mm-fault.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_HWPOISON,
  FOLL_INTERRUPTIBLE,
  FOLL_NOFAULT,
  FOLL_NOWAIT,
  FOLL_REMOTE,
  FOLL_TRIED,
  FOLL_UNLOCKABLE,
  FOLL_VMA_LOCKED,
  FOLL_WRITE,
  type MmapLocked,
} from './foll-flags.ts';
import { noteBrokenCow } from './forced-write-flags.ts';
import { emitGupFault, mappedFrame } from './gup-events.ts';

/** The FAULT_FLAG_ bits for these FOLL_ bits. */
export function faultFlagsFor(gupFlags: number, unshare: boolean): number {
  let flags = 0;
  if ((gupFlags & FOLL_WRITE) !== 0) flags |= FAULT_FLAG_WRITE;
  if ((gupFlags & FOLL_REMOTE) !== 0) flags |= FAULT_FLAG_REMOTE;
  if ((gupFlags & FOLL_UNLOCKABLE) !== 0) {
    flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
    // A caller that may drop the lock chooses whether an ordinary signal ends the wait.
    if ((gupFlags & FOLL_INTERRUPTIBLE) !== 0) flags |= FAULT_FLAG_INTERRUPTIBLE;
  }
  if ((gupFlags & FOLL_NOWAIT) !== 0) flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT;
  if ((gupFlags & FOLL_TRIED) !== 0) flags |= FAULT_FLAG_TRIED;
  if ((gupFlags & FOLL_VMA_LOCKED) !== 0) flags |= FAULT_FLAG_VMA_LOCK;
  if (unshare) flags |= FAULT_FLAG_UNSHARE;
  return flags;
}

/** What a fault with an error bit is to a caller of GUP. @see Linux include/linux/mm.h, `vm_fault_to_errno` */
export function vmFaultToErrno(result: number, gupFlags: number): number {
  if ((result & VM_FAULT_OOM) !== 0) return -ENOMEM;
  if ((result & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE)) !== 0) {
    return (gupFlags & FOLL_HWPOISON) !== 0 ? -EHWPOISON : -EFAULT;
  }
  return -EFAULT;
}

/**
 * 0: look again (or COW_IS_BROKEN, of old kernels). -EBUSY: a retry is needed, the lock is dropped unless FOLL_NOWAIT. -EAGAIN: done, the lock is dropped.
 * Else the error to stop with, the lock still held. The fault counts for `current`, whoever's memory it is.
 * @param unshare the page must become exclusive although nothing is written
 */
export function* faultinPage(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gupFlags: number,
  unshare: boolean,
  locked: MmapLocked | null,
): Task<number> {
  if ((gupFlags & FOLL_NOFAULT) !== 0) return -EFAULT;
  const faultFlags = faultFlagsFor(gupFlags, unshare);
  const { mm } = vma;
  const watched = current.kernel.machine.events.enabled;
  const before = watched ? mappedFrame(mm, page) : -1;
  // Afterwards the VMA may be gone, if the lock was dropped.
  const result = yield* handleMmFault(current, vma, page, faultFlags);
  if (watched) emitGupFault(current, mm, page, gupFlags, unshare, before);
  if ((result & VM_FAULT_COMPLETED) !== 0) {
    if (locked !== null) locked.held = false;
    return -EAGAIN;
  }
  if ((result & VM_FAULT_ERROR) !== 0) return vmFaultToErrno(result, gupFlags);
  if ((result & VM_FAULT_RETRY) !== 0) {
    if ((faultFlags & FAULT_FLAG_RETRY_NOWAIT) === 0 && locked !== null) locked.held = false;
    return -EBUSY;
  }
  return (result & VM_FAULT_WRITE) === 0 ? 0 : noteBrokenCow(vma, result);
}
