/**
 * Taking huge pages out of the page tables: munmap, MADV_DONTNEED, truncation, exit. A private page of a mapping with
 * promises of its own makes its promise again. Ranges begin and end between huge pages.
 * Left out: migration entries.
 * @see Linux mm/hugetlb.c, `__unmap_hugepage_range`, `__hugetlb_zap_begin`, `__hugetlb_zap_end`
 */
import { EntryFlag, pagesPerEntry } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { type MmuGather, tlbFinishMmu, tlbFlushMmu, tlbGatherMmu } from '../mmu-gather.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { hugetlbCountAdd, hugetlbRemoveRmap } from './huge-rmap.ts';
import { hugeEntryIndex, hugetlbWalk } from './huge-walk.ts';
import {
  hstateOfVma,
  hugetlbData,
  hugetlbVmaLockWrite,
  hugetlbVmaUnlockWrite,
  hugetlbVmaUnlockWriteFree,
  inodeOfVma,
  ownsReservations,
} from './hugetlb-vma.ts';
import { hugePmdUnshare, hugePmdUnshareFlush } from './pmd-share.ts';
import { vmaAddReservation, vmaNeedsReservation } from './reservation.ts';

/** What to zap, beside the range. */
interface HugeZapDetails {
  /** Only this page, which the owner of promises takes from a child; -1: whatever is there. */
  readonly frame: number;
  /** Write-protect markers go as well. */
  readonly dropMarkers: boolean;
}

/**
 * Zaps [start, end) of the VMA under its locks; freed pages go to the gather. A VMA on its way out loses its vma_lock.
 * @see `hugetlb_zap_begin` … `hugetlb_zap_end`
 */
export function* zapHugetlbRange(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  dropMarkers: boolean,
): Task<void> {
  const inode = inodeOfVma(vma);
  const final = vma.detached || vma.mm.mmUsers === 0;
  yield* hugetlbVmaLockWrite(current, vma);
  yield* inode.mapping.iMmapRwsem.downWrite(current);
  yield* unmapHugepageRange(current, vma, start, end, gather, { frame: -1, dropMarkers });
  if (final) yield* hugetlbVmaUnlockWriteFree(current, vma);
  else yield* hugetlbVmaUnlockWrite(current, vma);
  yield* inode.mapping.iMmapRwsem.upWrite(current);
}

/** With a gather of its own, the i_mmap lock held. @see `unmap_hugepage_range` */
export function* unmapHugepageRangeSingle(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  details: HugeZapDetails,
): Task<void> {
  const gather = yield* tlbGatherMmu(current, vma.mm);
  yield* unmapHugepageRange(current, vma, start, end, gather, details);
  yield* tlbFinishMmu(current, gather);
}

/** @see `__unmap_hugepage_range`; needs i_mmap locked for writing */
function* unmapHugepageRange(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  details: HugeZapDetails,
): Task<void> {
  const { mm } = vma;
  const { pages, level } = hstateOfVma(vma);
  const { format } = mm.kernel.pageTables;
  const span = pagesPerEntry(format, level - 1);
  for (let page = start; page < end; ) {
    const table = hugetlbWalk(mm, vma, page);
    if (table === null || (yield* unshared(current, vma, page, table, gather))) {
      page += span - (page % span);
      continue;
    }
    const done = yield* zapEntry(current, mm, vma, page, table, gather, details);
    if (done && details.frame !== -1) break;
    if (gather.full) yield* tlbFlushMmu(current, gather);
    page += pages;
  }
  yield* hugePmdUnshareFlush(current, gather);
}

function* unshared(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  table: TablePage,
  gather: MmuGather,
): Task<boolean> {
  yield* table.lock.lock(current);
  const done = yield* hugePmdUnshare(vma, page, table, gather);
  yield* table.lock.unlock(current);
  return done;
}

/** One entry; true when a page was unmapped. */
function* zapEntry(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  page: number,
  table: TablePage,
  gather: MmuGather,
  { frame: wanted, dropMarkers }: HugeZapDetails,
): Task<boolean> {
  const { frames, pageTables } = mm.kernel;
  const index = hugeEntryIndex(mm, table, page);
  yield* table.lock.lock(current);
  pageTables.read(table, index);
  const present = (pageTables.flags(table.level) & EntryFlag.Present) !== 0;
  const none = pageTables.format.isNone(pageTables.hi, pageTables.lo);
  const unwanted = present && wanted !== -1 && pageTables.frame(table.level) !== wanted;
  if (none || unwanted) {
    yield* table.lock.unlock(current);
    return false;
  }
  if (!present) {
    // A marker of write protection stays unless told otherwise; broken memory is forgotten.
    if (dropMarkers || !marksWriteProtection(mm)) {
      yield table.setEntry;
      pageTables.write(table, index, 0, 0);
    }
    yield* table.lock.unlock(current);
    return false;
  }
  if (wanted !== -1) hugetlbData(vma).unmapped = true;
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const flags = pageTables.flags(table.level);
  const frame = pageTables.frame(table.level);
  gather.noteEntry(page, table.level);
  if ((flags & EntryFlag.Dirty) !== 0) frames.setFlags(frame, FrameFlag.Dirty);
  if ((flags & EntryFlag.UffdWp) !== 0 && !dropMarkers) leaveMarker(mm, table, index);
  hugetlbCountAdd(mm, -hstateOfVma(vma).pages);
  hugetlbRemoveRmap(frames, frame);
  yield* table.lock.unlock(current);
  yield* keepReservation(vma, page, frame);
  gather.addPage(frame);
  return true;
}

/** Of the entry that was read last, which is neither none nor present. */
function marksWriteProtection({ kernel: { pageTables } }: MmStruct): boolean {
  const { format, hi, lo } = pageTables;
  if (format.swapTypeOf(hi, lo) !== SWP_PTE_MARKER) return false;
  return (format.swapOffsetOf(hi, lo) & PTE_MARKER_UFFD_WP) !== 0;
}

function leaveMarker(mm: MmStruct, table: TablePage, index: number): void {
  const { pageTables } = mm.kernel;
  const entry = { hi: 0, lo: 0 };
  pageTables.format.packSwap(SWP_PTE_MARKER, PTE_MARKER_UFFD_WP, 0, entry);
  pageTables.write(table, index, entry.hi, entry.lo);
}

/** A private page whose mapping owns promises: without this, its place could go to somebody else. */
function* keepReservation(vma: VmArea, page: number, frame: number): Task<void> {
  const hstate = hstateOfVma(vma);
  yield hstate.change;
  if (!ownsReservations(vma) || !vma.mm.kernel.frames.hasFlag(frame, FrameFlag.Anon)) return;
  hstate.setRestoreReserve(frame);
  if (vmaNeedsReservation(vma, page)) vmaAddReservation(vma, page);
}
