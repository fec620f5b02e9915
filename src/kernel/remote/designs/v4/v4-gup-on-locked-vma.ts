/**
 * V4, the plan after the review: GUP itself works on a VMA that is locked, by its own lock or by mmap_lock. Its parts:
 * 1. a function that takes the lock that fits the access, and grows the stack: `lockForAccess`;
 * 2. an inner loop that only gets at pages and copies: `accessPages`;
 * 3. unlocking the way it was locked: `unlockAfterAccess`;
 * 4. assertions of GUP and of untagging that take the VMA's lock for mmap_lock: `assertGupLocked` in
 *    gup/get-user-pages-loop.ts;
 * 5. the VMA handed down to `__get_user_pages`, which looks none up at first: `getUserPageOfVma`, `startVma` of
 *    `getUserPagesLoop`;
 * 6. several VMAs: the slow path, which is today's code.
 * Faults happen under the VMA's lock. One that cannot be handled there lets the lock go, and the access goes on from that page
 * with today's code: each page is processed once, but what was moved before may be of a mapping that is gone since. The
 * second attempt has no FAULT_FLAG_TRIED: that is only for faults that may be retried, which these, as today, may not.
 * @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026, in reply to David Hildenbrand
 */
import type { Task } from '../../../../base/task.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../../design.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { remainder } from '../lock-vma.ts';
import { v0MmapLock } from '../v0-mmap-lock.ts';
import { accessPages } from './access-loop.ts';
import { lockForAccess, NOTHING_THERE, SEVERAL_VMAS, unlockAfterAccess } from './lock-for-access.ts';
import { vmaLocking } from './remote-locking.ts';

export const v4GupOnLockedVma: RemoteAccessDesign = {
  name: 'v4',
  title: 'GUP on a locked VMA, faults included',
  proposedBy: {
    author: 'Rik van Riel',
    date: '26 June 2026',
    subject: 'Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock',
  },
  serves: {
    reads: true,
    writes: true,
    absentPages: true,
    stackGrowth: 'mmap_lock',
    hugetlb: true,
    pfnmap: 'mmap_lock',
    multiVma: 'mmap_lock',
  },
  locking: vmaLocking,
  *accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
    const lock = yield* lockForAccess(current, transfer);
    if (lock === NOTHING_THERE) return 0;
    if (lock === SEVERAL_VMAS) return yield* v0MmapLock.accessRemoteVm(current, transfer);
    const moved = yield* accessPages(current, transfer, lock);
    yield* unlockAfterAccess(current, lock);
    if (lock.held) return moved;
    current.kernel.remoteCounters.noteFallback(RemoteFallback.LockLost);
    return moved + (yield* v0MmapLock.accessRemoteVm(current, remainder(transfer, moved)));
  },
};
