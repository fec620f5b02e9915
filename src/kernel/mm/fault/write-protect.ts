/**
 * A write, or an unsharing read, on a page that is mapped read-only: reuse it when nobody else has it, else copy it.
 * Left out: KSM, `page_mkwrite` of files that are written back.
 * @see Linux mm/memory.c, `do_wp_page`, `wp_can_reuse_anon_folio`, `wp_page_reuse`, `wp_page_copy`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import type { Kernel } from '../../kernel.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { inRun, setAccessFlagsInRun, unfoldRun } from '../contiguous-ptes.ts';
import { MM_ANONPAGES } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { addMmCounter, addNewAnonRmap, mmCounter, moveAnonRmap, removeRmap } from '../rmap.ts';
import { folioFreeSwap, freeSwapCache } from '../swap-cache.ts';
import { flushAccessFlags, flushTlbPage } from '../tlb.ts';
import { userfaultfdWpAsync } from '../userfaultfd/context.ts';
import { handleUserfault } from '../userfaultfd/handle-userfault.ts';
import { VM_MAYSHARE, VM_SHARED, VM_UFFD_WP } from '../vma-flags.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { faultDirtySharedPage } from './dirty-shared-page.ts';
import { FAULT_FLAG_UNSHARE, VM_FAULT_OOM, VM_FAULT_WRITE } from './fault-flags.ts';
import { vmfAnonPrepare } from './fault-lock.ts';
import { folioLock, folioTrylock, folioUnlock } from './folio-lock.ts';
import { clearUserPage, copyDevicePage, copyUserPage } from './page-copy.ts';
import type { VmFault } from './vm-fault.ts';

/** Comes with the pte table's lock held, the pte being what the fault read; lets it go. */
export function* doWpPage(fault: VmFault, table: TablePage): Task<number> {
  const { current, kernel, vma } = fault;
  const { frames } = kernel;
  const unshare = fault.has(FAULT_FLAG_UNSHARE);
  if (!unshare && (vma.flags & VM_UFFD_WP) !== 0) {
    const result = yield* wpUserfault(fault, table);
    if (result !== 0) return result;
  }
  // The zero page and other special entries have no page to look at (`vm_normal_page`).
  const frame = (fault.originalFlags & EntryFlag.Special) !== 0 ? -1 : fault.originalFrame;
  if ((vma.flags & (VM_SHARED | VM_MAYSHARE)) !== 0) return yield* wpPageShared(fault, table, frame);
  if (frame !== -1 && frames.hasFlag(frame, FrameFlag.Anon)) {
    const exclusive = frames.hasFlag(frame, FrameFlag.AnonExclusive);
    if (exclusive || (yield* wpCanReuseAnonFolio(fault, frame))) {
      frames.setFlags(frame, FrameFlag.AnonExclusive);
      if (!unshare) yield* wpPageReuse(fault, table);
      yield* pteUnmapUnlock(current, table);
      return brokenCow(kernel);
    }
  }
  if (frame !== -1) {
    yield frames.refPoint(frame);
    frames.get(frame);
  }
  yield* pteUnmapUnlock(current, table);
  return yield* wpPageCopy(fault, frame);
}

/**
 * In a range that userfaultfd may have write-protected. 0: the write goes on, the lock still held; else how the fault
 * ends, with the lock let go.
 */
function* wpUserfault(fault: VmFault, table: TablePage): Task<number> {
  const { current, kernel, mm, vma } = fault;
  if ((fault.originalFlags & EntryFlag.UffdWp) !== 0) {
    if (!userfaultfdWpAsync(vma)) {
      yield* pteUnmapUnlock(current, table);
      return yield* handleUserfault(fault, 'write-protect');
    }
    // Nobody is asked: the write only has to be seen.
    yield table.setEntry;
    kernel.pageTables.change(table, fault.index, 0, EntryFlag.UffdWp);
    fault.originalHi = kernel.pageTables.hi;
    fault.originalLo = kernel.pageTables.lo;
  }
  // Protecting a range flushes at its end: a CPU may still write through an old translation to a page that is copied now.
  if (mm.tlbFlushPending > 0) yield* flushTlbPage(current, mm, fault.page);
  return 0;
}

