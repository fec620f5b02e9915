/**
 * Faults on huge pages: a page that is missing, or one that is there and may not be written. One fault at a time for each
 * page of a file, so that two that are first do not take two pages where only one was promised.
 * Left out: migration entries.
 * @see Linux mm/hugetlb.c, `hugetlb_fault`, `hugetlb_no_page`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import {
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_HWPOISON_LARGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  vmFaultSetHindex,
} from '../fault/fault-flags.ts';
import { folioLock, folioSetLocked, folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_POISONED, SWP_HWPOISON, SWP_PTE_MARKER } from '../swap-entry.ts';
import { flushAccessFlags } from '../tlb.ts';
import type { UserfaultReason } from '../userfaultfd/handle-userfault.ts';
import type { VmArea } from '../vma.ts';
import { VM_MAYSHARE, VM_SHARED, VM_UFFD_MISSING, VM_UFFD_WP, VMH_UFFD_MINOR } from '../vma-flags.ts';
import { vmaEndRead } from '../vma-lock.ts';
import { entryWritable } from '../vma-protection.ts';
import { hugeAnonPrepare } from './anon-prepare.ts';
import { HugeFault } from './huge-fault.ts';
import { hugeEntryFlags, hugePteAlloc } from './huge-pte.ts';
import { hugetlbAddFileRmap, hugetlbAddNewAnonRmap, hugetlbCountAdd } from './huge-rmap.ts';
import { hugetlbData, hugetlbVmaLockRead, hugetlbVmaUnlockRead } from './hugetlb-vma.ts';
import { allocHugetlbFolio, restoreReserveOnError } from './reservation.ts';
import { hugetlbHandleUserfault } from './userfault.ts';
import { hugetlbWp } from './write-protect.ts';

/**
 * A fault in a VMA of huge pages; `handleMmFault` has checked the access. VM_FAULT_*.
 * @param flags FAULT_FLAG_*
 */
export function* hugetlbFault(current: TaskStruct, vma: VmArea, page: number, flags: number): Task<number> {
  const fault = new HugeFault(current, vma, page, flags);
  const { mutex } = fault;
  yield* mutex.downWrite(current);
  yield* hugetlbVmaLockRead(current, vma);
  const table = yield* hugePteAlloc(current, vma.mm, vma, fault.start);
  const result = table === null ? VM_FAULT_OOM : yield* handleEntry(fault, table);
  yield* hugetlbVmaUnlockRead(current, vma);
  // Only the anon_vma asks for another attempt, and only under the VMA's own lock.
  if ((result & VM_FAULT_RETRY) !== 0) yield* vmaEndRead(current, vma);
  yield* mutex.upWrite(current);
  if (fault.waitFor !== -1) yield* waitUnlocked(fault);
  return fault.userfault === null ? result : yield* hugetlbHandleUserfault(fault, fault.userfault);
}

function* handleEntry(fault: HugeFault, table: TablePage): Task<number> {
  const { kernel, vma } = fault;
  const { pageTables } = kernel;
  fault.table = table;
  yield table.readEntry;
  fault.readOriginal(table);
  const { originalHi: hi, originalLo: lo } = fault;
  if (pageTables.format.isNone(hi, lo)) return yield* noPage(fault, table);
  if ((fault.originalFlags & EntryFlag.Present) !== 0) return yield* presentPage(fault, table);
  const type = pageTables.format.swapTypeOf(hi, lo);
  if (type === SWP_HWPOISON) return brokenPage(fault);
  if (type !== SWP_PTE_MARKER) throw new Error(`${vma.name}: no marker`);
  const poisoned = (pageTables.format.swapOffsetOf(hi, lo) & PTE_MARKER_POISONED) !== 0;
  return poisoned ? brokenPage(fault) : yield* noPage(fault, table);
}

/** SIGBUS, with the size of what is lost. */
function brokenPage({ kernel, inode }: HugeFault): number {
  return VM_FAULT_HWPOISON_LARGE | vmFaultSetHindex(kernel.hugetlb.hstates.indexOf(inode.hstate));
}

/** The page that a write must wait for was locked by somebody else: the fault is tried again when it is free. */
function* waitUnlocked({ kernel, waitFor }: HugeFault): Task<void> {
  const { frames } = kernel;
  const { object } = frames.refPoint(waitFor);
  const free = () => !frames.hasFlag(waitFor, FrameFlag.Locked);
  yield new SchedPoint(PointKind.Wait, object, 'folio_wait_locked', StepCost.ContextSwitch, free);
}

/** @see the second half of `hugetlb_fault` */
function* presentPage(fault: HugeFault, table: TablePage): Task<number> {
  const { current, kernel, mm } = fault;
  const { frames, pageTables } = kernel;
  const flags = fault.originalFlags;
  yield* table.lock.lock(current);
  let result = 0;
  if (!fault.unchanged(table)) {
    // Somebody else was here; the access is tried again.
  } else if (writesProtected(fault)) {
    fault.userfault = 'write-protect';
  } else if (fault.has(FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) && !entryWritable(flags)) {
    const frame = fault.originalFrame;
    const anonymous = frames.hasFlag(frame, FrameFlag.Anon);
    if (anonymous && !(yield* folioTrylock(current, frame))) {
      fault.waitFor = frame;
    } else {
      yield frames.refPoint(frame);
      frames.get(frame);
      result = yield* hugetlbWp(fault, table);
      if (anonymous) yield* folioUnlock(current, frame);
      yield frames.refPoint(frame);
      frames.put(frame);
    }
  } else {
    const write = fault.has(FAULT_FLAG_WRITE);
    yield table.setEntry;
    const set = EntryFlag.Young | (write ? EntryFlag.Dirty : 0);
    const changed = pageTables.change(table, fault.index, set, 0);
    if (changed) yield* flushAccessFlags(current, mm, fault.start, write);
  }
  yield* table.lock.unlock(current);
  return result;
}

