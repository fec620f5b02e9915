/**
 * One TLB flush for many pages that reclaim unmaps. Their ptes are gone at once, the translations of other CPUs only
 * with the flush; until then no such page is freed, and none that may still be written to through a stale translation is
 * written to swap. Others who rely on an empty pte of such an mm (munmap, mprotect …) flush first.
 * Left out: deciding per page whether to defer (here every page is), the masks of CPUs without the mm.
 * @see Linux mm/rmap.c, `try_to_unmap_flush`, `set_tlb_ubc_flush_pending`, `flush_tlb_batched_pending`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { flushTlbMm, flushTlbRange } from '../tlb.ts';

/** First and last page that were unmapped. */
interface Span {
  first: number;
  last: number;
}

/** `struct tlbflush_unmap_batch`, of one task that reclaims. */
export class TlbFlushBatch {
  readonly #spans = new Map<MmStruct, Span>();
  /** Among them are pages that were dirty, so that a CPU may write to them without looking at the pte again. */
  #writable = false;

  /** The pte of `page` was cleared; `dirty` as it was then. Needs the pte table's lock. */
  add(mm: MmStruct, page: number, dirty: boolean): void {
    const span = this.#spans.get(mm);
    if (span === undefined) this.#spans.set(mm, { first: page, last: page });
    else {
      span.first = Math.min(span.first, page);
      span.last = Math.max(span.last, page);
    }
    this.#writable ||= dirty;
    mm.tlbBatchPending++;
  }

  /** `try_to_unmap_flush`: afterwards no CPU has a translation of any of the pages. */
  *flush(current: TaskStruct): Task<void> {
    const spans = [...this.#spans];
    this.#spans.clear();
    this.#writable = false;
    for (const [mm, { first, last }] of spans) {
      // An address space that has gone has been flushed as a whole.
      if (mm.pgd === -1) continue;
      yield* flushTlbRange(current, mm, first, last + 1, mm.kernel.arch.format.pageShift, false);
    }
  }

  /** `try_to_unmap_flush_dirty`: before a page is written out. */
  *flushDirty(current: TaskStruct): Task<void> {
    if (this.#writable) yield* this.flush(current);
  }
}

/**
 * Before relying on empty ptes: flushes what reclaim has unmapped of this mm and maybe not flushed yet. Needs the pte
 * table's lock. @see `flush_tlb_batched_pending`
 */
export function* flushTlbBatchedPending(current: TaskStruct, mm: MmStruct): Task<void> {
  const pending = mm.tlbBatchPending;
  if (pending === mm.tlbBatchFlushed) return;
  yield* flushTlbMm(current, mm);
  mm.tlbBatchFlushed = pending;
}