/**
 * Is our pte's the only reference? A second look under the folio lock, since the first was without anything held.
 * The swap cache may have one beside it; it is asked to give it up.
 */
function* wpCanReuseAnonFolio(fault: VmFault, frame: number): Task<boolean> {
  const { current, kernel, vma } = fault;
  const { frames } = kernel;
  yield frames.refPoint(frame);
  if (frames.isLarge(frame)) return canReuseLarge(frames, frame);
  if (kernel.bugs.vmspliceCowLeak) return yield* reuseSwapPage(fault, frame);
  if (frames.refcount(frame) > (frames.hasFlag(frame, FrameFlag.SwapCache) ? 2 : 1)) return false;
  if (!(yield* folioTrylock(current, frame))) return false;
  yield* folioFreeSwap(current, frame);
  const alone = frames.refcount(frame) === 1;
  if (alone) moveAnonRmap(frames, frame, vma);
  yield* folioUnlock(current, frame);
  return alone;
}

/**
 * The answer of Linux up to 5.8: nobody else maps the page. A reference that maps nothing does not count.
 * @see Linux v5.7 mm/swapfile.c, `reuse_swap_page`; commit 09854ba94c6a, "mm: do_wp_page() simplification" (2020)
 */
function* reuseSwapPage({ current, kernel, vma }: VmFault, frame: number): Task<boolean> {
  const { frames } = kernel;
  if (!(yield* folioTrylock(current, frame))) return false;
  yield* folioFreeSwap(current, frame);
  const alone = frames.folioMapcount(frame) === 1 && !frames.hasFlag(frame, FrameFlag.SwapCache);
  if (alone) moveAnonRmap(frames, frame, vma);
  yield* folioUnlock(current, frame);
  return alone;
}

/**
 * All mappings of the large folio are this mm's, and nothing but them has a reference. A single page left of one is copied:
 * so the folio can go. The folio stays with its anon_vma.
 * @see `__wp_can_reuse_large_anon_folio`
 */
function canReuseLarge(frames: FrameTable, frame: number): boolean {
  const mappings = frames.folioMapcount(frame);
  return mappings > 1 && !frames.maybeMappedShared(frame) && mappings === frames.refcount(frame);
}

/** The page stays; the pte becomes dirty and, where the VMA is writable, writable. Needs the lock. */
function* wpPageReuse(fault: VmFault, table: TablePage): Task<void> {
  const { current, kernel, mm, page, index } = fault;
  const set = EntryFlag.Young | EntryFlag.Dirty | maybeWritable(fault.vma);
  if (inRun(kernel, table, index)) {
    yield* setAccessFlagsInRun(current, mm, table, page, set);
    return;
  }
  yield table.setEntry;
  const changed = kernel.pageTables.change(table, index, set, 0);
  if (changed) yield* flushAccessFlags(current, mm, page, true);
}

/** Memory without pages of the kernel's, which nobody writes back. @see `wp_pfn_shared` */
function* wpPfnShared(fault: VmFault, table: TablePage): Task<number> {
  yield* wpPageReuse(fault, table);
  yield* pteUnmapUnlock(fault.current, table);
  return 0;
}

/** A shared page whose first write is only noted, under the folio lock. @see `wp_page_shared` */
function* wpPageShared(fault: VmFault, table: TablePage, frame: number): Task<number> {
  const { current, kernel } = fault;
  if (frame === -1) return yield* wpPfnShared(fault, table);
  yield kernel.frames.refPoint(frame);
  kernel.frames.get(frame);
  yield* wpPageReuse(fault, table);
  yield* pteUnmapUnlock(current, table);
  yield* folioLock(current, frame);
  const result = yield* faultDirtySharedPage(fault, frame);
  yield* putFrame(fault, frame);
  return result;
}

