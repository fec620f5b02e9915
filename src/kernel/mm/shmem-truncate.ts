/**
 * Emptying a range of a tmpfs object: its whole pages leave the page cache, under their locks and after the last pte
 * that maps them is gone; the parts of pages at its ends are zeroed, and huge pages there are split. For ftruncate,
 * punched holes and MADV_REMOVE.
 * Left out: splitting into folios of more than one page.
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
import { splitFolio } from './thp/split-folio.ts';
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
  const range: Emptied = {
    start,
    end,
    first: Math.ceil(start / PAGE_BYTES),
    limit: Math.floor(end / PAGE_BYTES),
  };
  if (mapping.fallocEnd > range.first && mapping.fallocEnd <= range.limit) mapping.fallocEnd = range.first;
  for (const index of indexesIn(mapping, range)) yield* removeIfWhole(current, mapping, index, range);
  yield* emptyEnds(current, mapping, range);
  // Faults may have filled pages meanwhile. Of a hole that is their right; beyond the end none may stay.
  let again = yield* removeRest(current, mapping, range);
  while (again && end === Number.POSITIVE_INFINITY) again = yield* removeRest(current, mapping, range);
}

/** Bytes, and the pages that are still to go; what is left of a huge page that cannot be split is not. */
interface Emptied {
  readonly start: number;
  readonly end: number;
  first: number;
  limit: number;
}

function indexesIn(mapping: AddressSpace, { first, limit }: Emptied): number[] {
  return [...mapping.indexes(first, limit), ...mapping.swappedIndexes(first, limit)];
}

/** A folio that lies in the range with all its pages; others are left for later. */
function* removeIfWhole(
  current: TaskStruct,
  mapping: AddressSpace,
  index: number,
  { first, limit }: Emptied,
): Task<void> {
  const folio = yield* lockOrFreeSwap(current, mapping, index);
  if (folio === -1) return;
  const { frames } = current.kernel;
  const begin = frames.index(folio);
  if (begin >= first && begin + 2 ** frames.order(folio) <= limit)
    yield* removeLocked(current, mapping, folio);
  yield* unlockPage(current, folio);
}

/** The pages, or huge pages, of which only a part goes: zeroed, and huge ones split, so that pages in the range can go. */
function* emptyEnds(current: TaskStruct, mapping: AddressSpace, range: Emptied): Task<void> {
  const { frames } = current.kernel;
  const last = Math.floor((range.end - 1) / PAGE_BYTES);
  let same = Math.floor(range.start / PAGE_BYTES) === last;
  const folio = yield* lockOrSwapIn(current, mapping, Math.floor(range.start / PAGE_BYTES));
  if (folio >= 0) {
    const begin = frames.index(folio);
    const next = begin + 2 ** frames.order(folio);
    same = range.end <= next * PAGE_BYTES;
    frames.setFlags(folio, FrameFlag.Dirty);
    if (!(yield* truncatePartialFolio(current, mapping, folio, range))) {
      range.first = next;
      if (same) range.limit = begin;
    }
    yield* unlockPage(current, folio);
  }
  if (same || range.end === Number.POSITIVE_INFINITY) return;
  const behind = yield* lockOrSwapIn(current, mapping, last);
  if (behind < 0) return;
  const begin = frames.index(behind);
  frames.setFlags(behind, FrameFlag.Dirty);
  if (!(yield* truncatePartialFolio(current, mapping, behind, range))) range.limit = begin;
  yield* unlockPage(current, behind);
}

/**
 * Empties what the range covers of a locked folio: dropped if that is all of it, else zeroed, and a huge page split.
 * False: it could not be split, and keeps its zeros.
 */
function* truncatePartialFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  folio: number,
  { start, end }: Emptied,
): Task<boolean> {
  const { frames, machine } = current.kernel;
  const begin = frames.index(folio) * PAGE_BYTES;
  const size = PAGE_BYTES * 2 ** frames.order(folio);
  const from = Math.max(start - begin, 0);
  const to = Math.min(end - begin, size);
  if (to - from === size) {
    yield* removeLocked(current, mapping, folio);
    return true;
  }
  for (let at = from; at < to; ) {
    const next = Math.min(to, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES);
    const frame = folio + Math.floor(at / PAGE_BYTES);
    machine.memory.writeBytes(frame, at % PAGE_BYTES, new Uint8Array(next - at));
    at = next;
  }
  if (!frames.isLarge(folio) || (yield* splitFolio(current, folio)) === 0) return true;
  if (frames.hasFlag(folio, FrameFlag.Dirty)) return false;
  yield* removeLocked(current, mapping, folio);
  return true;
}

/** A second pass; true when there was anything, so that there may be more. */
function* removeRest(current: TaskStruct, mapping: AddressSpace, range: Emptied): Task<boolean> {
  const { frames } = current.kernel;
  let indexes = indexesIn(mapping, range);
  const any = indexes.length > 0;
  for (let next = indexes.shift(); next !== undefined; next = indexes.shift()) {
    const folio = yield* lockOrFreeSwap(current, mapping, next);
    if (folio === -1) continue;
    const large = frames.isLarge(folio);
    yield* truncatePartialFolio(current, mapping, folio, range);
    // Its pages are folios of their own now.
    if (large && !frames.isLarge(folio)) indexes = indexesIn(mapping, range);
    yield* unlockPage(current, folio);
  }
  return any;
}

/** What shmem_fallocate reserved and cannot keep: pages that hold nothing. @see `shmem_undo_range` with `unfalloc` */
export function* shmemUndoFalloc(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  end: number,
): Task<void> {
  for (const index of mapping.indexes(first, end)) {
    const folio = yield* lockPage(current, mapping, index);
    if (folio === -1) continue;
    if (!current.kernel.frames.hasFlag(folio, FrameFlag.Uptodate))
      yield* removeLocked(current, mapping, folio);
    yield* unlockPage(current, folio);
  }
}

/** The folio of the page, locked and with a reference; -1 when it is gone. */
function* lockPage(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  const { frames } = current.kernel;
  for (;;) {
    yield mapping.change;
    const frame = mapping.frameAt(index);
    if (frame === -1) return -1;
    frames.get(frame);
    yield* folioLock(current, frame);
    if (mapping.frameAt(index) === frame) return frames.head(frame);
    yield* unlockPage(current, frame);
  }
}

/** The same, brought back if it is in swap; below 0 when there is none. @see `shmem_get_partial_folio` */
function* lockOrSwapIn(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  for (;;) {
    const folio = yield* lockPage(current, mapping, index);
    const slot = mapping.swapSlotAt(index);
    if (folio !== -1 || slot === NO_SLOT) return folio;
    const back = yield* shmemSwapinFolio(current, mapping, index, slot);
    if (back !== -EEXIST) return back;
  }
}

/** The same as `lockPage`; what lies in swap is given up there. */
function* lockOrFreeSwap(current: TaskStruct, mapping: AddressSpace, index: number): Task<number> {
  for (;;) {
    const folio = yield* lockPage(current, mapping, index);
    // It may go to swap and come back while we look.
    if (folio !== -1 || mapping.swapSlotAt(index) === NO_SLOT) return folio;
    yield* shmemFreeSwap(current, mapping, index, index + 1);
  }
}

function* unlockPage(current: TaskStruct, folio: number): Task<void> {
  const { frames } = current.kernel;
  yield* folioUnlock(current, folio);
  frames.put(folio);
}

/** The folio is locked: a fault that holds it has mapped it by now, and no other can. @see `truncate_inode_folio` */
function* removeLocked(current: TaskStruct, mapping: AddressSpace, folio: number): Task<void> {
  const { frames } = current.kernel;
  const index = frames.index(folio);
  const last = index + 2 ** frames.order(folio) - 1;
  if (frames.isMapped(folio)) yield* unmapMappingFolio(current, mapping, index, last);
  yield mapping.change;
  mapping.remove(frames, index);
}
