/**
 * MADV_FREE: the pages stay until memory is short; what was not written to again by then is dropped without being
 * swapped out. Each pte becomes old and clean, so that a later write shows. Pages in swap go at once.
 * @see Linux mm/madvise.c, `madvise_free_single_vma`, `madvise_free_pte_range`; mm/huge_memory.c,
 * `madvise_free_huge_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EINVAL } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import { folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import type { MmuGather } from '../mmu-gather.ts';
import { type PageTables, pteIndex, type TablePage } from '../page-table.ts';
import { folioMarkLazyfree } from '../reclaim/lru.ts';
import { folioFreeSwap } from '../swap-cache.ts';
import { PTE_MARKER_POISONED, SWP_HWPOISON, SWP_PTE_MARKER } from '../swap-entry.ts';
import { swapSlotRead, zapSwapPte } from '../swap-pte.ts';
import type { VmArea } from '../vma.ts';
import type { HugeVerdict, PageTableVisitor } from '../walk-page-tables.ts';
import { adviseHugePage, SplittingVisitor, STOPPED, walkSplitting } from './huge-part.ts';
import type { MadviseState } from './madvise-state.ts';

const YOUNG_OR_DIRTY = EntryFlag.Young | EntryFlag.Dirty;

/** 0, or -EINVAL for memory that is not anonymous. */
export function* madviseFreeSingleVma(
  current: TaskStruct,
  state: MadviseState,
  gather: MmuGather,
): Task<number> {
  const { vma, start, end } = state;
  if (!vma.anonymous) return -EINVAL;
  yield* walkSplitting(current, vma, start, end, new FreeVisitor(current, vma, gather));
  return 0;
}

/** The swap-type entry read last stands for broken memory. */
function isBroken({ format, hi, lo }: PageTables): boolean {
  const type = format.swapTypeOf(hi, lo);
  if (type === SWP_HWPOISON) return true;
  return type === SWP_PTE_MARKER && (format.swapOffsetOf(hi, lo) & PTE_MARKER_POISONED) !== 0;
}

class FreeVisitor extends SplittingVisitor implements PageTableVisitor {
  readonly #vma: VmArea;
  readonly #gather: MmuGather;

  constructor(current: TaskStruct, vma: VmArea, gather: MmuGather) {
    super(current);
    this.#vma = vma;
    this.#gather = gather;
  }

  *ptes(table: TablePage, first: number, end: number): Task<number> {
    const { pageTables } = this.current.kernel;
    for (let page = first; page < end; ) {
      pageTables.read(table, pteIndex(pageTables, page));
      const flags = pageTables.flags(table.level);
      let together = 0;
      if ((flags & EntryFlag.Swap) !== 0) yield* this.#nonPresent(table, page);
      else if ((flags & EntryFlag.Present) !== 0 && (flags & EntryFlag.Special) === 0) {
        const frame = pageTables.frame(table.level);
        together = yield* this.pagesTogether(table, page, end, frame);
        if (together < 0) return STOPPED;
        if (together > 0) yield* this.#free(table, page, together, frame);
      }
      page += Math.max(together, 1);
    }
    return 0;
  }

  /** Pages that are one folio. */
  *#free(table: TablePage, page: number, count: number, folio: number): Task<void> {
    const { frames } = this.current.kernel;
    if (!(yield* this.#forget(folio, count))) return;
    for (let i = 0; i < count; i++) yield* this.#makeOldAndClean(table, page + i);
    yield frames.refPoint(folio);
    folioMarkLazyfree(frames, folio);
  }

  *#makeOldAndClean(table: TablePage, page: number): Task<void> {
    const { kernel } = this.current;
    const { pageTables } = kernel;
    const index = pteIndex(pageTables, page);
    if (inRun(kernel, table, index)) yield* unfoldRun(this.current, this.#vma.mm, table, page);
    pageTables.read(table, index);
    if ((pageTables.flags(table.level) & YOUNG_OR_DIRTY) === 0) return;
    yield table.setEntry;
    pageTables.change(table, index, 0, YOUNG_OR_DIRTY);
    this.#gather.noteEntry(page, table.level);
  }

  /** A copy in swap and the mark "newer than that copy" go; false when somebody else may need them. */
  *#forget(folio: number, mappings: number): Task<boolean> {
    const { frames } = this.current.kernel;
    if (!frames.hasFlag(folio, FrameFlag.SwapCache | FrameFlag.Dirty)) return true;
    if (!(yield* folioTrylock(this.current, folio))) return false;
    const gone = frames.folioMapcount(folio) === mappings && (yield* this.#forgetSwap(folio));
    if (gone) frames.clearFlags(folio, FrameFlag.Dirty);
    yield* folioUnlock(this.current, folio);
    return gone;
  }

  *#forgetSwap(folio: number): Task<boolean> {
    if (!this.current.kernel.frames.hasFlag(folio, FrameFlag.SwapCache)) return true;
    return yield* folioFreeSwap(this.current, folio);
  }

  /** A page in swap is given up, broken memory is forgotten; guards and other markers stay. */
  *#nonPresent(table: TablePage, page: number): Task<void> {
    const { mm } = this.#vma;
    const { pageTables } = mm.kernel;
    const index = pteIndex(pageTables, page);
    const slot = swapSlotRead(mm, table.level);
    if (slot !== -1) {
      yield* zapSwapPte(this.current, mm, table, index, slot);
    } else if (isBroken(pageTables)) {
      yield table.setEntry;
      pageTables.write(table, index, 0, 0);
    }
  }

  huge(page: number, end: number): Task<HugeVerdict> {
    const { frames } = this.current.kernel;
    return adviseHugePage(this.current, this.#vma, page, end, this.#gather, {
      clear: YOUNG_OR_DIRTY,
      waits: false,
      advise: (folio) => {
        frames.clearFlags(folio, FrameFlag.Dirty);
        folioMarkLazyfree(frames, folio);
      },
    });
  }
}