/** `old` is -1 for the zero page and for memory of a device; else the fault holds a reference on it, which this drops. */
function* wpPageCopy(fault: VmFault, old: number): Task<number> {
  const { current, kernel, vma, page } = fault;
  const { frames } = kernel;
  const refused = yield* vmfAnonPrepare(fault);
  if (refused !== 0) {
    if (old !== -1) yield* putFrame(fault, old);
    return refused;
  }
  const copy = yield* allocUserFolio(current, vma, 0, old === -1);
  if (copy === NO_FRAME) {
    if (old !== -1) yield* putFrame(fault, old);
    return VM_FAULT_OOM;
  }
  yield* fillCopy(fault, old, copy);
  frames.setFlags(copy, FrameFlag.Uptodate);
  const table = yield* pteOffsetMapLock(current, fault.mm, page);
  let leftOver = copy;
  let result = 0;
  if (table !== null) {
    if (fault.unchanged(table)) {
      yield* replaceByCopy(fault, table, old, copy);
      leftOver = old;
      result = brokenCow(kernel);
    }
    yield* pteUnmapUnlock(current, table);
  }
  // The last one to leave a page that was read from swap gives its slot up.
  if (leftOver === old && old !== -1) yield* freeSwapCache(current, old);
  // Either the copy that came too late, or the pte's reference on the old page.
  if (leftOver !== -1) yield* putFrame(fault, leftOver);
  if (old !== -1) yield* putFrame(fault, old);
  return result;
}

/** What forced writes of older kernels went by. */
function brokenCow({ bugs }: Kernel): number {
  return bugs.dirtyCow || bugs.shmemDirtyCow ? VM_FAULT_WRITE : 0;
}

/** What was seen until now: nothing in the zero page; what a device shows has to be read from it. */
function fillCopy({ kernel, originalFrame }: VmFault, old: number, copy: number): Task<void> {
  if (old !== -1) return copyUserPage(kernel, old, copy);
  if (kernel.frames.isZeroFrame(originalFrame)) return clearUserPage(kernel, copy);
  return copyDevicePage(kernel, originalFrame, copy);
}

function* putFrame(fault: VmFault, frame: number): Task<void> {
  const { frames } = fault.kernel;
  yield frames.refPoint(frame);
  frames.put(frame);
}

/**
 * The pte is cleared and flushed before it shows the copy, so that no CPU reads the old page after another has
 * written the new one; the old page's map count falls only after that. Needs the lock.
 */
function* replaceByCopy(fault: VmFault, table: TablePage, old: number, copy: number): Task<void> {
  const { current, kernel, mm, vma, page, index } = fault;
  const { frames, pageTables } = kernel;
  if (old === -1 || !frames.hasFlag(old, FrameFlag.Anon)) {
    if (old !== -1) addMmCounter(mm, mmCounter(frames, old), -1);
    addMmCounter(mm, MM_ANONPAGES, 1);
  }
  let flags = vmaPageProtection(vma) | EntryFlag.Young;
  if (fault.has(FAULT_FLAG_UNSHARE)) {
    flags |= fault.originalFlags & (EntryFlag.SoftDirty | EntryFlag.UffdWp);
  } else {
    flags |= EntryFlag.Dirty | maybeWritable(vma);
  }
  if (inRun(kernel, table, index)) yield* unfoldRun(current, mm, table, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const cached = (pageTables.flags(table.level) & EntryFlag.Protnone) === 0;
  const late = kernel.bugs.wpPageCopyLateFlush;
  if (cached && !late) yield* flushTlbPage(current, mm, page);
  addNewAnonRmap(frames, copy, vma, page);
  yield table.setEntry;
  pageTables.setLeaf(table, index, copy, flags);
  if (cached && late) yield* flushTlbPage(current, mm, page);
  if (old !== -1) removeRmap(frames, old, mm);
}
