/**
 * References and pins of GUP: taking them, and giving them back with the pages marked dirty. A pin on the zero page is
 * nothing, and taking it off is nothing.
 * Left out: dirty tracking and write-back of files; folios in device memory.
 * @see Linux mm/gup.c, `try_grab_folio`, `gup_put_folio`, `unpin_user_pages_dirty_lock`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, ENOMEM } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { folioLock, folioUnlock } from '../mm/fault/folio-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_GET, FOLL_PIN, type PageArray } from './foll-flags.ts';

/**
 * One reference or pin on the folio of `frame`, as the flags say; none for a caller that only wants faults. Atomic:
 * yield at the frame's `refPoint` first. 0 or -ENOMEM (the folio is being freed).
 */
export function tryGrabFolio(current: TaskStruct, frame: number, gupFlags: number): number {
  const { frames } = current.kernel;
  if ((gupFlags & FOLL_GET) !== 0) return frames.tryGet(frame) ? 0 : -ENOMEM;
  if ((gupFlags & FOLL_PIN) !== 0) return frames.tryPin(frame) ? 0 : -ENOMEM;
  return 0;
}

/**
 * `count` more references for the pages after the first of a large folio, of which one reference is held. On failure
 * that one is given back too. 0 or -EFAULT.
 */
export function* grabFollowingPages(
  current: TaskStruct,
  frame: number,
  count: number,
  gupFlags: number,
): Task<number> {
  yield current.kernel.frames.refPoint(frame);
  for (let taken = 0; taken < count; taken++) {
    if (tryGrabFolio(current, frame, gupFlags) === 0) continue;
    for (let given = 0; given <= taken; given++) dropGrab(current, frame, gupFlags);
    return -EFAULT;
  }
  return 0;
}

/** @see Linux mm/gup.c, `gup_put_folio` */
function dropGrab(current: TaskStruct, frame: number, gupFlags: number): void {
  const { frames } = current.kernel;
  if ((gupFlags & FOLL_PIN) !== 0) frames.unpin(frame);
  else if ((gupFlags & FOLL_GET) !== 0) frames.put(frame);
}

/** `put_page`: the end of a FOLL_GET. */
export function* putUserPage(current: TaskStruct, frame: number): Task<void> {
  const { frames } = current.kernel;
  yield frames.refPoint(frame);
  frames.put(frame);
}

/** `unpin_user_page`. */
export function* unpinUserPage(current: TaskStruct, frame: number): Task<void> {
  const { frames } = current.kernel;
  if (frames.isZeroFrame(frame)) return;
  yield frames.refPoint(frame);
  frames.unpin(frame);
}

/** `unpin_user_pages`: the first `count` of `pages`. A count that is an error is refused silently, as Linux does. */
export function* unpinUserPages(current: TaskStruct, pages: PageArray, count: number): Task<void> {
  for (let i = 0; i < count; i++) yield* unpinUserPage(current, pages[i] as number);
}

/** Unpins, and marks the pages dirty first when `makeDirty`: their data was changed behind the page tables' back. */
export function* unpinUserPagesDirtyLock(
  current: TaskStruct,
  pages: PageArray,
  count: number,
  makeDirty: boolean,
): Task<void> {
  if (!makeDirty) return yield* unpinUserPages(current, pages, count);
  for (let i = 0; i < count; i++) {
    const frame = pages[i] as number;
    // Setting it again would be harmless, taking the folio's lock for it would not be free.
    if (!current.kernel.frames.hasFlag(frame, FrameFlag.Dirty)) yield* markFolioDirtyLock(current, frame);
    yield* unpinUserPage(current, frame);
  }
}

/** `folio_mark_dirty_lock`: dirty, under the folio's lock, so that reclaim and truncation see it before or after. */
export function* markFolioDirtyLock(current: TaskStruct, frame: number): Task<void> {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  if (frames.isZeroFrame(head)) return;
  yield* folioLock(current, head);
  frames.setFlags(head, FrameFlag.Dirty);
  yield* folioUnlock(current, head);
}
