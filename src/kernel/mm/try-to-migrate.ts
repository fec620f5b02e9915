/**
 * Replacing every pte of a folio by a migration entry. Huge pages are split into ptes first. The references of the ptes go;
 * counters of resident pages stay, as the pages are to come back.
 * Left out: one migration entry for a whole pmd, and writing the entries right away where a pmd is split.
 * @see Linux mm/rmap.c, `try_to_migrate`, `try_to_migrate_one`, `folio_try_share_anon_rmap_pte`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { inRun, unfoldRun } from './contiguous-ptes.ts';
import { packMigration } from './migration-entry.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { PmdKind, pteIndex, type TablePage } from './page-table.ts';
import { rootTable } from './page-table-alloc.ts';
import { forEachMapped } from './reclaim/mapped-pte.ts';
import type { TlbFlushBatch } from './reclaim/tlb-batch.ts';
import { removeRmap } from './rmap.ts';
import { folioSpan, type RmapVisitor, rmapWalk, rmapWalkLocked } from './rmap-walk.ts';
import type { WholeMapping } from './thp/restore-huge-pmd.ts';
import { splitHugePmd } from './thp/split-pmd.ts';
import type { VmArea } from './vma.ts';
import { VM_GROWSDOWN, VM_STACK_INCOMPLETE_SETUP } from './vma-flags.ts';
import { entryWritable } from './vma-protection.ts';

/**
 * The caller has the folio locked and a reference of it, and flushes the batch. Whether it worked is seen by asking whether
 * the folio is still mapped: pages that are pinned stay, and those of a stack that execve is still building.
 * @param rmapLocked the lock of the folio's anon_vmas is held for writing
 * @param wholes gets where one entry mapped all of it
 */
export function* tryToMigrate(
  current: TaskStruct,
  folio: number,
  batch: TlbFlushBatch,
  rmapLocked = false,
  wholes: WholeMapping[] | null = null,
): Task<void> {
  const { frames } = current.kernel;
  const anonymous = frames.hasFlag(folio, FrameFlag.Anon);
  const visit: RmapVisitor = function* (vma, page) {
    if (anonymous && isTemporaryStack(vma)) return true;
    return (yield* migrateSpan(current, vma, page, folio, batch, wholes)) && frames.isMapped(folio);
  };
  yield* rmapLocked ? rmapWalkLocked(current, folio, visit) : rmapWalk(current, folio, visit);
}

/** @see `vma_is_temporary_stack` */
function isTemporaryStack({ flags }: VmArea): boolean {
  const stack = VM_GROWSDOWN | VM_STACK_INCOMPLETE_SETUP;
  return (flags & stack) === stack;
}

/** What one VMA maps of the folio; false when a page cannot be had. */
function* migrateSpan(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  folio: number,
  batch: TlbFlushBatch,
  wholes: WholeMapping[] | null,
): Task<boolean> {
  const { kernel } = vma.mm;
  const { pageTables } = kernel;
  const span = folioSpan(vma, start, folio);
  const range = mmuNotifierRange(vma.mm, start, start + span.pages, 'clear');
  yield* mmuNotifierStart(current, range);
  if (mapsWhole(vma, start, folio)) {
    if (vma.anonymous) wholes?.push({ mm: vma.mm, page: start });
    yield* splitHugePmd(current, vma, start);
  }
  const done = yield* forEachMapped(current, vma, start, folio, function* (table, page) {
    if (table.level !== pageTables.lastLevel) return false;
    if (inRun(kernel, table, pteIndex(pageTables, page))) yield* unfoldRun(current, vma.mm, table, page);
    return yield* migratePte(vma, table, page, span.frame + page - start, batch);
  });
  yield* mmuNotifierEnd(current, range);
  return done;
}

/** A huge page is mapped whole only where it is aligned, so at the first page that the VMA has of it. */
function mapsWhole({ mm }: VmArea, page: number, folio: number): boolean {
  const { pageTables } = mm.kernel;
  if (pageTables.pmdKind(rootTable(mm), page) !== PmdKind.Huge) return false;
  return pageTables.frame(pageTables.lastLevel - 1) === folio;
}

/** One pte. The pte has been cleared before it is asked for pins: one is seen, or cannot be taken any more. */
function* migratePte(
  vma: VmArea,
  table: TablePage,
  page: number,
  frame: number,
  batch: TlbFlushBatch,
): Task<boolean> {
  const { frames, pageTables } = vma.mm.kernel;
  const index = pteIndex(pageTables, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const { hi, lo } = pageTables;
  const flags = pageTables.flags(table.level);
  batch.add(vma.mm, page, (flags & EntryFlag.Dirty) !== 0);
  if ((flags & EntryFlag.Dirty) !== 0) frames.setFlags(frame, FrameFlag.Dirty);
  const exclusive = frames.hasFlag(frame, FrameFlag.AnonExclusive);
  yield frames.refPoint(frame);
  if (exclusive && frames.maybeDmaPinned(frame)) {
    yield table.setEntry;
    pageTables.setEntry(table, index, hi, lo);
    return false;
  }
  frames.clearFlags(frame, FrameFlag.AnonExclusive);
  let kept = flags & (EntryFlag.Young | EntryFlag.Dirty | EntryFlag.UffdWp | EntryFlag.SoftDirty);
  if (entryWritable(flags)) kept |= EntryFlag.Write;
  if (exclusive) kept |= EntryFlag.SwapExclusive;
  const entry: Halves = { hi: 0, lo: 0 };
  packMigration(pageTables, frame, kept, entry);
  yield table.setEntry;
  pageTables.write(table, index, entry.hi, entry.lo);
  removeRmap(frames, frame, vma.mm);
  yield frames.refPoint(frame);
  frames.put(frame);
  return true;
}
