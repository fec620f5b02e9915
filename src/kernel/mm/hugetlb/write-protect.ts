/**
 * A write, or an unsharing read, on a huge page that is mapped read-only: the whole page is copied unless this is its only
 * mapping. Where the pool has no page left for the owner of the promises, the children of its forks lose theirs.
 * @see Linux mm/hugetlb.c, `hugetlb_wp`, `unmap_ref_private`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { FAULT_FLAG_UNSHARE, VM_FAULT_SIGBUS } from '../fault/fault-flags.ts';
import type { TablePage } from '../page-table.ts';
import { moveAnonRmap } from '../rmap.ts';
import { flushAccessFlags, flushTlbPage } from '../tlb.ts';
import { VM_MAYSHARE } from '../vma-flags.ts';
import { maybeWritable } from '../vma-protection.ts';
import { hugeAnonPrepare } from './anon-prepare.ts';
import type { HugeFault } from './huge-fault.ts';
import { hugeEntryFlags } from './huge-pte.ts';
import { hugetlbAddNewAnonRmap, hugetlbRemoveRmap } from './huge-rmap.ts';
import { hugetlbWalk } from './huge-walk.ts';
import { hugetlbData, hugetlbVmaLockRead, hugetlbVmaUnlockRead } from './hugetlb-vma.ts';
import { allocHugetlbFolio, restoreReserveOnError } from './reservation.ts';
import { unmapRefPrivate } from './unmap-ref-private.ts';

/** The copy could not be made, the children's mappings are gone: look at the page again. */
const TRY_AGAIN = -1;

/**
 * Needs the table's lock, the fault mutex, the vma_lock for reading, and a reference on the page; comes back with all of
 * them. VM_FAULT_*.
 */
export function* hugetlbWp(fault: HugeFault, table: TablePage): Task<number> {
  const { kernel, vma } = fault;
  const { frames } = kernel;
  const unshare = fault.has(FAULT_FLAG_UNSHARE);
  if (!unshare && (fault.originalFlags & EntryFlag.UffdWp) !== 0) return 0;
  if ((vma.flags & VM_MAYSHARE) !== 0) {
    yield* makeWritable(fault, table);
    return 0;
  }
  const old = fault.originalFrame;
  for (;;) {
    // The map count, not the reference count: a passing reference must not cost a page of the pool.
    if (frames.folioMapcount(old) === 1 && frames.hasFlag(old, FrameFlag.Anon)) {
      if (!frames.hasFlag(old, FrameFlag.AnonExclusive)) {
        moveAnonRmap(frames, old, vma);
        frames.setFlags(old, FrameFlag.AnonExclusive);
      }
      if (!unshare) yield* makeWritable(fault, table);
      return 0;
    }
    const result = yield* copyPage(fault, table, old);
    if (result !== TRY_AGAIN) return result;
  }
}

/** @see `set_huge_ptep_maybe_writable` */
function* makeWritable(fault: HugeFault, table: TablePage): Task<void> {
  const { current, kernel, vma, mm } = fault;
  const writable = maybeWritable(vma);
  if (writable === 0) return;
  yield table.setEntry;
  const changed = kernel.pageTables.change(
    table,
    fault.index,
    writable | EntryFlag.Dirty | EntryFlag.Young,
    0,
  );
  if (changed) yield* flushAccessFlags(current, mm, fault.start, true);
}

function* copyPage(fault: HugeFault, table: TablePage, old: number): Task<number> {
  const { current, kernel, vma } = fault;
  const { frames } = kernel;
  // The owner's promise was used up when the page was faulted in: the copy needs a page that nobody was promised.
  const cowFromOwner = hugetlbData(vma).owner && frames.hasFlag(old, FrameFlag.Anon);
  yield frames.refPoint(old);
  frames.get(old);
  yield* table.lock.unlock(current);
  const copy = yield* allocHugetlbFolio(vma, fault.start, cowFromOwner);
  if (copy === NO_FRAME) {
    yield* putPage(fault, old);
    if (cowFromOwner) return yield* takeFromChildren(fault, table, old);
    yield* table.lock.lock(current);
    return VM_FAULT_SIGBUS;
  }
  const prepared = yield* hugeAnonPrepare(fault);
  if (prepared !== 0) {
    restoreReserveOnError(vma, fault.start, copy);
    yield* putPage(fault, copy);
    yield* putPage(fault, old);
    yield* table.lock.lock(current);
    return prepared;
  }
  yield* fault.copy(old, copy);
  frames.setFlags(copy, FrameFlag.Uptodate);
  yield* table.lock.lock(current);
  const replaced = fault.unchanged(table);
  if (replaced) yield* replaceByCopy(fault, table, old, copy);
  yield* table.lock.unlock(current);
  if (!replaced) restoreReserveOnError(vma, fault.start, copy);
  yield* putPage(fault, replaced ? old : copy);
  yield* putPage(fault, old);
  yield* table.lock.lock(current);
  return 0;
}

function* putPage({ kernel }: HugeFault, frame: number): Task<void> {
  yield kernel.frames.refPoint(frame);
  kernel.frames.put(frame);
}

/** Cleared and flushed before it shows the copy, as `wpPageCopy` does with a small page. Needs the lock. */
function* replaceByCopy(fault: HugeFault, table: TablePage, old: number, copy: number): Task<void> {
  const { current, kernel, vma, mm, start } = fault;
  const { frames, pageTables } = kernel;
  const kept = fault.originalFlags & EntryFlag.UffdWp;
  yield table.setEntry;
  pageTables.getAndClear(table, fault.index);
  yield* flushTlbPage(current, mm, start);
  hugetlbRemoveRmap(frames, old);
  hugetlbAddNewAnonRmap(frames, copy, vma, start);
  yield table.setEntry;
  const flags = hugeEntryFlags(vma, !fault.has(FAULT_FLAG_UNSHARE));
  pageTables.setLeaf(table, fault.index, copy, flags | kept);
}

/**
 * The owner must not fail for want of a page: those of its children's mappings are unmapped, and the page is its alone.
 * The fault's own locks are let go meanwhile.
 */
function* takeFromChildren(fault: HugeFault, table: TablePage, old: number): Task<number> {
  const { current, vma, mm, start, mutex } = fault;
  yield* hugetlbVmaUnlockRead(current, vma);
  yield* mutex.upWrite(current);
  yield* unmapRefPrivate(current, vma, start, old);
  yield* mutex.downWrite(current);
  yield* hugetlbVmaLockRead(current, vma);
  yield* table.lock.lock(current);
  // Otherwise somebody has changed the entry meanwhile, and the access is tried again.
  return hugetlbWalk(mm, vma, start) === table && fault.unchanged(table) ? TRY_AGAIN : 0;
}
