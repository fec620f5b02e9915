/**
 * Taking a page out of every page table that maps it, so that it can be reclaimed. An anonymous page leaves swap entries
 * behind, one lazily freed leaves nothing unless it was written to again, a page of a file leaves nothing: it is found
 * through the file. A pinned page, and one in locked memory, stays. A large folio is one of a file here, as anonymous ones
 * are split before.
 * @see Linux mm/rmap.c, `try_to_unmap`, `try_to_unmap_one`, `folio_try_share_anon_rmap_pte`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import { MM_ANONPAGES, MM_SWAPENTS } from '../mm.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from '../mmu-notifier.ts';
import { pteIndex, type TablePage } from '../page-table.ts';
import { pteUnmapUnlock } from '../page-table-alloc.ts';
import { addMmCounter, mmCounter, removeRmap } from '../rmap.ts';
import { folioSpan, type RmapVisitor, rmapWalk, rmapWalkLocked } from '../rmap-walk.ts';
import { swapAreaOf } from '../swap-cache.ts';
import { PTE_MARKER_UFFD_WP, SWP_AREA, SWP_PTE_MARKER } from '../swap-entry.ts';
import { hugeStart } from '../thp/huge-pmd.ts';
import { splitHugePmdLocked } from '../thp/split-pmd.ts';
import type { VmArea } from '../vma.ts';
import { VM_LOCKED, VMH_DROPPABLE } from '../vma-flags.ts';
import { mlockFolio } from './lru.ts';
import { forEachMapped, lockMappedPte } from './mapped-pte.ts';
import type { TlbFlushBatch } from './tlb-batch.ts';

export interface UnmapOptions {
  /** TTU_IGNORE_MLOCK: out of locked memory too. */
  readonly ignoreMlock?: boolean;
  /** TTU_RMAP_LOCKED: the lock of the file's mappings is held. */
  readonly rmapLocked?: boolean;
}

/**
 * Unmaps the folio, which the caller has locked and has a reference of. Whether it worked is seen by asking whether it
 * is still mapped.
 */
export function* tryToUnmap(
  current: TaskStruct,
  folio: number,
  batch: TlbFlushBatch,
  { ignoreMlock = false, rmapLocked = false }: UnmapOptions = {},
): Task<void> {
  const { frames } = current.kernel;
  const large = frames.isLarge(folio);
  const visit: RmapVisitor = function* (vma, page) {
    const locked = !ignoreMlock && (vma.flags & VM_LOCKED) !== 0;
    const range = mmuNotifierRange(vma.mm, page, page + folioSpan(vma, page, folio).pages, 'clear');
    yield* mmuNotifierStart(current, range);
    const done = large
      ? yield* unmapSpan(current, vma, page, folio, batch, locked)
      : yield* unmapSmall(current, vma, page, folio, batch, locked);
    yield* mmuNotifierEnd(current, range);
    return done && frames.isMapped(folio);
  };
  yield* rmapLocked ? rmapWalkLocked(current, folio, visit) : rmapWalk(current, folio, visit);
}

/** False: it stays mapped, there is no point in going on. @param locked nothing may be taken out of this VMA */
function* unmapSmall(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  folio: number,
  batch: TlbFlushBatch,
  locked: boolean,
): Task<boolean> {
  const table = yield* lockMappedPte(current, vma, page, folio);
  if (table === null) return true;
  let done = false;
  if (locked) mlockFolio(current.kernel.frames, folio);
  else done = yield* unmapOne(new MappedPage(vma, page, table, folio), batch);
  yield* pteUnmapUnlock(current, table);
  return done;
}

/** What one VMA maps of a large folio of a file: the pmd that maps all of it, or ptes. */
function* unmapSpan(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  folio: number,
  batch: TlbFlushBatch,
  locked: boolean,
): Task<boolean> {
  const { kernel } = vma.mm;
  const { frames, pageTables } = kernel;
  const span = folioSpan(vma, start, folio);
  return yield* forEachMapped(current, vma, start, folio, function* (table, page) {
    if (locked) {
      mlockFolio(frames, folio);
      return false;
    }
    if (table.level < pageTables.lastLevel) {
      yield* splitHugePmdLocked(current, vma, table, hugeStart(kernel, page));
      return true;
    }
    if (inRun(kernel, table, pteIndex(pageTables, page))) yield* unfoldRun(current, vma.mm, table, page);
    return yield* unmapOne(new MappedPage(vma, page, table, span.frame + page - start), batch);
  });
}

