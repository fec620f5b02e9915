/**
 * Emptying a range of a tmpfs object: its whole pages leave the page cache, under their locks and after the last pte
 * that maps them is gone; the parts of pages at its ends are zeroed. For ftruncate, punched holes and MADV_REMOVE.
 * Left out: huge pages that are split.
 * @see Linux mm/shmem.c, `shmem_undo_range`, `shmem_get_partial_folio`; mm/truncate.c, `truncate_inode_folio`,
 * `truncate_inode_partial_folio`
 */
import type { Task } from '../../base/task.ts';
import { EEXIST } from '../errno.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { NO_SLOT } from '../frame/swap-area.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioLock, folioUnlock } from './fault/folio-lock.ts';
import { shmemFreeSwap, shmemSwapinFolio } from './shmem-swap.ts';
import { unmapMappingFolio } from './unmap-mapping.ts';

const PAGE_BYTES = 4096;

/**
 * Empties the bytes from `start` to before `end` (`Infinity` for all that follow). Needs `iRwsem` for writing, where the
 * object can be reached.
 * @see `shmem_truncate_range`
 */
export function* shmemTruncateRange(
  current: TaskStruct,
  mapping: AddressSpace,
  start: number,
  end: number,
): Task<void> {
  const first = Math.ceil(start / PAGE_BYTES);
  const limit = Math.floor(end / PAGE_BYTES);
  yield* removePages(current, mapping, first, limit);
  yield* zeroPart(current, mapping, start, Math.min(end, first * PAGE_BYTES));
  if (limit >= first && limit !== Number.POSITIVE_INFINITY) {
    yield* zeroPart(current, mapping, limit * PAGE_BYTES, end);
  }
  // Faults may have filled pages meanwhile. Of a hole that is their right; beyond the end none may stay.
  let removed = yield* removePages(current, mapping, first, limit);
  while (removed > 0 && limit === Number.POSITIVE_INFINITY) {
    removed = yield* removePages(current, mapping, first, limit);
  }
}

/** One pass over the pages `first` to before `limit`; how many were there. */
function* removePages(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  limit: number,
): Task<number> {
  const indexes = [...mapping.indexes(first, limit), ...mapping.swappedIndexes(first, limit)];
  for (const index of indexes) yield* truncatePage(current, mapping, index);
  return indexes.length;
}

/** What shmem_fallocate reserved and cannot keep: pages that hold nothing. @see `shmem_undo_range` with `unfalloc` */
export function* shmemUndoFalloc(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  end: number,
): Task<void> {
  for (const index of mapping.indexes(first, end)) {
    const frame = yield* lockPage(current, mapping, index);
    if (frame === -1) continue;
    if (!current.kernel.frames.hasFlag(frame, FrameFlag.Uptodate))
      yield* removeLocked(current, mapping, index);
    yield* unlockPage(current, frame);
  }
}

/** The page, locked and with a reference; -1 when it is gone. */
function* lockPage(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { frames } = current.kernel;
  for (;;) {
    yield mapping.change;
    const frame = mapping.frameAt(index);
    if (frame === -1) return -1;
    frames.get(frame);
    yield* folioLock(current, frame);
    if (mapping.frameAt(index) === frame) return frame;
    yield* unlockPage(current, frame);
  }
}

/** The same, brought back if it is in swap; below 0 when there is none. @see `shmem_get_partial_folio` */
function* lockOrSwapIn(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  for (;;) {
    const frame = yield* lockPage(current, mapping, index);
    const slot = mapping.swapSlotAt(index);
    if (frame !== -1 || slot === NO_SLOT) return frame;
    const back = yield* shmemSwapinFolio(current, mapping, index, slot);
    if (back !== -EEXIST) return back;
  }
}

function* unlockPage(current: TaskStruct, frame: number): Task<void> {
  const { frames } = current.kernel;
  yield* folioUnlock(current, frame);
  frames.put(frame);
}

/** The page is locked: a fault that holds it has mapped it by now, and no other can. @see `truncate_inode_folio` */
function* removeLocked(current: TaskStruct, mapping: AddressSpace, index: number): Task<void> {
  const { frames } = current.kernel;
  if (frames.mapcount(mapping.frameAt(index)) > 0) yield* unmapMappingFolio(current, mapping, index, index);
  yield mapping.change;
  mapping.remove(frames, index);
}

function* truncatePage(current: TaskStruct, mapping: AddressSpace, index: number): Task<void> {
  for (;;) {
    const frame = yield* lockPage(current, mapping, index);
    if (frame !== -1) {
      yield* removeLocked(current, mapping, index);
      yield* unlockPage(current, frame);
      return;
    }
    // It may go to swap and come back while we look.
    if (mapping.swapSlotAt(index) === NO_SLOT) return;
    yield* shmemFreeSwap(current, mapping, index, index + 1);
  }
}

/** Zeroes the bytes from `start` to before `end`, a part of one page, if that is cached. */
function* zeroPart(current: TaskStruct, mapping: AddressSpace, start: number, end: number): Task<void> {
  if (end <= start) return;
  const { frames, machine } = current.kernel;
  const frame = yield* lockOrSwapIn(current, mapping, Math.floor(start / PAGE_BYTES));
  if (frame < 0) return;
  frames.setFlags(frame, FrameFlag.Dirty);
  machine.memory.writeBytes(frame, start % PAGE_BYTES, new Uint8Array(end - start));
  yield* unlockPage(current, frame);
}
