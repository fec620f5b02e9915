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
import { type HugeVerdict, type PageTableVisitor, walkPageTables } from '../walk-page-tables.ts';
import { MADV_PAGEOUT } from './advice.ts';
import { adviseHugePage } from './huge-part.ts';
import type { MadviseState } from './madvise-state.ts';

/** 0, or -EINVAL for memory that reclaim never looks at. */
export function* madviseColdOrPageout(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm, vma, start, end } = state;
  if ((vma.flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB)) !== 0) return -EINVAL;
  const gather = yield* tlbGatherMmu(current, mm);
  const visitor = new ColdVisitor(current, vma, gather, state.advice === MADV_PAGEOUT);
  for (let page = start; page < end; ) {
    const next = visitor.endOfTurn(page, end);
    yield* walkPageTables(current, vma, page, next, visitor);
    yield* visitor.reclaim();
    page = next;
  }
  yield* tlbFinishMmu(current, gather);
  return 0;
}

class ColdVisitor implements PageTableVisitor {
  readonly #current: TaskStruct;
  readonly #vma: VmArea;
  readonly #gather: MmuGather;
  readonly #pageout: boolean;
  /** Taken off their lists, to be reclaimed once no page table is locked. */
  readonly #isolated: number[] = [];

  constructor(current: TaskStruct, vma: VmArea, gather: MmuGather, pageout: boolean) {
    this.#current = current;
    this.#vma = vma;
    this.#gather = gather;
    this.#pageout = pageout;
  }

  /** Reclaim runs after each page table. */
  endOfTurn(page: number, end: number): number {
    const pages = hugePages(this.#current.kernel.pageTables);
    return Math.min(end, page - (page % pages) + pages);
  }

  *reclaim(): Task<void> {
    for (const folio of this.#isolated.splice(0)) yield* pageoutFolio(this.#current, folio);
  }

  *ptes(table: TablePage, first: number, end: number): Task<number> {
    const { frames, pageTables } = this.#current.kernel;
    for (let page = first; page < end; page++) {
      pageTables.read(table, pteIndex(pageTables, page));
      const flags = pageTables.flags(table.level);
      if ((flags & EntryFlag.Present) === 0 || (flags & EntryFlag.Special) !== 0) continue;
      const frame = pageTables.frame(table.level);
      // Not ours alone, or in somebody's hands. A part of a large folio stays with the rest of it.
      if (frames.isLarge(frame) || !frames.hasFlag(frame, FrameFlag.Lru)) continue;
      if (frames.folioMapcount(frame) !== 1) continue;
      if (!this.#pageout && (flags & EntryFlag.Young) !== 0) yield* this.#makeOld(table, page);
      yield frames.refPoint(frame);
      this.#coolDown(frame);
    }
    return 0;
  }

  *#makeOld(table: TablePage, page: number): Task<void> {
    const { kernel } = this.#current;
    const { pageTables } = kernel;
    const index = pteIndex(pageTables, page);
    if (inRun(kernel, table, index)) yield* unfoldRun(this.#current, this.#vma.mm, table, page);
    yield table.setEntry;
    pageTables.change(table, index, 0, EntryFlag.Young);
    this.#gather.noteEntry(page, table.level);
  }

  #coolDown(folio: number): void {
    const { frames } = this.#current.kernel;
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
    return adviseHugePage(this.#current, this.#vma, page, end, this.#gather, {
      clear: this.#pageout ? 0 : EntryFlag.Young,
      advise: (folio) => this.#coolDown(folio),
    });
  }
}