/** One pte that maps the folio, or its page `folio`, with its table's lock held. */
class MappedPage {
  readonly vma: VmArea;
  readonly page: number;
  readonly table: TablePage;
  readonly index: number;
  readonly folio: number;
  /** The pte as it was when it was cleared. */
  hi = 0;
  lo = 0;
  flags = 0;

  constructor(vma: VmArea, page: number, table: TablePage, folio: number) {
    this.vma = vma;
    this.page = page;
    this.table = table;
    this.index = pteIndex(vma.mm.kernel.pageTables, page);
    this.folio = folio;
  }
}

/** False: it stays mapped. */
function* unmapOne(mapped: MappedPage, batch: TlbFlushBatch): Task<boolean> {
  const { vma, page, table, index, folio } = mapped;
  const { frames, pageTables } = vma.mm.kernel;
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  mapped.hi = pageTables.hi;
  mapped.lo = pageTables.lo;
  mapped.flags = pageTables.flags(table.level);
  const dirty = (mapped.flags & EntryFlag.Dirty) !== 0;
  batch.add(vma.mm, page, dirty);
  if (dirty) frames.setFlags(folio, FrameFlag.Dirty);
  const gone = yield* leaveBehind(mapped);
  if (!gone) {
    yield table.setEntry;
    pageTables.setEntry(table, index, mapped.hi, mapped.lo);
    return false;
  }
  removeRmap(frames, folio, vma.mm);
  yield frames.refPoint(folio);
  frames.put(folio);
  return true;
}

/** What takes the place of the pte, and the counters; false when the pte must come back. */
function leaveBehind(mapped: MappedPage): Task<boolean> {
  const { frames } = mapped.vma.mm.kernel;
  if (!frames.hasFlag(mapped.folio, FrameFlag.Anon)) return leaveToFile(mapped);
  if (!frames.hasFlag(mapped.folio, FrameFlag.SwapBacked)) return dropLazyfree(mapped);
  return leaveSwapEntry(mapped);
}

/** Write protection for userfaultfd must not be lost with the pte. @see mm/memory.c, `pte_install_uffd_wp_if_needed` */
function* leaveToFile({ vma, table, index, folio, flags }: MappedPage): Task<boolean> {
  const { frames, pageTables } = vma.mm.kernel;
  addMmCounter(vma.mm, mmCounter(frames, folio), -1);
  if ((flags & EntryFlag.UffdWp) !== 0) {
    const marker: Halves = { hi: 0, lo: 0 };
    pageTables.format.packSwap(SWP_PTE_MARKER, PTE_MARKER_UFFD_WP, 0, marker);
    yield table.setEntry;
    pageTables.write(table, index, marker.hi, marker.lo);
  }
  return true;
}

/** Lazily freed memory goes, unless it was written to since, or somebody has a reference and may read it yet. */
function* dropLazyfree({ vma, folio }: MappedPage): Task<boolean> {
  const { frames } = vma.mm.kernel;
  yield frames.refPoint(folio);
  if (frames.hasFlag(folio, FrameFlag.Dirty) && (vma.flagsHigh & VMH_DROPPABLE) === 0) {
    frames.setFlags(folio, FrameFlag.SwapBacked);
    return false;
  }
  if (frames.refcount(folio) !== 1 + frames.mapcount(folio)) return false;
  addMmCounter(vma.mm, MM_ANONPAGES, -1);
  return true;
}

/** A swap entry: exclusive if the page was. The pte has been cleared first, so a pin is seen or cannot be taken. */
function* leaveSwapEntry({ vma, table, index, folio, flags }: MappedPage): Task<boolean> {
  const { frames, pageTables } = vma.mm.kernel;
  const swap = swapAreaOf(vma.mm.kernel);
  const exclusive = frames.hasFlag(folio, FrameFlag.AnonExclusive);
  yield swap.change;
  if (exclusive && frames.maybeDmaPinned(folio)) return false;
  const slot = swap.slotOf(folio);
  swap.duplicate(slot);
  frames.clearFlags(folio, FrameFlag.AnonExclusive);
  addMmCounter(vma.mm, MM_ANONPAGES, -1);
  addMmCounter(vma.mm, MM_SWAPENTS, 1);
  const kept = flags & (EntryFlag.UffdWp | EntryFlag.SoftDirty);
  const entry: Halves = { hi: 0, lo: 0 };
  pageTables.format.packSwap(SWP_AREA, slot, exclusive ? kept | EntryFlag.SwapExclusive : kept, entry);
  yield table.setEntry;
  pageTables.write(table, index, entry.hi, entry.lo);
  return true;
}
