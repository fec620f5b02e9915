/**
 * V4 for the other remote paths, in the order in which they were named: `pin_user_pages_remote`, the asynchronous fault of KVM,
 * `make_device_exclusive`. Where all pages lie in one VMA its own lock is taken; a fault that has to wait lets it go, and the
 * rest is done under mmap_lock.
 * @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026
 */
import type { Task } from '../../../../base/task.ts';
import { EAGAIN } from '../../../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE, type MmapLocked, type PageArray } from '../../../gup/foll-flags.ts';
import { getUserPageVmaRemote } from '../../../gup/get-user-page-vma-remote.ts';
import { untaggedPageRemoteUnlocked } from '../../../gup/get-user-pages-loop.ts';
import { getUserPageOfVma, pinUserPagesOfVma } from '../../../gup/get-user-pages-of-vma.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../lock/mmap-lock.ts';
import type { MmStruct } from '../../../mm/mm.ts';
import type { VmArea } from '../../../mm/vma.ts';
import { vmaEndRead } from '../../../mm/vma-lock.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { mmapLocking, type RemoteLocking } from '../../remote-lock.ts';
import { lockRemoteVma } from '../lock-vma.ts';

export const vmaLocking: RemoteLocking = {
  *pinPages(current, mm, page, count, gupFlags, pages) {
    const done = yield* inOneVma(current, mm, page, count, gupFlags, pages);
    return done ?? (yield* mmapLocking.pinPages(current, mm, page, count, gupFlags, pages));
  },

  *faultInPage(current, mm, page) {
    const done = yield* inOneVma(current, mm, page, 1, FOLL_WRITE, null);
    return done ?? (yield* mmapLocking.faultInPage(current, mm, page));
  },

  *lockPage(current, mm, page) {
    const vma = yield* lockRemoteVma(current, mm, page);
    if (typeof vma !== 'string') return { mm, vma };
    current.kernel.remoteCounters.noteFallback(vma);
    return yield* mmapLocking.lockPage(current, mm, page);
  },

  *unlockPage(current, { mm, vma }) {
    if (vma === null) yield* mmapReadUnlock(current, mm);
    else yield* vmaEndRead(current, vma);
  },

  *getPage(current, lock, page, gupFlags, out) {
    const { mm, vma } = lock;
    if (vma !== null) {
      const got = yield* getUserPageOfVma(
        current,
        { vma, ownLock: true, held: true },
        page,
        gupFlags,
        out.pages,
      );
      if (got === 0) out.vma = vma;
      if (got !== -EAGAIN) return got;
      current.kernel.remoteCounters.noteFallback(RemoteFallback.LockLost);
      lock.vma = null;
      yield* mmapReadLock(current, mm);
    }
    return yield* getUserPageVmaRemote(current, mm, page, gupFlags, out);
  },
};

/** What GUP gives for pages that one VMA holds; null, and noted why, when they are not such. */
function* inOneVma(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
): Task<number | null> {
  const { remoteCounters } = current.kernel;
  // A pin that lasts may have to move its pages and begin anew: that loop knows mmap_lock only.
  if ((gupFlags & FOLL_LONGTERM) !== 0) {
    remoteCounters.noteFallback(RemoteFallback.LastingPins);
    return null;
  }
  const page = untaggedPageRemoteUnlocked(current, mm, startPage);
  const vma: VmArea | RemoteFallback = yield* lockRemoteVma(current, mm, page);
  if (typeof vma === 'string') {
    remoteCounters.noteFallback(vma);
    return null;
  }
  if (page + count > vma.end) {
    yield* vmaEndRead(current, vma);
    remoteCounters.noteFallback(RemoteFallback.SeveralVmas);
    return null;
  }
  const locked: MmapLocked = { held: true };
  const got = yield* pinUserPagesOfVma(current, vma, page, count, gupFlags, pages, locked);
  if (locked.held) yield* vmaEndRead(current, vma);
  else remoteCounters.noteFallback(RemoteFallback.LockLost);
  return got;
}
