/**
 * A large folio of a file becomes as many folios of one page, which stay where they are in the page cache. What maps it
 * is unmapped: faults find the pages again. Pages beyond the end of the file leave the cache.
 * Left out: folios of files that are written back.
 * @see Linux mm/huge_memory.c, `__folio_split`, `unmap_folio`; mm/shmem.c, `shmem_fallocend`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN } from '../../errno.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { TlbFlushBatch } from '../reclaim/tlb-batch.ts';
import { tryToUnmap } from '../reclaim/try-to-unmap.ts';
import { cacheReferences, canSplitFolio, isolateTails, unlockOthers } from './split-parts.ts';

/** Like `splitFolio`, of a folio in the cache of `mapping`. 0 or -EAGAIN. */
export function* splitFileFolio(
  current: TaskStruct,
  mapping: AddressSpace,
  head: number,
  frame: number,
  list: number[] | null,
): Task<number> {
  const { frames } = current.kernel;
  const pages = 2 ** frames.order(head);
  yield* mapping.iMmapRwsem.downRead(current);
  // What fallocate has reserved beyond the end stays.
  const end = Math.max(mapping.sizePages, mapping.fallocEnd);
  let split = false;
  if (canSplitFolio(frames, head, 1)) {
    const batch = new TlbFlushBatch();
    yield* tryToUnmap(current, head, batch, { ignoreMlock: true, rmapLocked: true });
    yield* batch.flush(current);
    yield mapping.change;
    split = takeApart(current, mapping, head, end, list);
  }
  if (split) yield* unlockOthers(current, head, pages, frame);
  yield* mapping.iMmapRwsem.upRead(current);
  return split ? 0 : -EAGAIN;
}

/**
 * False, and nothing done, when somebody else has a reference. One step: nobody comes by one through the page cache
 * meanwhile (Linux's frozen count and the lock of the cache).
 */
function takeApart(
  { kernel: { frames } }: TaskStruct,
  mapping: AddressSpace,
  head: number,
  end: number,
  list: number[] | null,
): boolean {
  if (frames.isMapped(head) || frames.refcount(head) !== 1 + cacheReferences(frames, head)) return false;
  const pages = 2 ** frames.order(head);
  const index = frames.index(head);
  // One reference of the cache for each, and one that goes with its lock.
  frames.splitLarge(head, 2);
  if (list !== null) isolateTails(frames, head, pages, list);
  for (let i = 0; i < pages; i++) if (index + i >= end) mapping.remove(frames, index + i);
  return true;
}
