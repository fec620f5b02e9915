/**
 * What MADV_FREE, MADV_COLD and MADV_PAGEOUT do with a huge page: it is advised as a whole, or if the range covers only a
 * part of it, split first. One that another mm maps too is left alone.
 * Left out: splitting the folio itself (only its pmd is split, and pages of it mapped by ptes are left alone).
 * @see Linux mm/huge_memory.c, `madvise_free_huge_pmd`; mm/madvise.c, `madvise_cold_or_pageout_pte_range`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmuGather } from '../mmu-gather.ts';
import { isWholeHugePage } from '../page-table.ts';
import { pmdIndex, pmdTransHugeLock } from '../thp/huge-pmd.ts';
import { splitHugePmd } from '../thp/split-pmd.ts';
import type { VmArea } from '../vma.ts';
import { HugeVerdict } from '../walk-page-tables.ts';

/** How the advice treats a huge page as a whole. */
export interface HugeAdvice {
  /** EntryFlag bits that the pmd loses. */
  readonly clear: number;
  /** What becomes of the folio; the pmd is locked. */
  readonly advise: (folio: number) => void;
}

/** Pages [page, end) of the VMA are mapped by one pmd. */
export function* adviseHugePage(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  end: number,
  gather: MmuGather,
  { clear, advise }: HugeAdvice,
): Task<HugeVerdict> {
  const { frames, pageTables } = current.kernel;
  const table = yield* pmdTransHugeLock(current, vma.mm, page);
  if (table === null) return HugeVerdict.LookAgain;
  const flags = pageTables.flags(table.level);
  const folio = pageTables.frame(table.level);
  const ours = !frames.isZeroFrame(folio) && !frames.maybeMappedShared(folio);
  const whole = isWholeHugePage(pageTables, page, end);
  if (ours && whole) {
    if ((flags & clear) !== 0) {
      yield table.setEntry;
      pageTables.change(table, pmdIndex(pageTables, page), 0, flags & clear);
      gather.noteEntry(page, table.level);
    }
    yield frames.refPoint(folio);
    advise(folio);
  }
  yield* table.lock.unlock(current);
  if (!ours || whole) return HugeVerdict.Done;
  yield* splitHugePmd(current, vma, page);
  return HugeVerdict.LookAgain;
}
