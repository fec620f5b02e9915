/**
 * Taking the pages of a range out of the page tables: what munmap, MADV_DONTNEED and exit do.
 * Left out: device-private pages.
 * @see Linux mm/memory.c, `unmap_page_range`, `zap_pte_range`, `zap_present_folio_ptes`, `zap_nonpresent_ptes`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { Unsupported } from '../unsupported.ts';
import { inRun, unfoldRun } from './contiguous-ptes.ts';
import { deviceExclusiveFrameRead, zapDeviceExclusivePte } from './device-exclusive-entry.ts';
import { zapHugetlbRange } from './hugetlb/zap.ts';
import { migrationFrameRead } from './migration-entry.ts';
import { zapMigrationPte } from './migration-pte.ts';
import type { MmStruct } from './mm.ts';
import {
  type MmuGather,
  tlbFinishMmu,
  tlbFlushMmu,
  tlbFlushMmuTlbOnly,
  tlbFlushRmaps,
  tlbGatherMmu,
} from './mmu-gather.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { endOfHole, entryEnd, isWholeHugePage, PmdKind, pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from './page-table-alloc.ts';
import { flushTlbBatchedPending } from './reclaim/tlb-batch.ts';
import { tryToFreePte } from './reclaim-page-table.ts';
import { addMmCounter, mmCounter, removeRmap } from './rmap.ts';
import { PTE_MARKER_GUARD, PTE_MARKER_UFFD_WP, SWP_HWPOISON, SWP_PTE_MARKER } from './swap-entry.ts';
import { swapSlotRead, zapSwapPte } from './swap-pte.ts';
import { splitHugePmd } from './thp/split-pmd.ts';
import { zapHugePmd } from './thp/zap-huge-pmd.ts';
import { needsWpMarker, writeWpMarker } from './userfaultfd/wp-marker.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB, VM_MIXEDMAP, VM_PFNMAP } from './vma-flags.ts';

export interface ZapDetails {
  /**
   * Markers that protect against access (guard) or against writes to a file stay, and a write-protected page of a file
   * leaves one: MADV_DONTNEED. munmap takes them too.
   */
  readonly keepMarkers: boolean;
  /** Private copies of file pages stay, with their swap entries: a hole punched into the file. Default: they go too. */
  readonly keepCows?: boolean;
  /** A pte table all of whose pages go is freed if nothing is left in it: MADV_DONTNEED. */
  readonly reclaimTables?: boolean;
}

const ZAP_ALL: ZapDetails = { keepMarkers: false };

/**
 * Removes what [start, end) of the VMA maps; pages go to the gather, which frees them after its flush. Needs mmap_lock
 * (reading is enough) or the VMA detached.
 * @see `unmap_single_vma`
 */
export function* zapRange(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  details: ZapDetails = ZAP_ALL,
): Task<void> {
  if (mm.pgd === -1) return;
  if ((vma.flags & (VM_PFNMAP | VM_MIXEDMAP)) !== 0) gather.vmaPfn = true;
  mm.kernel.uprobes?.munmap(vma, start, end);
  if ((vma.flags & VM_HUGETLB) !== 0) {
    yield* zapHugetlbRange(current, vma, start, end, gather, !details.keepMarkers);
    return;
  }
  const { pageTables } = mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(mm);
  for (let page = start; page < end; ) {
    const kind = pageTables.pmdKind(root, page);
    if (kind === PmdKind.None) {
      page = endOfHole(pageTables, root, page, end);
      continue;
    }
    const spanEnd = entryEnd(format, page, end, lastLevel - 1);
    if (kind === PmdKind.Table) page = yield* zapTable(current, mm, vma, page, spanEnd, gather, details);
    else if (!isWholeHugePage(pageTables, page, spanEnd)) yield* splitHugePmd(current, vma, page);
    else if (yield* zapHugePmd(current, vma, page, gather)) page = spanEnd;
  }
}

/** The part in one pte table, and the table itself if it is to be freed when all of it goes. */
function* zapTable(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  details: ZapDetails,
): Task<number> {
  let page = start;
  while (page < end) {
    const next = yield* zapPteRange(current, mm, vma, page, end, gather, details);
    // No table any more.
    if (next === page) return page;
    page = next;
  }
  const whole = isWholeHugePage(mm.kernel.pageTables, start, end);
  if (whole && details.reclaimTables === true) yield* tryToFreePte(current, mm, start, gather);
  return page;
}

