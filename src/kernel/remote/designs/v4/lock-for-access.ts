/**
 * The locking function of V4, and its counterpart. In the words of the plan: it takes the lock that fits the access and, if the
 * stack has to grow for it, makes it grow; at the end the lock is released the way it was taken.
 * @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026
 */

import type { Task } from '../../../../base/task.ts';
import { untaggedPageRemote, untaggedPageRemoteUnlocked } from '../../../gup/get-user-pages-loop.ts';
import type { LockedVma } from '../../../gup/get-user-pages-of-vma.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../../../lock/mmap-lock.ts';
import { countVmaLookup } from '../../../mm/look-up-costs.ts';
import { expandStack } from '../../../mm/stack.ts';
import type { VmArea } from '../../../mm/vma.ts';
import { VM_IO, VM_PFNMAP } from '../../../mm/vma-flags.ts';
import { vmaEndRead } from '../../../mm/vma-lock.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import type { RemoteTransfer } from '../../design.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { isInside, lockRemoteVma } from '../lock-vma.ts';

/** The VMA that holds the whole access, locked. */
export interface AccessLock extends LockedVma {
  /** First page of the access, without tag bits. */
  readonly page: number;
}

/** The access goes beyond its VMA: today's code does it. Nothing is locked. */
export const SEVERAL_VMAS = 'several VMAs';
/** The stack cannot grow there, or the task was killed while it waited. Nothing is locked. */
export const NOTHING_THERE = 'nothing there';

type Locked = AccessLock | typeof SEVERAL_VMAS | typeof NOTHING_THERE;

/**
 * Part 1: the VMA's own lock where the access lies in one VMA, needs no stack to grow and no operation of a device; else
 * mmap_lock, under which the stack grows. Part 6: several VMAs are for the slow path.
 */
export function* lockForAccess(current: TaskStruct, transfer: RemoteTransfer): Task<Locked> {
  const { remoteCounters } = current.kernel;
  const page = untaggedPageRemoteUnlocked(current, transfer.mm, transfer.page);
  const vma = yield* lockRemoteVma(current, transfer.mm, page);
  if (typeof vma === 'string') {
    remoteCounters.noteFallback(vma);
    return yield* lockMmForAccess(current, transfer);
  }
  const reason = refusal(vma, page, transfer);
  if (reason === null) return { vma, ownLock: true, held: true, page };
  yield* vmaEndRead(current, vma);
  remoteCounters.noteFallback(reason);
  return reason === RemoteFallback.SeveralVmas ? SEVERAL_VMAS : yield* lockMmForAccess(current, transfer);
}

/** Why the VMA's own lock is not enough, or null. */
function refusal(vma: VmArea, page: number, transfer: RemoteTransfer): RemoteFallback | null {
  if (!isInside(vma, page, transfer)) return RemoteFallback.SeveralVmas;
  // `vm_ops->access` walks page tables of device memory, for which mmap_lock has to be held.
  const device = (vma.flags & (VM_IO | VM_PFNMAP)) !== 0 || vma.ops?.access !== undefined;
  return device ? RemoteFallback.DeviceMemory : null;
}

/** With mmap_lock, as today; a stack grows here and not between pages. */
function* lockMmForAccess(current: TaskStruct, transfer: RemoteTransfer): Task<Locked> {
  const { mm } = transfer;
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return NOTHING_THERE;
  const page = untaggedPageRemote(current, mm, transfer.page);
  countVmaLookup(current);
  // A failed expansion has dropped the lock.
  const vma = mm.vmas.lookup(page) ?? (yield* expandStack(current, mm, page));
  if (vma === null) return NOTHING_THERE;
  if (isInside(vma, page, transfer)) return { vma, ownLock: false, held: true, page };
  yield* mmapReadUnlock(current, mm);
  current.kernel.remoteCounters.noteFallback(RemoteFallback.SeveralVmas);
  return SEVERAL_VMAS;
}

/** Part 3: releases what `lockForAccess` took, unless a fault has done so. */
export function* unlockAfterAccess(current: TaskStruct, { vma, ownLock, held }: AccessLock): Task<void> {
  if (!held) return;
  if (ownLock) yield* vmaEndRead(current, vma);
  else yield* mmapReadUnlock(current, vma.mm);
}