/** A write that userfaultfd wants to know of. @see `userfaultfd_wp` in `hugetlb_fault` */
function writesProtected(fault: HugeFault): boolean {
  const flags = fault.originalFlags;
  if ((fault.vma.flags & VM_UFFD_WP) === 0 || (flags & EntryFlag.UffdWp) === 0) return false;
  return fault.has(FAULT_FLAG_WRITE) && !entryWritable(flags);
}

/** What `hugetlb_no_page` found or made: the page, locked, with a reference; or how the fault ends. */
interface FoundPage {
  readonly frame: number;
  readonly anonymous: boolean;
  readonly result: number;
}

const ended = (result: number): FoundPage => ({ frame: NO_FRAME, anonymous: false, result });

/** @see `hugetlb_no_page` */
function* noPage(fault: HugeFault, table: TablePage): Task<number> {
  const { current, kernel, vma, mm, start } = fault;
  const { frames, pageTables } = kernel;
  if (hugetlbData(vma).unmapped) return VM_FAULT_SIGBUS;
  const found = yield* findOrMakePage(fault);
  const { frame, anonymous } = found;
  if (frame === NO_FRAME) return found.result;
  yield* table.lock.lock(current);
  if (!fault.unchanged(table)) {
    yield* table.lock.unlock(current);
    yield* giveBack(fault, frame, anonymous);
    return 0;
  }
  if (anonymous) hugetlbAddNewAnonRmap(frames, frame, vma, start);
  else hugetlbAddFileRmap(frames, frame);
  yield table.setEntry;
  const shared = (vma.flags & VM_SHARED) !== 0;
  // A page that a marker protects stays protected.
  const protectedWp = fault.originalMarksWp ? EntryFlag.UffdWp : 0;
  const entry = hugeEntryFlags(vma, shared && protectedWp === 0);
  pageTables.setLeaf(table, fault.index, frame, entry | protectedWp);
  hugetlbCountAdd(mm, fault.pages);
  let result = 0;
  let locked = true;
  if (fault.has(FAULT_FLAG_WRITE) && !shared) {
    if (!anonymous) {
      locked = false;
      yield* folioUnlock(current, frame);
    }
    // The copy is made at once, without a second fault.
    fault.readOriginal(table);
    result = yield* hugetlbWp(fault, table);
  }
  yield* table.lock.unlock(current);
  if (locked) yield* folioUnlock(current, frame);
  return result;
}

function* giveBack(
  { current, kernel, vma, start }: HugeFault,
  frame: number,
  anonymous: boolean,
): Task<void> {
  if (anonymous) restoreReserveOnError(vma, start, frame);
  yield* folioUnlock(current, frame);
  yield kernel.frames.refPoint(frame);
  kernel.frames.put(frame);
}

/** The file's page, or a new one: of the file where the mapping may be shared, else private memory. */
function* findOrMakePage(fault: HugeFault): Task<FoundPage> {
  const { kernel, vma, inode, pageIndex } = fault;
  const cached = yield* lockCachedPage(fault);
  if (cached !== NO_FRAME && kernel.frames.hasFlag(cached, FrameFlag.HwPoison)) {
    yield* giveBack(fault, cached, false);
    return ended(brokenPage(fault));
  }
  if (cached !== NO_FRAME) {
    if ((vma.flagsHigh & VMH_UFFD_MINOR) === 0) return { frame: cached, anonymous: false, result: 0 };
    yield* giveBack(fault, cached, false);
    return ended(yield* askUserSpace(fault, 'minor'));
  }
  if (pageIndex >= inode.sizeHugePages) return ended(VM_FAULT_SIGBUS);
  if ((vma.flags & VM_UFFD_MISSING) !== 0) return ended(yield* askUserSpace(fault, 'missing'));
  const sharable = (vma.flags & VM_MAYSHARE) !== 0;
  const prepared = sharable ? 0 : yield* hugeAnonPrepare(fault);
  if (prepared !== 0) return ended(prepared);
  const frame = yield* allocHugetlbFolio(vma, fault.start, false);
  if (frame === NO_FRAME) return ended(VM_FAULT_SIGBUS);
  yield* fault.clear(frame);
  kernel.frames.setFlags(frame, FrameFlag.Uptodate);
  folioSetLocked(fault.current, frame);
  if (sharable) {
    yield inode.mapping.change;
    inode.add(pageIndex, frame);
  }
  return { frame, anonymous: !sharable, result: 0 };
}

/**
 * Nobody may be told of a page as missing that somebody fills in right now: the entry is looked at once more, under its
 * lock. @see `hugetlb_pte_stable`
 */
function* askUserSpace(fault: HugeFault, reason: UserfaultReason): Task<number> {
  const table = fault.table as TablePage;
  yield* table.lock.lock(fault.current);
  if (fault.unchanged(table)) fault.userfault = reason;
  yield* table.lock.unlock(fault.current);
  return 0;
}

/** @see include/linux/hugetlb.h, `filemap_lock_hugetlb_folio` */
function* lockCachedPage({ current, kernel, inode, pageIndex }: HugeFault): Task<number> {
  const { frames } = kernel;
  for (;;) {
    yield inode.mapping.change;
    const frame = inode.frameAt(pageIndex);
    if (frame === NO_FRAME) return NO_FRAME;
    frames.get(frame);
    yield* folioLock(current, frame);
    if (inode.frameAt(pageIndex) === frame) return frame;
    // Taken out of the file while we waited for the lock.
    yield* folioUnlock(current, frame);
    frames.put(frame);
  }
}
