/**
 * Visiting what a range of one VMA has in its page tables: pte tables with their lock held, huge pages, holes.
 * Left out: installing tables on the way (what needs them allocates them itself), page-table levels above pmd as leaves.
 * @see Linux mm/pagewalk.c, `walk_page_range_vma`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { endOfHole, entryEnd, PmdKind, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from './page-table-alloc.ts';
import type { VmArea } from './vma.ts';

/** What a walk does. A result other than 0 ends it and is what it returns. */
export interface PageTableVisitor {
  /** Pages [page, end) have ptes in `table`, which is locked and stays so. */
  ptes(table: TablePage, page: number, end: number): Task<number>;
  /** A huge leaf covers [page, end), maybe with more on either side. No lock is held. */
  huge(page: number, end: number): Task<HugeVerdict>;
  /** Nothing is there. */
  hole?(page: number, end: number): number;
}

/** What became of a huge page: dealt with, split (or no longer there), or a reason to end the walk. */
export const HugeVerdict = { Done: 0, LookAgain: 1, Stop: 2 } as const;
export type HugeVerdict = (typeof HugeVerdict)[keyof typeof HugeVerdict];

/**
 * Walks pages [start, end) of the VMA. 0, or what stopped it: a visitor's result, or 1 for `HugeVerdict.Stop`. Needs
 * mmap_lock or the VMA's lock.
 */
export function* walkPageTables(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  visitor: PageTableVisitor,
): Task<number> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(mm);
  let page = start;
  while (page < end) {
    const spanEnd = entryEnd(format, page, end, lastLevel - 1);
    const kind = pageTables.pmdKind(root, page);
    let result = 0;
    if (kind === PmdKind.None) {
      const holeEnd = endOfHole(pageTables, root, page, end);
      result = visitor.hole?.(page, holeEnd) ?? 0;
      page = holeEnd;
    } else if (kind === PmdKind.Huge) {
      const verdict = yield* visitor.huge(page, spanEnd);
      if (verdict === HugeVerdict.Done) page = spanEnd;
      result = verdict === HugeVerdict.Stop ? 1 : 0;
    } else {
      const table = yield* pteOffsetMapLock(current, mm, page);
      // It was taken away, or a huge page came instead.
      if (table === null) continue;
      result = yield* visitor.ptes(table, page, spanEnd);
      yield* pteUnmapUnlock(current, table);
      page = spanEnd;
    }
    if (result !== 0) return result;
  }
  return 0;
}
