/**
 * Has a page been used since reclaim looked at it last? The Young bits of all ptes that map it say so, and are cleared.
 * Left out: a large folio in locked memory that is mapped by ptes is not put away as a whole; its pages are, one by one,
 * when it has been split.
 * @see Linux mm/rmap.c, `folio_referenced`; mm/vmscan.c, `folio_check_references`
 */
import { EntryFlag, tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import type { TablePage } from '../page-table.ts';
import { rmapWalk } from '../rmap-walk.ts';
import { hugeStart } from '../thp/huge-pmd.ts';
import { flushHugePmd } from '../thp/split-pmd.ts';
import { flushTlbPage } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
import { VM_EXEC, VM_LOCKED, VM_RAND_READ, VM_SEQ_READ } from '../vma-flags.ts';
import { mlockFolio } from './lru.ts';
import { forEachMapped } from './mapped-pte.ts';

/** What the page tables say of a folio. */
interface References {
  /** Ptes that were young. */
  ptes: number;
  /** VM_* flags of the VMAs they belong to; VM_LOCKED when one of all is locked, which ends the count. */
  flags: number;
}

/** Counts and clears Young bits. The folio is locked. @see `folio_referenced` */
export function* folioReferenced(current: TaskStruct, folio: number): Task<References> {
  const references: References = { ptes: 0, flags: 0 };
  const { frames } = current.kernel;
  if (!frames.isMapped(folio)) return references;
  yield* rmapWalk(current, folio, (vma, start) =>
    forEachMapped(current, vma, start, folio, (table, page) =>
      lookAt(current, vma, table, page, folio, references),
    ),
  );
  return references;
}

/** One entry; false ends it all. @see `folio_referenced_one` */
function* lookAt(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  folio: number,
  references: References,
): Task<boolean> {
  const { frames, pageTables } = current.kernel;
  if ((vma.flags & VM_LOCKED) !== 0) {
    // A part of a large folio: whatever it was used for, the rest may go.
    if (frames.isLarge(folio) && table.level === pageTables.lastLevel) return true;
    mlockFolio(frames, folio);
    references.flags |= VM_LOCKED;
    return false;
  }
  if (yield* clearYoung(current, vma, table, page)) {
    references.ptes++;
    references.flags |= vma.flags;
  }
  return true;
}

/** Was the entry young, in a VMA whose accesses say something about the next? */
function* clearYoung(current: TaskStruct, vma: VmArea, table: TablePage, page: number): Task<boolean> {
  const { kernel } = vma.mm;
  const { arch, pageTables } = kernel;
  const index = tableIndex(pageTables.format, page, table.level);
  const small = table.level === pageTables.lastLevel;
  // In the hands of a device: nobody knows.
  if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) return false;
  if (small && inRun(kernel, table, index)) yield* unfoldRun(current, vma.mm, table, page);
  yield table.setEntry;
  if (!pageTables.change(table, index, 0, EntryFlag.Young)) return false;
  if (!small) yield* flushHugePmd(current, vma, hugeStart(kernel, page));
  else if (arch.flushesAgedPte) yield* flushTlbPage(current, vma.mm, page);
  return vma.file === null || (vma.flags & (VM_SEQ_READ | VM_RAND_READ)) === 0;
}

/** What reclaim does with a folio. */
export const FolioVerdict = {
  /** It can go. */
  Reclaim: 0,
  /** It can go if it need not be written out. */
  ReclaimClean: 1,
  /** Once more around the inactive list. */
  Keep: 2,
  /** In use. */
  Activate: 3,
} as const;
export type FolioVerdict = (typeof FolioVerdict)[keyof typeof FolioVerdict];

/**
 * A page used once since the last look gets a second chance, one used by several, or twice, is in use.
 * @see `folio_check_references`
 */
export function* folioCheckReferences(current: TaskStruct, folio: number): Task<FolioVerdict> {
  const { frames } = current.kernel;
  const { ptes, flags } = yield* folioReferenced(current, folio);
  const before = frames.hasFlag(folio, FrameFlag.Referenced);
  const file = !frames.hasFlag(folio, FrameFlag.SwapBacked);
  frames.clearFlags(folio, FrameFlag.Referenced);
  if ((flags & VM_LOCKED) !== 0) return FolioVerdict.Activate;
  if (ptes === 0) return before && file ? FolioVerdict.ReclaimClean : FolioVerdict.Reclaim;
  frames.setFlags(folio, FrameFlag.Referenced);
  if (before || ptes > 1 || ((flags & VM_EXEC) !== 0 && file)) return FolioVerdict.Activate;
  return FolioVerdict.Keep;
}
