/**
 * References and pins of GUP: taking them, and giving them back with the pages marked dirty. A pin on the zero page is
 * nothing, and taking it off is nothing. Entries of one folio that follow each other are given back in one step.
 * Left out: dirty tracking and write-back of files; folios in device memory, peer to peer memory (-EREMOTEIO).
 * @see Linux mm/gup.c, `try_grab_folio`, `gup_put_folio`, `unpin_user_pages_dirty_lock`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, ENOMEM } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { folioLock, folioUnlock } from '../mm/fault/folio-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_GET, FOLL_PIN, type PageArray } from './foll-flags.ts';

/** In a `PageArray`, no page: `unpinUserPages` skips it. */
export const NULL_PAGE = -1;

/**
 * `refs` references or pins on the folio of `frame`, as the flags say; none for a caller that only wants faults. Atomic:
 * yield at the frame's `refPoint` first. 0 or -ENOMEM (the folio is being freed, or its count has overflown).
 */
export function tryGrabFolio(current: TaskStruct, frame: number, gupFlags: number, refs = 1): number {
  const { frames } = current.kernel;
  if ((gupFlags & FOLL_GET) !== 0) return frames.tryGet(frame, refs) ? 0 : refused(current);
  if ((gupFlags & FOLL_PIN) !== 0) return frames.tryPin(frame, refs) ? 0 : refused(current);
  return 0;
}

function refused(current: TaskStruct): number {
  current.kernel.warnings.once(current, 'try_grab_folio', 'the folio has no reference, or too many');
  return -ENOMEM;
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
  const { frames } = current.kernel;
  yield frames.refPoint(frame);
  if (tryGrabFolio(current, frame, gupFlags, count) === 0) return 0;
  if ((gupFlags & FOLL_PIN) !== 0) frames.unpin(frame);
  else frames.put(frame);
  return -EFAULT;
}

/** `put_page`: the end of a FOLL_GET. */
export function* putUserPage(current: TaskStruct, frame: number): Task<void> {
  const { frames } = current.kernel;
  yield frames.refPoint(frame);
  frames.put(frame);
}

/** `pins` pins of one folio go. @see Linux mm/gup.c, `gup_put_folio` */
export function* putPins(current: TaskStruct, frame: number, pins: number): Task<void> {
  const { frames } = current.kernel;
  if (frames.isZeroFrame(frame)) return;
  yield frames.refPoint(frame);
  frames.unpin(frame, pins);
}

/** `unpin_user_page`. */
export function* unpinUserPage(current: TaskStruct, frame: number): Task<void> {
  checkPinnedPage(current, frame);
  yield* putPins(current, frame, 1);
}

/** `unpin_user_pages`: the first `count` of `pages`, without those that are NULL_PAGE. A count that is an error is refused. */
export function* unpinUserPages(current: TaskStruct, pages: PageArray, count: number): Task<void> {
  if (isErrorCount(current, 'unpin_user_pages', count)) return;
  checkPinnedPages(current, pages, count);
  for (let i = 0; i < count; ) {
    const run = pages[i] === NULL_PAGE ? 1 : folioRun(current, pages, count, i);
    if (pages[i] !== NULL_PAGE) yield* putPins(current, pages[i] as number, run);
    i += run;
  }
}

/**
 * `unpin_user_pages_dirty_lock`: unpins, and marks the folios dirty first when `makeDirty`: their data was changed behind the
 * page tables' back.
 */
export function* unpinUserPagesDirtyLock(
  current: TaskStruct,
  pages: PageArray,
  count: number,
  makeDirty: boolean,
): Task<void> {
  if (!makeDirty) return yield* unpinUserPages(current, pages, count);
  checkPinnedPages(current, pages, count);
  for (let i = 0; i < count; ) {
    const run = folioRun(current, pages, count, i);
    yield* dirtyAndPutPins(current, pages[i] as number, run);
    i += run;
  }
}

/** Marks the folio dirty where it is not, and gives pins back. */
export function* dirtyAndPutPins(current: TaskStruct, frame: number, pins: number): Task<void> {
  // Setting it again would be harmless, taking the folio's lock for it would not be free.
  if (!current.kernel.frames.hasFlag(frame, FrameFlag.Dirty)) yield* markFolioDirtyLock(current, frame);
  yield* putPins(current, frame, pins);
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

/** Entries from `first` on that are of the same folio. @see Linux mm/gup.c, `gup_folio_next` */
function folioRun(current: TaskStruct, pages: PageArray, count: number, first: number): number {
  const { frames } = current.kernel;
  const folio = frames.head(pages[first] as number);
  let next = first + 1;
  while (next < count && pages[next] !== NULL_PAGE && frames.head(pages[next] as number) === folio) next++;
  return next - first;
}

/** Was the result of a GUP call that failed handed on as a count? Linux warns, and leaks what there may be. */
export function isErrorCount(current: TaskStruct, place: string, count: number): boolean {
  if (count >= 0) return false;
  current.kernel.warnings.once(current, place, 'the number of pages is an error');
  return true;
}

/**
 * A pinned anonymous page stays this mm's alone for as long as the pin lasts, as a kernel with CONFIG_DEBUG_VM checks.
 * @see Linux mm/gup.c, `sanity_check_pinned_pages`
 */
export function checkPinnedPages(current: TaskStruct, pages: PageArray, count: number): void {
  for (let i = 0; i < count; i++) {
    const frame = pages[i] as number;
    if (frame !== NULL_PAGE) checkPinnedPage(current, frame);
  }
}

function checkPinnedPage(current: TaskStruct, frame: number): void {
  const { frames } = current.kernel;
  const flags = frames.flags(frame);
  if ((flags & FrameFlag.Anon) === 0 || (flags & FrameFlag.AnonExclusive) !== 0) return;
  // Of a huge page that is mapped as a whole, the first frame says it for all.
  if (frames.hasFlag(frames.head(frame), FrameFlag.AnonExclusive)) return;
  const text = 'an anonymous page that was pinned is not exclusive';
  current.kernel.warnings.once(current, 'sanity_check_pinned_pages', text);
}
