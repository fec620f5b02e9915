/**
 * What the splits of anonymous folios and of those of files have in common.
 * @see Linux mm/huge_memory.c, `can_split_folio`, `lru_add_split_folio`, `__folio_split`
 */
import type { Task } from '../../../base/task.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioSetLocked, noteReleased, unlockUnwatched } from '../fault/folio-lock.ts';

/** References of the page cache: one for each page (`folio_cache_ref_count`). */
export function cacheReferences(frames: FrameTable, head: number): number {
  return frames.mapping(head)?.kind === 'address_space' ? 2 ** frames.order(head) : 0;
}

/**
 * Has nobody a reference but the mappings, the page cache and `ours`? A first look, which says nothing for certain.
 */
export function canSplitFolio(frames: FrameTable, head: number, ours: number): boolean {
  return frames.folioMapcount(head) === frames.refcount(head) - cacheReferences(frames, head) - ours;
}

/** The pages but the first, each with a reference for the list that they go to. @see `lru_add_split_folio` */
export function isolateTails(frames: FrameTable, head: number, pages: number, list: number[]): void {
  for (let tail = head + 1; tail < head + pages; tail++) {
    frames.get(tail);
    list.push(tail);
  }
}

/**
 * Each of the `pages` folios from `head` on has got its lock and a reference from the split; `kept`, of which the caller
 * goes on having both, excepted, they go. What nobody maps or caches is free then.
 */
export function* unlockOthers(current: TaskStruct, head: number, pages: number, kept: number): Task<void> {
  const { frames } = current.kernel;
  if (kept !== head) {
    noteReleased(current, head);
    folioSetLocked(current, kept);
  }
  for (let frame = head; frame < head + pages; frame++) {
    if (frame === kept) continue;
    yield* unlockUnwatched(frames, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
  }
}
