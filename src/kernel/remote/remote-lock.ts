/**
 * The lock around a remote access that is no transfer of `__access_remote_vm`: process_vm_readv and writev, the
 * asynchronous fault of KVM, make_device_exclusive. Today it is mmap_lock; a design may bring another one.
 * @see Linux mm/process_vm_access.c, `process_vm_rw_single_vec`; virt/kvm/async_pf.c, `async_pf_execute`
 */
import type { Task } from '../../base/task.ts';
import { FOLL_WRITE, type MmapLocked, type PageArray } from '../gup/foll-flags.ts';
import { getUserPageVmaRemote, type UserPageAndVma } from '../gup/get-user-page-vma-remote.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../gup/get-user-pages-remote.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';

/** A lock that keeps the VMA of one page as it is. */
export interface RemotePageLock {
  readonly mm: MmStruct;
  /** The VMA whose own lock is held for reading; null: mmap_lock is. */
  vma: VmArea | null;
}

/** How the remote paths lock. Page numbers have no tag bits. The caller holds a reference to the mm's users. */
export interface RemoteLocking {
  /** @see pinRemotePages */
  pinPages(
    current: TaskStruct,
    mm: MmStruct,
    page: number,
    count: number,
    gupFlags: number,
    pages: PageArray,
  ): Task<number>;
  /** @see faultInRemotePage */
  faultInPage(current: TaskStruct, mm: MmStruct, page: number): Task<number>;
  /** @see lockRemotePage */
  lockPage(current: TaskStruct, mm: MmStruct, page: number): Task<RemotePageLock>;
  /** @see unlockRemotePage */
  unlockPage(current: TaskStruct, lock: RemotePageLock): Task<void>;
  /** @see getLockedRemotePage */
  getPage(
    current: TaskStruct,
    lock: RemotePageLock,
    page: number,
    gupFlags: number,
    out: UserPageAndVma,
  ): Task<number>;
}

/** mmap_lock for reading; a fault may drop it where the caller can take that. */
export const mmapLocking: RemoteLocking = {
  *pinPages(current, mm, page, count, gupFlags, pages) {
    const locked: MmapLocked = { held: true };
    // Not killable, unlike access_remote_vm.
    yield* mmapReadLock(current, mm);
    const pinned = yield* pinUserPagesRemote(current, mm, page, count, gupFlags, pages, locked);
    if (locked.held) yield* mmapReadUnlock(current, mm);
    return pinned;
  },

  *faultInPage(current, mm, page) {
    const locked: MmapLocked = { held: true };
    yield* mmapReadLock(current, mm);
    const got = yield* getUserPagesRemote(current, mm, page, 1, FOLL_WRITE, null, locked);
    if (locked.held) yield* mmapReadUnlock(current, mm);
    return got;
  },

  *lockPage(current, mm) {
    yield* mmapReadLock(current, mm);
    return { mm, vma: null };
  },

  *unlockPage(current, { mm }) {
    yield* mmapReadUnlock(current, mm);
  },

  getPage(current, { mm }, page, gupFlags, out) {
    return getUserPageVmaRemote(current, mm, page, gupFlags, out);
  },
};

function lockingOf(current: TaskStruct): RemoteLocking {
  const { remoteCounters, remoteAccess } = current.kernel;
  remoteCounters.calls++;
  return remoteAccess?.locking ?? mmapLocking;
}

/**
 * Pins `count` pages of `mm` from `page` on, taking and releasing what lock the design wants; a fault may wait with the lock
 * dropped. Pages pinned: fewer after an error, then -errno when there is none. What is unpinned later is the caller's to do.
 * @see Linux mm/gup.c, `pin_user_pages_remote` with `locked`
 */
export function pinRemotePages(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  return lockingOf(current).pinPages(current, mm, page, count, gupFlags, pages);
}

/**
 * Makes one page of `mm` present and writable, without a reference to it; the fault may wait with the lock dropped. 1, or -errno.
 * @see Linux virt/kvm/async_pf.c, `async_pf_execute`: `get_user_pages_remote` with FOLL_WRITE and no pages
 */
export function faultInRemotePage(current: TaskStruct, mm: MmStruct, page: number): Task<number> {
  return lockingOf(current).faultInPage(current, mm, page);
}

/**
 * Takes the lock that keeps the VMA of `page` as it is: its own where the design and the VMA allow it, else mmap_lock for
 * reading. That there is such a VMA is not said.
 */
export function lockRemotePage(current: TaskStruct, mm: MmStruct, page: number): Task<RemotePageLock> {
  return lockingOf(current).lockPage(current, mm, page);
}

/** Releases what `lockRemotePage` took, whichever it is now. */
export function unlockRemotePage(current: TaskStruct, lock: RemotePageLock): Task<void> {
  return (current.kernel.remoteAccess?.locking ?? mmapLocking).unlockPage(current, lock);
}

/**
 * `get_user_page_vma_remote` under what `lockRemotePage` took: 0 with a reference to the page and the VMA, or -errno. The
 * lock may be another one afterwards (mmap_lock, when a fault let the VMA's own go), but one is held.
 */
export function getLockedRemotePage(
  current: TaskStruct,
  lock: RemotePageLock,
  page: number,
  gupFlags: number,
  out: UserPageAndVma,
): Task<number> {
  return (current.kernel.remoteAccess?.locking ?? mmapLocking).getPage(current, lock, page, gupFlags, out);
}
