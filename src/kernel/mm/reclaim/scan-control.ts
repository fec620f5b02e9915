/** What one round of reclaim is after, and what it has done so far. @see Linux mm/vmscan.c, `struct scan_control` */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { TlbFlushBatch } from './tlb-batch.ts';

export class ScanControl {
  /** Pages wanted (`nr_to_reclaim`). */
  readonly wanted: number;
  /** Take pages whether or not they were used lately: MADV_PAGEOUT. */
  readonly ignoreReferences: boolean;
  readonly batch = new TlbFlushBatch();
  /** Pages that were freed. */
  reclaimed = 0;
  /** A page could not be had because somebody is at it right now: trying again may help. */
  contended = false;
  /** Folios that nobody can find any more; their last reference goes after the flush. */
  readonly #free: number[] = [];

  constructor(wanted: number, ignoreReferences: boolean) {
    this.wanted = wanted;
    this.ignoreReferences = ignoreReferences;
  }

  /** Nobody else has the folio. */
  release(folio: number): void {
    this.reclaimed++;
    this.#free.push(folio);
  }

  /** Flushes what was unmapped, then frees. */
  *finish(current: TaskStruct): Task<void> {
    const { frames } = current.kernel;
    yield* this.batch.flush(current);
    for (const folio of this.#free.splice(0)) {
      yield frames.refPoint(folio);
      frames.put(folio);
    }
  }
}
