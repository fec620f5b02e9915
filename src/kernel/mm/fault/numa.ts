/**
 * A fault on a page that NUMA balancing has marked: it is counted, and the entry gets its VMA's rights back, with those of its
 * neighbours of the same folio.
 * Left out: nodes, so also moving the page to the one that uses it.
 * @see Linux mm/memory.c, `do_numa_page`, `numa_rebuild_single_mapping`, `numa_rebuild_large_mapping`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { canChangePteWritable, manualWriteUpgrade } from '../change-protection.ts';
import { endsRun, foldRun } from '../contiguous-ptes.ts';
import { hugePages, pteIndex, type TablePage } from '../page-table.ts';
import { pteUnmapUnlock } from '../page-table-alloc.ts';
import type { VmArea } from '../vma.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import type { VmFault } from './vm-fault.ts';

/** The table is mapped, not locked. 0: the access is to be made again, which may be a fault of another kind. */
export function* doNumaPage(fault: VmFault, table: TablePage): Task<number> {
  const { current, kernel, page } = fault;
  const { frames } = kernel;
  yield* table.lock.lock(current);
  if (!fault.unchanged(table)) {
    yield* pteUnmapUnlock(current, table);
    return 0;
  }
  const frame = fault.originalFrame;
  const normal = (fault.originalFlags & EntryFlag.Special) === 0 && !frames.isZeroFrame(frame);
  if (normal) kernel.numaEvents.hintFaults++;
  if (normal && frames.isLarge(frame)) yield* rebuildLarge(fault, table, frame);
  else yield* rebuild(fault, table, page);
  yield* pteUnmapUnlock(current, table);
  return 0;
}

/** What is marked of the folio in this table and VMA. */
function* rebuildLarge(fault: VmFault, table: TablePage, frame: number): Task<void> {
  const { kernel, vma, page } = fault;
  const { frames, pageTables } = kernel;
  const head = frames.head(frame);
  const first = page - (frame - head);
  const tableStart = page - (page % hugePages(pageTables));
  const start = Math.max(first, tableStart, vma.start);
  const end = Math.min(first + 2 ** frames.order(head), tableStart + hugePages(pageTables), vma.end);
  for (let at = start; at < end; at++) {
    pageTables.read(table, pteIndex(pageTables, at));
    const marked = EntryFlag.Present | EntryFlag.Protnone;
    if ((pageTables.flags(table.level) & marked) !== marked) continue;
    if (frames.head(pageTables.frame(table.level)) === head) yield* rebuild(fault, table, at);
  }
}

/** Cleared first, so that nothing is lost that the hardware sets: `ptep_modify_prot_start`, `_commit`. */
function* rebuild({ current, kernel, mm, vma }: VmFault, table: TablePage, page: number): Task<void> {
  const { pageTables } = kernel;
  const index = pteIndex(pageTables, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const entry: Halves = { hi: pageTables.hi, lo: pageTables.lo };
  rightsRestored(vma, entry, table.level);
  yield table.setEntry;
  pageTables.setEntry(table, index, entry.hi, entry.lo);
  const frame = pageTables.format.frameOf(entry.hi, entry.lo, table.level);
  if (endsRun(kernel, page, frame)) yield* foldRun(current, mm, table, page, frame);
}

/** A marked leaf of any level becomes one with its VMA's rights, accessed, and writable where no write fault is needed. */
export function rightsRestored(vma: VmArea, entry: Halves, level: number): void {
  const { arch, pageTables } = vma.mm.kernel;
  const { format } = pageTables;
  const mask = arch.protectionMask;
  format.change(entry.hi, entry.lo, level, vmaPageProtection(vma) & mask, mask, entry);
  const upgraded = manualWriteUpgrade(vma) && canChangePteWritable(vma, entry, level);
  const more = upgraded ? EntryFlag.Young | maybeWritable(vma) : EntryFlag.Young;
  format.change(entry.hi, entry.lo, level, more, 0, entry);
}
