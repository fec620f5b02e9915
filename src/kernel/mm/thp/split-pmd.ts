/**
 * From one pmd that maps a huge page to a table of ptes that map the same pages. The page itself stays one folio. The
 * pmd is made invalid and flushed before it points to the table: a huge and a small translation of one address must
 * never be valid together. A huge page of a file is only taken out: faults find it again.
 * Left out: soft-dirty.
 * @see Linux mm/huge_memory.c, `__split_huge_pmd_locked`, `__split_huge_zero_page_pmd`; `vma_adjust_trans_huge`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { hugePages, PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { rootTable } from '../page-table-alloc.ts';
import { addAnonRmapsOfHuge, addMmCounter, mmCounter, removeHugeRmap } from '../rmap.ts';
import { flushTlbRange } from '../tlb.ts';
import { noteHugePage } from '../vm-events.ts';
import type { VmArea } from '../vma.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { hugeStart, pmdIndex, pmdTransHugeLock, withdrawTable } from './huge-pmd.ts';

/**
 * Splits the pmd of `page` if it maps a huge page; afterwards it is a table, or none. Any lock that keeps the VMA is
 * enough (mmap_lock, VMA lock, rmap lock).
 */
export function* splitHugePmd(current: TaskStruct, vma: VmArea, page: number): Task<void> {
  const table = yield* pmdTransHugeLock(current, vma.mm, page);
  if (table === null) return;
  yield* splitHugePmdLocked(current, vma, table, hugeStart(vma.mm.kernel, page));
  yield* table.lock.unlock(current);
}

/** With the pmd's lock held; `start` is the first page. @see `__split_huge_pmd_locked` */
export function* splitHugePmdLocked(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
): Task<void> {
  const { mm } = vma;
  const { frames, pageTables } = mm.kernel;
  const index = pmdIndex(pageTables, start);
  noteHugePage(current, 'thp-split', start);
  if (!vma.anonymous) return yield* zapFilePmd(current, vma, table, start);
  pageTables.read(table, index);
  if (frames.isHugeZero(pageTables.frame(table.level))) {
    yield* splitHugeZero(current, vma, table, start);
    return;
  }
  const flags = yield* invalidatePmd(current, vma, table, start);
  const head = pageTables.frame(table.level);
  if ((flags & EntryFlag.Dirty) !== 0) frames.setFlags(head, FrameFlag.Dirty);
  const exclusive = frames.hasFlag(head, FrameFlag.AnonExclusive);
  yield frames.refPoint(head);
  for (let more = hugePages(pageTables) - 1; more > 0; more--) frames.get(head);
  addAnonRmapsOfHuge(frames, head, mm, exclusive);
  const ptes = withdrawTable(table);
  let entry = vmaPageProtection(vma) & ~EntryFlag.Young;
  if ((flags & EntryFlag.Write) !== 0) entry |= maybeWritable(vma);
  entry |= flags & (EntryFlag.Young | EntryFlag.Dirty | EntryFlag.UffdWp);
  fillPtes(vma, ptes, start, entry, (i) => head + i);
  removeHugeRmap(frames, head, mm);
  yield* populatePmd(vma, table, index, ptes);
}

/** The pmd of a file's huge page goes, and with it its reference. There is no table that could take its place. */
function* zapFilePmd(current: TaskStruct, vma: VmArea, table: TablePage, start: number): Task<void> {
  const { mm } = vma;
  const { frames, pageTables } = mm.kernel;
  yield table.setEntry;
  pageTables.getAndClear(table, pmdIndex(pageTables, start));
  const flags = pageTables.flags(table.level);
  const head = pageTables.frame(table.level);
  yield* flushHugePmd(current, vma, start);
  if ((flags & EntryFlag.Dirty) !== 0) frames.setFlags(head, FrameFlag.Dirty);
  if ((flags & EntryFlag.Young) !== 0) frames.setFlags(head, FrameFlag.Referenced);
  removeHugeRmap(frames, head, mm);
  addMmCounter(mm, mmCounter(frames, head), -hugePages(pageTables));
  yield frames.refPoint(head);
  frames.put(head);
}

