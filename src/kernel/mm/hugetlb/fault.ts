/**
 * Faults on huge pages: a page that is missing, or one that is there and may not be written. One fault at a time for each
 * page of a file, so that two that are first do not take two pages where only one was promised.
 * Left out: migration entries and broken memory.
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
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from '../fault/fault-flags.ts';
import { folioLock, folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import type { TablePage } from '../page-table.ts';
import { flushAccessFlags } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
import { VM_MAYSHARE, VM_SHARED } from '../vma-flags.ts';
import { vmaEndRead } from '../vma-lock.ts';
import { entryWritable } from '../vma-protection.ts';
import { hugeAnonPrepare } from './anon-prepare.ts';
import { HugeFault } from './huge-fault.ts';
import { hugeEntryFlags, hugePteAlloc } from './huge-pte.ts';
import { hugetlbAddNewAnonRmap, hugetlbCountAdd } from './huge-rmap.ts';
import { hugetlbData, hugetlbVmaLockRead, hugetlbVmaUnlockRead } from './hugetlb-vma.ts';
import { allocHugetlbFolio, restoreReserveOnError } from './reservation.ts';
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
  return result;
}

function* handleEntry(fault: HugeFault, table: TablePage): Task<number> {
  const { kernel } = fault;
  const { pageTables } = kernel;
  fault.table = table;
  yield table.readEntry;
  fault.readOriginal(table);
  if (pageTables.format.isNone(fault.originalHi, fault.originalLo)) return yield* noPage(fault, table);
  return yield* presentPage(fault, table);
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
  } else if (fault.has(FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) && !entryWritable(flags)) {
    const frame = fault.originalFrame;
    const anonymous = frames.hasFlag(frame, FrameFlag.Anon);
    if (anonymous && !(yield* folioTrylock(frames, frame))) {
      fault.waitFor = frame;
    } else {
      yield frames.refPoint(frame);
      frames.get(frame);
      result = yield* hugetlbWp(fault, table);
      if (anonymous) yield* folioUnlock(frames, frame);
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
  else frames.addEntireMap(frame, mm);
  yield table.setEntry;
  const shared = (vma.flags & VM_SHARED) !== 0;
  pageTables.setLeaf(table, fault.index, frame, hugeEntryFlags(vma, shared));
  hugetlbCountAdd(mm, fault.pages);
  let result = 0;
  let locked = true;
  if (fault.has(FAULT_FLAG_WRITE) && !shared) {
    if (!anonymous) {
      locked = false;
      yield* folioUnlock(frames, frame);
    }
    // The copy is made at once, without a second fault.
    fault.readOriginal(table);
    result = yield* hugetlbWp(fault, table);
  }
  yield* table.lock.unlock(current);
  if (locked) yield* folioUnlock(frames, frame);
  return result;
}

function* giveBack({ kernel, vma, start }: HugeFault, frame: number, anonymous: boolean): Task<void> {
  if (anonymous) restoreReserveOnError(vma, start, frame);
  yield* folioUnlock(kernel.frames, frame);
  yield kernel.frames.refPoint(frame);
  kernel.frames.put(frame);
}

/** The file's page, or a new one: of the file where the mapping may be shared, else private memory. */
function* findOrMakePage(fault: HugeFault): Task<FoundPage> {
  const { kernel, vma, inode, pageIndex } = fault;
  const cached = yield* lockCachedPage(fault);
  if (cached !== NO_FRAME) return { frame: cached, anonymous: false, result: 0 };
  if (pageIndex >= inode.sizeHugePages) return ended(VM_FAULT_SIGBUS);
  const sharable = (vma.flags & VM_MAYSHARE) !== 0;
  const prepared = sharable ? 0 : yield* hugeAnonPrepare(fault);
  if (prepared !== 0) return ended(prepared);
  const frame = yield* allocHugetlbFolio(vma, fault.start, false);
  if (frame === NO_FRAME) return ended(VM_FAULT_SIGBUS);
  yield* fault.clear(frame);
  kernel.frames.setFlags(frame, FrameFlag.Uptodate | FrameFlag.Locked);
  if (sharable) {
    yield inode.mapping.change;
    inode.add(pageIndex, frame);
  }
  return { frame, anonymous: !sharable, result: 0 };
}

/** @see include/linux/hugetlb.h, `filemap_lock_hugetlb_folio` */
function* lockCachedPage({ kernel, inode, pageIndex }: HugeFault): Task<number> {
  const { frames } = kernel;
  for (;;) {
    yield inode.mapping.change;
    const frame = inode.frameAt(pageIndex);
    if (frame === NO_FRAME) return NO_FRAME;
    frames.get(frame);
    yield* folioLock(frames, frame);
    if (inode.frameAt(pageIndex) === frame) return frame;
    // Taken out of the file while we waited for the lock.
    yield* folioUnlock(frames, frame);
    frames.put(frame);
  }
}
