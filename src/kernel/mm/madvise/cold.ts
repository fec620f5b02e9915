/**
 * MADV_COLD and MADV_PAGEOUT: pages that only this mapping uses become first in line for reclaim, or are reclaimed at
 * once: anonymous ones go to swap if there is any, pages of files are unmapped and, if they were never written to,
 * dropped from the file.
 * Left out: the file's owner and permissions (every file may be paged out by whoever maps it).
 * @see Linux mm/madvise.c, `madvise_cold`, `madvise_pageout`, `madvise_cold_or_pageout_pte_range`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EINVAL } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import { type MmuGather, tlbFinishMmu, tlbGatherMmu } from '../mmu-gather.ts';
import { hugePages, pteIndex, type TablePage } from '../page-table.ts';
import { folioDeactivate, folioIsolateLru, folioPutbackLru } from '../reclaim/lru.ts';
import { pageoutFolio } from '../reclaim/pageout.ts';
import type { VmArea } from '../vma.ts';
import { VM_HUGETLB, VM_LOCKED, VM_PFNMAP } from '../vma-flags.ts';
import type { HugeVerdict, PageTableVisitor } from '../walk-page-tables.ts';
import { MADV_PAGEOUT } from './advice.ts';
import { adviseHugePage, SplittingVisitor, STOPPED, walkSplitting } from './huge-part.ts';
import type { MadviseState } from './madvise-state.ts';

/** 0, or -EINVAL for memory that reclaim never looks at. */
export function* madviseColdOrPageout(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm, vma, start, end } = state;
  if ((vma.flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB)) !== 0) return -EINVAL;
  const gather = yield* tlbGatherMmu(current, mm);
  const visitor = new ColdVisitor(current, vma, gather, state.advice === MADV_PAGEOUT);
  for (let page = start; page < end; ) {
    const next = visitor.endOfTurn(page, end);
    yield* walkSplitting(current, vma, page, next, visitor);
    yield* visitor.reclaim();
    page = next;
  }
  yield* tlbFinishMmu(current, gather);
  return 0;
}

class ColdVisitor extends SplittingVisitor implements PageTableVisitor {
  readonly #vma: VmArea;
  readonly #gather: MmuGather;
  readonly #pageout: boolean;
  /** Taken off their lists, to be reclaimed once no page table is locked. */
  readonly #isolated: number[] = [];

  constructor(current: TaskStruct, vma: VmArea, gather: MmuGather, pageout: boolean) {
    super(current);
    this.#vma = vma;
    this.#gather = gather;
    this.#pageout = pageout;
  }

  /** Reclaim runs after each page table. */
  endOfTurn(page: number, end: number): number {
    const pages = hugePages(this.current.kernel.pageTables);
    return Math.min(end, page - (page % pages) + pages);
  }

  *reclaim(): Task<void> {
    for (const folio of this.#isolated.splice(0)) yield* pageoutFolio(this.current, folio);
  }

  *ptes(table: TablePage, first: number, end: number): Task<number> {
    const { pageTables } = this.current.kernel;
    for (let page = first; page < end; ) {
      pageTables.read(table, pteIndex(pageTables, page));
      const flags = pageTables.flags(table.level);
      if ((flags & EntryFlag.Present) === 0 || (flags & EntryFlag.Special) !== 0) page++;
      else {
        const frame = pageTables.frame(table.level);
        const together = yield* this.pagesTogether(table, page, end, frame);
        if (together < 0) return STOPPED;
        if (together > 0) yield* this.#advise(table, page, together, frame);
        page += Math.max(together, 1);
      }
    }
    return 0;
  }

  /** Pages that are one folio, unless it is not ours alone or is in somebody's hands. */
  *#advise(table: TablePage, page: number, count: number, folio: number): Task<void> {
    const { frames } = this.current.kernel;
    if (!frames.hasFlag(folio, FrameFlag.Lru) || frames.folioMapcount(folio) !== count) return;
    if (!this.#pageout) for (let i = 0; i < count; i++) yield* this.#makeOld(table, page + i);
    yield frames.refPoint(folio);
    this.#coolDown(folio);
  }

  *#makeOld(table: TablePage, page: number): Task<void> {
    const { kernel } = this.current;
    const { pageTables } = kernel;
    const index = pteIndex(pageTables, page);
    pageTables.read(table, index);
    if ((pageTables.flags(table.level) & EntryFlag.Young) === 0) return;
    if (inRun(kernel, table, index)) yield* unfoldRun(this.current, this.#vma.mm, table, page);
    yield table.setEntry;
    pageTables.change(table, index, 0, EntryFlag.Young);
    this.#gather.noteEntry(page, table.level);
  }

  #coolDown(folio: number): void {
    const { frames } = this.current.kernel;
    frames.clearFlags(folio, FrameFlag.Referenced);
    if (!this.#pageout) {
      folioDeactivate(frames, folio);
      return;
    }
    if (!folioIsolateLru(frames, folio)) return;
    if (frames.hasFlag(folio, FrameFlag.Unevictable)) folioPutbackLru(frames, folio);
    else this.#isolated.push(folio);
  }

  huge(page: number, end: number): Task<HugeVerdict> {
    return adviseHugePage(this.current, this.#vma, page, end, this.#gather, {
      clear: this.#pageout ? 0 : EntryFlag.Young,
      waits: true,
      advise: (folio) => this.#coolDown(folio),
    });
  }
}