/**
 * The entry stays a present huge page for the kernel, but no CPU uses it any more. Its flags as they were at the end are
 * returned. @see `pmdp_invalidate`
 */
export function* invalidatePmd(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
): Task<number> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const index = pmdIndex(pageTables, start);
  yield table.setEntry;
  pageTables.change(table, index, EntryFlag.Invalid, 0);
  const flags = pageTables.flags(table.level) & ~EntryFlag.Invalid;
  const { hi, lo } = pageTables;
  yield* flushHugePmd(current, vma, start);
  pageTables.hi = hi;
  pageTables.lo = lo;
  return flags;
}

/** `flush_pmd_tlb_range` of one huge page. */
export function flushHugePmd(current: TaskStruct, vma: VmArea, start: number): Task<void> {
  const { format, lastLevel } = vma.mm.kernel.pageTables;
  const shift = format.levels[lastLevel - 1]?.shift ?? 0;
  return flushTlbRange(current, vma.mm, start, start + hugePages(vma.mm.kernel.pageTables), shift, false);
}

/**
 * Nobody sees the table yet: it is filled in one step. The pages of one folio, aligned as they are, give runs of contiguous
 * ptes where there are such (`contpte_set_ptes`).
 */
function fillPtes(
  vma: VmArea,
  ptes: TablePage,
  start: number,
  entry: number,
  frameOf: (index: number) => number,
): void {
  const { arch, frames, pageTables } = vma.mm.kernel;
  const runs = arch.contiguousEntries !== null && (entry & (EntryFlag.Protnone | EntryFlag.Special)) === 0;
  for (let i = 0; i < hugePages(pageTables); i++) {
    const frame = frameOf(i);
    const index = pteIndex(pageTables, start + i);
    if (runs && frames.isLarge(frame)) pageTables.setLeafOfRun(ptes, index, frame, entry);
    else pageTables.setLeaf(ptes, index, frame, entry);
  }
}

/** @see `pmd_populate` */
function* populatePmd(vma: VmArea, table: TablePage, index: number, ptes: TablePage): Task<void> {
  const { pageTables } = vma.mm.kernel;
  const entry: Halves = { hi: 0, lo: 0 };
  pageTables.format.packTable(ptes.frame, table.level, entry);
  yield table.setEntry;
  pageTables.write(table, index, entry.hi, entry.lo);
}

/** The huge zero page becomes 512 times the small one. It needs no flush when it is set: nothing can be written there. */
function* splitHugeZero(current: TaskStruct, vma: VmArea, table: TablePage, start: number): Task<void> {
  const { frames, pageTables } = vma.mm.kernel;
  const index = pmdIndex(pageTables, start);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const flags = pageTables.flags(table.level);
  yield* flushHugePmd(current, vma, start);
  const ptes = withdrawTable(table);
  const entry = vmaPageProtection(vma) | EntryFlag.Special | (flags & EntryFlag.UffdWp);
  fillPtes(vma, ptes, start, entry, () => frames.zeroFrame);
  yield* populatePmd(vma, table, index, ptes);
}

/** Splits the pmd around `page` unless `page` is the first page of one. @see `split_huge_pmd_if_needed` */
export function* splitHugePmdIfNeeded(current: TaskStruct, vma: VmArea, page: number): Task<void> {
  const { pageTables } = vma.mm.kernel;
  const start = hugeStart(vma.mm.kernel, page);
  if (page === start || start < vma.start || start + hugePages(pageTables) > vma.end) return;
  if (vma.mm.pgd === -1 || pageTables.pmdKind(rootTable(vma.mm), page) !== PmdKind.Huge) return;
  yield* splitHugePmd(current, vma, page);
}
