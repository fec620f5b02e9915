/**
 * A fault made by hand: what has to touch user memory where it may not sleep, and failed, resolves the fault and tries again
 * (futex). Unlike GUP it always asks the fault handler, whatever the entry looks like.
 * @see Linux mm/gup.c, `fixup_user_fault`, `vma_permits_fault`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINTR } from '../errno.ts';
import { mmapReadLock } from '../lock/mmap-lock.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
  VM_FAULT_ERROR,
  VM_FAULT_RETRY,
} from '../mm/fault/fault-flags.ts';
import { handleMmFault } from '../mm/fault/handle-mm-fault.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_READ, VM_WRITE } from '../mm/vma-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { vmFaultToErrno } from './faultin-page.ts';
import { untaggedPageRemote } from './get-user-pages-loop.ts';
import { gupVmaLookup } from './gup-vma-lookup.ts';

/** `bool *unlocked`: was mmap_lock let go and taken again? Then every VMA has to be looked up anew. */
export interface MmapUnlocked {
  happened: boolean;
}

/**
 * 0, -EFAULT, -ENOMEM, or -EINTR for a caller that was killed. mmap_lock is held for reading on entry, and on return.
 * @param faultFlags FAULT_FLAG_*
 * @param unlocked null: the lock must stay, so the fault may not ask for another attempt
 */
export function* fixupUserFault(
  current: TaskStruct,
  mm: MmStruct,
  taggedPage: number,
  faultFlags: number,
  unlocked: MmapUnlocked | null,
): Task<number> {
  const page = untaggedPageRemote(current, mm, taggedPage);
  let flags = faultFlags;
  if (unlocked !== null) flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
  for (;;) {
    const vma = gupVmaLookup(current, mm, page);
    const refused = refusal(current, vma, flags);
    if (refused !== 0) return refused;
    const result = yield* handleMmFault(current, vma as VmArea, page, flags);
    const completed = (result & VM_FAULT_COMPLETED) !== 0;
    if (!completed && (result & VM_FAULT_ERROR) !== 0) return vmFaultToErrno(result, 0);
    if (!completed && (result & VM_FAULT_RETRY) === 0) return 0;
    yield* mmapReadLock(current, mm);
    if (unlocked !== null) unlocked.happened = true;
    if (completed) return 0;
    flags |= FAULT_FLAG_TRIED;
  }
}

/** 0: the fault may be handled. */
function refusal(current: TaskStruct, vma: VmArea | null, faultFlags: number): number {
  if (vma === null || !permitsFault(current, vma, faultFlags)) return -EFAULT;
  return (faultFlags & FAULT_FLAG_KILLABLE) !== 0 && current.fatalSignalPending() ? -EINTR : 0;
}

/** One of the VMA's own rights, and the architecture's: the flags that FOLL_FORCE looks at do not count. */
function permitsFault(current: TaskStruct, vma: VmArea, faultFlags: number): boolean {
  const write = (faultFlags & FAULT_FLAG_WRITE) !== 0;
  if ((vma.flags & (write ? VM_WRITE : VM_READ)) === 0) return false;
  const foreign = (faultFlags & FAULT_FLAG_REMOTE) !== 0 || current.mm !== vma.mm;
  const { arch } = current.kernel;
  return arch.vmaAccessPermitted(current.cpu, vma.flags, vma.flagsHigh, write, false, foreign);
}