/** The part in one pte table. Returns the page to go on with. */
function* zapPteRange(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  details: ZapDetails,
): Task<number> {
  const { pageTables } = mm.kernel;
  const table = yield* pteOffsetMapLock(current, mm, start);
  if (table === null) return start;
  yield* flushTlbBatchedPending(current, mm);
  let forceFlush = false;
  let page = start;
  for (; page < end; page++) {
    const index = pteIndex(pageTables, page);
    pageTables.read(table, index);
    if (pageTables.format.isNone(pageTables.hi, pageTables.lo)) continue;
    if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) {
      yield* zapNonPresent(current, vma, table, index, details);
      continue;
    }
    if (staysMapped(mm, table, details)) continue;
    if (inRun(mm.kernel, table, index)) yield* unfoldRun(current, mm, table, page);
    forceFlush = (yield* zapPresent(mm, vma, table, page, gather, details)) || forceFlush;
    if (gather.full) {
      forceFlush = true;
      page++;
      break;
    }
  }
  // Others must not write through a stale entry once the rmap says the page is clean and unmapped.
  if (forceFlush) {
    yield* tlbFlushMmuTlbOnly(current, gather);
    tlbFlushRmaps(gather);
  }
  yield* pteUnmapUnlock(current, table);
  if (forceFlush) yield* tlbFlushMmu(current, gather);
  return page;
}

/** Is the page of the pte read last a private copy, and are those to stay? @see `should_zap_folio` */
function staysMapped({ kernel }: MmStruct, table: TablePage, details: ZapDetails): boolean {
  if (details.keepCows !== true) return false;
  const { frames, pageTables } = kernel;
  if ((pageTables.flags(table.level) & EntryFlag.Special) !== 0) return false;
  return frames.hasFlag(pageTables.frame(table.level), FrameFlag.Anon);
}

/** One present pte; true when the TLB must be flushed before the lock is let go. */
function* zapPresent(
  mm: MmStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  gather: MmuGather,
  details: ZapDetails,
): Task<boolean> {
  const { frames, pageTables } = mm.kernel;
  yield table.setEntry;
  // What the hardware set last is in the entry that comes back.
  pageTables.getAndClear(table, pteIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  const frame = pageTables.frame(table.level);
  gather.noteEntry(page, table.level);
  if (details.keepMarkers && needsWpMarker(vma, pageTables.hi, pageTables.lo)) {
    yield table.setEntry;
    writeWpMarker(pageTables, table, pteIndex(pageTables, page));
  }
  if ((flags & EntryFlag.Special) !== 0) return false;
  addMmCounter(mm, mmCounter(frames, frame), -1);
  let delayed = false;
  if (!frames.hasFlag(frame, FrameFlag.Anon)) {
    if ((flags & EntryFlag.Dirty) !== 0) {
      frames.setFlags(frame, FrameFlag.Dirty);
      delayed = true;
    }
    if ((flags & EntryFlag.Young) !== 0) frames.setFlags(frame, FrameFlag.Referenced);
  }
  if (delayed) gather.delayedRmaps.push(frame);
  else removeRmap(frames, frame, mm);
  gather.addPage(frame);
  return delayed;
}

/** A page in swap gives its slot up; markers hold nothing that could be freed or cached. */
function* zapNonPresent(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  index: number,
  details: ZapDetails,
): Task<void> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const { format, hi, lo } = pageTables;
  const slot = swapSlotRead(mm, table.level);
  if (slot !== -1) return yield* zapSwapPte(current, mm, table, index, slot);
  const migrating = migrationFrameRead(pageTables, table.level);
  if (migrating !== -1) {
    yield* zapMigrationPte(mm, table, index, migrating, details.keepCows === true);
    return;
  }
  const exclusive = deviceExclusiveFrameRead(pageTables, table.level);
  if (exclusive !== -1) {
    // Anonymous: a private copy.
    if (details.keepCows !== true) yield* zapDeviceExclusivePte(mm, table, index, exclusive);
    return;
  }
  const type = format.swapTypeOf(hi, lo);
  if (type !== SWP_PTE_MARKER && type !== SWP_HWPOISON) throw new Unsupported('zapping swap entries');
  if (type === SWP_PTE_MARKER && staysMarked(vma, format.swapOffsetOf(hi, lo), details)) return;
  yield table.setEntry;
  pageTables.write(table, index, 0, 0);
}

/** Does a marker outlive what is zapped? That of broken memory stands for a private copy. */
function staysMarked(vma: VmArea, marker: number, { keepMarkers, keepCows }: ZapDetails): boolean {
  if ((marker & PTE_MARKER_UFFD_WP) !== 0) return keepMarkers && !vma.anonymous;
  if ((marker & PTE_MARKER_GUARD) !== 0) return keepMarkers;
  return keepCows === true;
}

/** With a gather of its own. @see `zap_page_range_single` */
export function* zapPageRangeSingle(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  details: ZapDetails = ZAP_ALL,
): Task<void> {
  const range = mmuNotifierRange(vma.mm, start, end, 'clear');
  const gather = yield* tlbGatherMmu(current, vma.mm);
  yield* mmuNotifierStart(current, range);
  yield* zapRange(current, vma.mm, vma, start, end, gather, details);
  yield* mmuNotifierEnd(current, range);
  yield* tlbFinishMmu(current, gather);
}
