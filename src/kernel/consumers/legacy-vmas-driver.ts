/**
 * A driver of before Linux 6.5, for demonstrations: it takes mmap_lock, gets pages together with their VMAs, lets the lock go,
 * and looks at the VMAs later. Beside it the same driver as it is written today: one page and its VMA by
 * `get_user_page_vma_remote`, and everything that it wants to know copied before the lock is let go.
 * No driver of Linux is this one; uprobes, arm64's tags of a tracee and __access_remote_vm looked at their VMA in time.
 * @see Linux v6.4 include/linux/mm.h; Lorenzo Stoakes, "[PATCH v4 0/6] remove the vmas parameter from GUP APIs", April 2023
 */
import type { Task } from '../../base/task.ts';
import { EFAULT } from '../errno.ts';
import { FOLL_FORCE, FOLL_WRITE, type MmapLocked } from '../gup/foll-flags.ts';
import { getUserPageVmaRemote, type UserPageAndVma } from '../gup/get-user-page-vma-remote.ts';
import {
  contentOf,
  legacyGetUserPagesRemote,
  legacyPinUserPagesRemote,
  VmaArray,
  type VmaContent,
  type VmaUse,
} from '../gup/legacy-vmas.ts';
import { putUserPage, unpinUserPages } from '../gup/pin.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';

export interface LegacyPinRequest {
  readonly startPage: number;
  readonly count: number;
  /** FOLL_WRITE. */
  readonly write: boolean;
  /** FOLL_PIN rather than FOLL_GET. */
  readonly pin: boolean;
  /** Pass `locked`: the call may drop the lock. */
  readonly mayUnlock: boolean;
  /** The check that refuses `vmas` to such a call. */
  readonly guard: boolean;
}

/** What the driver keeps. */
export class LegacyPins {
  readonly pages: number[] = [];
  readonly vmas = new VmaArray();
  readonly pin: boolean;
  /** Pages got. */
  count = 0;
  /** What the VMAs said when the driver looked, while the lock was still held; empty when GUP came back without it. */
  readonly seen: VmaUse[] = [];

  constructor(pin: boolean) {
    this.pin = pin;
  }
}

/**
 * Gets the pages and looks at their VMAs under the lock, then lets it go.
 * @returns pages got, 0 or -errno; the pages are in `into`
 */
export function* legacyDriverPin(
  current: TaskStruct,
  mm: MmStruct,
  request: LegacyPinRequest,
  into: LegacyPins,
): Task<number> {
  const { startPage, count, write, mayUnlock, guard } = request;
  const killed = yield* mmapReadLockKillable(current, mm);
  if (killed !== 0) return killed;
  const locked: MmapLocked = { held: true };
  const pass = mayUnlock ? locked : null;
  const flags = write ? FOLL_WRITE : 0;
  const { pages, vmas } = into;
  const got = into.pin
    ? yield* legacyPinUserPagesRemote(current, mm, startPage, count, flags, pages, vmas, pass, { guard })
    : yield* legacyGetUserPagesRemote(current, mm, startPage, count, flags, pages, vmas, pass, { guard });
  if (got > 0) into.count = got;
  const { bugs } = mm.kernel;
  if (!locked.held) {
    // `vmas` are refused to such calls; who is given them believes them.
    if (bugs.vmasDroppedLock) yield* lookAtAll(current, into);
    return got;
  }
  if (!bugs.vmasAfterUnlock) yield* lookAtAll(current, into);
  vmas.lockDropped();
  yield* mmapReadUnlock(current, mm);
  if (bugs.vmasAfterUnlock) yield* lookAtAll(current, into);
  return got;
}

function* lookAtAll(current: TaskStruct, { vmas, count, seen }: LegacyPins): Task<void> {
  for (let slot = 0; slot < count; slot++) seen.push(yield* vmas.use(current, slot));
}

/**
 * Looks at the VMA of a page once more, by a hold of mmap_lock of its own: it looks it up; with `kernel.bugs.vmasAfterSplit` it
 * takes the one that it was given before.
 * @returns -EFAULT: the page is not mapped any more, or the task was killed
 */
export function* legacyDriverLookAgain(
  current: TaskStruct,
  mm: MmStruct,
  { vmas }: LegacyPins,
  slot: number,
): Task<VmaContent | number> {
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EFAULT;
  let content: VmaContent | number = -EFAULT;
  if (mm.kernel.bugs.vmasAfterSplit) content = (yield* vmas.use(current, slot)).read;
  else {
    const vma = mm.vmas.lookup(vmas.pageOf(slot));
    if (vma !== null) content = contentOf(vma);
  }
  yield* mmapReadUnlock(current, mm);
  return content;
}

/** Gives the pages back. */
export function* legacyDriverRelease(current: TaskStruct, pins: LegacyPins): Task<void> {
  if (pins.pin) yield* unpinUserPages(current, pins.pages, pins.count);
  else for (const page of pins.pages) yield* putUserPage(current, page);
  pins.count = 0;
}

/**
 * The driver of today: what the VMA of one page says, copied while the lock is held.
 * @param force FOLL_FORCE
 * @returns -errno of GUP; -EFAULT also when it was killed while it waited for the lock
 */
export function* pageVmaContent(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  write: boolean,
  force: boolean,
): Task<VmaContent | number> {
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EFAULT;
  const out: UserPageAndVma = { pages: [0], vma: null };
  const flags = (write ? FOLL_WRITE : 0) | (force ? FOLL_FORCE : 0);
  const error = yield* getUserPageVmaRemote(current, mm, page, flags, out);
  let content: VmaContent | number = error;
  if (error === 0 && out.vma !== null) {
    content = contentOf(out.vma);
    yield* putUserPage(current, out.pages[0]);
  }
  yield* mmapReadUnlock(current, mm);
  return content;
}
