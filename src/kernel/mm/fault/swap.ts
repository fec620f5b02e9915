/**
 * A fault on a page that lies in swap: it is found in the swap cache or read, mapped, and its swap entry given up. A page
 * that was this mm's alone when it went out (an exclusive entry) is its own again, and writable at once.
 * Left out: KSM, large folios, synchronous devices that need no swap cache, swapoff.
 * @see Linux mm/memory.c, `do_swap_page`, `should_try_to_free_swap`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { MM_ANONPAGES, MM_SWAPENTS } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { addMmCounter } from '../rmap.ts';
import { folioFreeSwap, swapAreaOf, swapCacheGetFolio } from '../swap-cache.ts';
import { SWAPIN_FAILED, swapin } from '../swap-in.ts';
import { archSwapRestore } from '../swap-io.ts';
import { VM_LOCKED, VM_UFFD_WP, VM_WRITE } from '../vma-flags.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import {
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_MAJOR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from './fault-flags.ts';
import { folioUnlock } from './folio-lock.ts';
import { folioLockOrRetry } from './folio-lock-or-retry.ts';
import type { VmFault } from './vm-fault.ts';
import { doWpPage } from './write-protect.ts';

/** The fault's pte is the swap entry of `slot`, as it was read. */
export function* doSwapIn(fault: VmFault, slot: number): Task<number> {
  const { current, kernel } = fault;
  const swap = swapAreaOf(kernel);
  let result = 0;
  let folio = yield* swapCacheGetFolio(current, slot);
  if (folio === -1) {
    folio = yield* swapin(current, fault.vma, slot);
    if (folio === SWAPIN_FAILED) return yield* failed(fault);
    result = VM_FAULT_MAJOR;
  }
  result |= yield* folioLockOrRetry(fault, folio);
  if ((result & VM_FAULT_RETRY) !== 0) {
    yield* put(fault, folio);
    return result;
  }
  // Somebody may have given the slot up while we waited; the pte has changed then.
  if (swap.slotOf(folio) === slot) return result | (yield* mapSwappedIn(fault, folio, slot));
  yield* unlockAndPut(fault, folio);
  return result;
}

function* put(fault: VmFault, folio: number): Task<void> {
  const { frames } = fault.kernel;
  yield frames.refPoint(folio);
  frames.put(folio);
}

function* unlockAndPut(fault: VmFault, folio: number): Task<void> {
  yield* folioUnlock(fault.current, folio);
  yield* put(fault, folio);
}

/** No page: out of memory, unless another fault has dealt with the entry. */
function* failed(fault: VmFault): Task<number> {
  const table = yield* pteOffsetMapLock(fault.current, fault.mm, fault.page);
  if (table === null) return 0;
  const result = fault.unchanged(table) ? VM_FAULT_OOM : 0;
  yield* pteUnmapUnlock(fault.current, table);
  return result;
}

/** With the folio locked; lets lock and reference go, or gives the reference to the pte. */
function* mapSwappedIn(fault: VmFault, folio: number, slot: number): Task<number> {
  const { current, kernel } = fault;
  const { frames, pageTables } = kernel;
  const table = yield* pteOffsetMapLock(current, fault.mm, fault.page);
  if (table === null || !fault.unchanged(table) || !frames.hasFlag(folio, FrameFlag.Uptodate)) {
    const broken = table !== null && fault.unchanged(table);
    if (table !== null) yield* pteUnmapUnlock(current, table);
    yield* unlockAndPut(fault, folio);
    return broken ? VM_FAULT_SIGBUS : 0;
  }
  const writes = fault.has(FAULT_FLAG_WRITE);
  const flags = yield* takeOver(fault, table, folio, slot);
  yield* folioUnlock(current, folio);
  if (!writes || (flags & EntryFlag.Dirty) !== 0) {
    yield* pteUnmapUnlock(current, table);
    return 0;
  }
  // Shared with others: the write goes on as any write to a page that is mapped read-only.
  pageTables.read(table, fault.index);
  fault.originalHi = pageTables.hi;
  fault.originalLo = pageTables.lo;
  const result = yield* doWpPage(fault, table);
  return (result & VM_FAULT_ERROR) !== 0 ? result & VM_FAULT_ERROR : result;
}

/** The swap entry becomes a pte of the folio. Returns the pte's `EntryFlag` bits. */
function* takeOver(fault: VmFault, table: TablePage, folio: number, slot: number): Task<number> {
  const { current, kernel, mm, vma } = fault;
  const { frames } = kernel;
  const swap = swapAreaOf(kernel);
  // Looked at under the lock, as fork makes entries shared.
  const entry = fault.originalFlags;
  archSwapRestore(current, folio, slot);
  yield swap.change;
  swap.free(slot);
  if (shouldTryToFreeSwap(fault, folio)) yield* folioFreeSwap(current, folio);
  addMmCounter(mm, MM_ANONPAGES, 1);
  addMmCounter(mm, MM_SWAPENTS, -1);
  let flags = vmaPageProtection(vma) | EntryFlag.Young | (entry & EntryFlag.SoftDirty);
  const protectedByUffd = (entry & EntryFlag.UffdWp) !== 0;
  if (protectedByUffd) flags |= EntryFlag.UffdWp;
  yield frames.refPoint(folio);
  const exclusive = (entry & EntryFlag.SwapExclusive) !== 0 || frames.refcount(folio) === 1;
  if (exclusive && (vma.flags & VM_WRITE) !== 0 && !(protectedByUffd && (vma.flags & VM_UFFD_WP) !== 0)) {
    flags |= maybeWritable(vma);
    if (fault.has(FAULT_FLAG_WRITE)) flags |= EntryFlag.Dirty;
  }
  addSwappedInRmap(fault, folio, exclusive);
  yield table.setEntry;
  kernel.pageTables.setLeaf(table, fault.index, folio, flags);
  return flags;
}

/** Would the swap cache's reference be the only other one? Then giving it up makes the page ours to write. */
function shouldTryToFreeSwap(fault: VmFault, folio: number): boolean {
  const { frames } = fault.kernel;
  if (swapAreaOf(fault.kernel).full || (fault.vma.flags & VM_LOCKED) !== 0) return true;
  return fault.has(FAULT_FLAG_WRITE) && frames.refcount(folio) === 2;
}

/** @see mm/rmap.c, `folio_add_anon_rmap_ptes`, `__folio_set_anon` */
function addSwappedInRmap(fault: VmFault, folio: number, exclusive: boolean): void {
  const { kernel, mm, vma } = fault;
  const { frames } = kernel;
  if (!frames.hasFlag(folio, FrameFlag.Anon)) {
    if (vma.anonVma === null) throw new Error(`a swapped page in ${vma.name}, which has no anon_vma`);
    frames.setFlags(folio, FrameFlag.Anon);
    // Who else has the page is not known: the oldest of the family finds them all.
    frames.setMapping(folio, exclusive ? vma.anonVma : vma.anonVma.root, vma.indexOf(fault.page));
  }
  if (exclusive) frames.setFlags(folio, FrameFlag.AnonExclusive);
  frames.addMap(folio, mm);
}
