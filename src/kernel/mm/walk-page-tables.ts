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
import { assertVmaStabilised } from './vma-lock.ts';

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
  assertVmaStabilised(current, vma);
  const { pageTables } = vma.mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(vma.mm);
  let page = start;
  while (page < end) {
    if (pageTables.pmdKind(root, page) === PmdKind.None) {
      const holeEnd = endOfHole(pageTables, root, page, end);
      const result = visitor.hole?.(page, holeEnd) ?? 0;
      if (result !== 0) return result;
      page = holeEnd;
      continue;
    }
    const spanEnd = entryEnd(format, page, end, lastLevel - 1);
    const result = yield* visitSpan(current, vma, page, spanEnd, visitor);
    if (result === LOOK_AGAIN) continue;
    if (result !== 0) return result;
    page = spanEnd;
  }
  return 0;
}

/** No result of a visitor. */
const LOOK_AGAIN = Number.NEGATIVE_INFINITY;

/** What one pmd, which is not none, covers of the range. */
function* visitSpan(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  end: number,
  visitor: PageTableVisitor,
): Task<number> {
  const { mm } = vma;
  if (mm.kernel.pageTables.pmdKind(rootTable(mm), page) === PmdKind.Huge) {
    const verdict = yield* visitor.huge(page, end);
    if (verdict === HugeVerdict.LookAgain) return LOOK_AGAIN;
    return verdict === HugeVerdict.Stop ? 1 : 0;
  }
  const table = yield* pteOffsetMapLock(current, mm, page);
  // It was taken away, or a huge page came instead.
  if (table === null) return LOOK_AGAIN;
  const result = yield* visitor.ptes(table, page, end);
  yield* pteUnmapUnlock(current, table);
  return result;
}
