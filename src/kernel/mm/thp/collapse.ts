/**
 * Making one huge page of the small ones of a table. mmap_lock and the VMA are held for writing, so that nobody faults;
 * the anon_vma for writing while the table is unlinked, so that nobody comes through the rmap; then the pages are locked
 * and copied. The table itself is put by for a later split.
 * Left out: copies that run into broken memory (`copy_mc_user_highpage`), memory cgroups.
 * @see Linux mm/khugepaged.c, `collapse_huge_page`, `__collapse_huge_page_copy`, `__collapse_huge_page_swapin`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { mmapReadLock, mmapReadUnlock, mmapWriteLock, mmapWriteUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import type { AnonVma } from '../anon-vma.ts';
import { FAULT_FLAG_ALLOW_RETRY, VM_FAULT_ERROR, VM_FAULT_RETRY } from '../fault/fault-flags.ts';
import { doSwapPage } from '../fault/non-present.ts';
import { copyUserPage } from '../fault/page-copy.ts';
import { VmFault } from '../fault/vm-fault.ts';
import { MM_ANONPAGES, type MmStruct } from '../mm.ts';
import { hugePages, pteIndex, type TablePage } from '../page-table.ts';
import { rootTable } from '../page-table-alloc.ts';
import { addMmCounter, addNewAnonHugeRmap, removeRmap } from '../rmap.ts';
import { freeSwapCache } from '../swap-cache.ts';
import { tlbRemoveTableSyncOne } from '../tlb-sync.ts';
import { noteHugePage } from '../vm-events.ts';
import type { VmArea } from '../vma.ts';
import { vmaStartWrite } from '../vma-lock.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import type { CollapseControl, ScanResult } from './collapse-control.ts';
import { type IsolatedFolios, isolatePages, releaseFolios } from './collapse-isolate.ts';
import { findPmdOrThpOrNone, revalidateVma } from './collapse-scan.ts';
import { depositTable, pmdIndex, pmdTableOf } from './huge-pmd.ts';
import { pmdpCollapseFlush } from './pmdp-collapse-flush.ts';
import { HPAGE_PMD_ORDER } from './policy.ts';

/**
 * After a scan that found the huge page at `start` worth it. Comes with mmap_lock held for reading and lets it go.
 * @param swapped ptes that are swap entries
 */
export function* collapseHugePage(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  swapped: number,
  control: CollapseControl,
): Task<ScanResult> {
  yield* mmapReadUnlock(current, mm);
  const { frames } = current.kernel;
  const head = yield* allocUserFolio(current, null, HPAGE_PMD_ORDER, false);
  if (head === NO_FRAME) return 'alloc-huge-page-fail';
  let result = yield* readSwapped(current, mm, start, swapped, control);
  if (result === 'succeed') {
    yield* mmapWriteLock(current, mm);
    result = yield* collapseLocked(current, mm, start, control, head);
    yield* mmapWriteUnlock(current, mm);
  }
  if (result !== 'succeed') frames.put(head);
  return result;
}

/** Looks again under mmap_lock for reading and brings in what lies in swap. The lock is not held on return. */
function* readSwapped(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  swapped: number,
  control: CollapseControl,
): Task<ScanResult> {
  yield* mmapReadLock(current, mm);
  const vma = revalidateVma(mm, start, control);
  let result = typeof vma === 'string' ? vma : findPmdOrThpOrNone(mm, start);
  if (typeof vma !== 'string' && result === 'succeed' && swapped > 0) {
    result = yield* swapinPages(current, vma, start);
    // The fault that had to wait has let it go.
    if (result === 'page-lock') return result;
  }
  yield* mmapReadUnlock(current, mm);
  return result;
}

/** 'page-lock': a fault waited and dropped mmap_lock. @see `__collapse_huge_page_swapin` */
function* swapinPages(current: TaskStruct, vma: VmArea, start: number): Task<ScanResult> {
  const { pageTables } = current.kernel;
  const { lastLevel, format } = pageTables;
  for (let page = start; page < start + hugePages(pageTables); page++) {
    const table = pageTables.lookup(rootTable(vma.mm), page, lastLevel);
    if (table === null) return 'pmd-null';
    yield table.readEntry;
    pageTables.read(table, pteIndex(pageTables, page));
    const { hi, lo } = pageTables;
    if ((format.flagsOf(hi, lo, lastLevel) & EntryFlag.Swap) === 0) continue;
    const fault = new VmFault(current, vma, page, FAULT_FLAG_ALLOW_RETRY);
    fault.table = table;
    fault.originalHi = hi;
    fault.originalLo = lo;
    const result = yield* doSwapPage(fault);
    if ((result & VM_FAULT_RETRY) !== 0) return 'page-lock';
    if ((result & VM_FAULT_ERROR) !== 0) return 'fail';
  }
  return 'succeed';
}

/** With mmap_lock held for writing. */
function* collapseLocked(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  control: CollapseControl,
  head: number,
): Task<ScanResult> {
  const vma = revalidateVma(mm, start, control);
  if (typeof vma === 'string') return vma;
  yield* vmaStartWrite(current, mm, vma);
  const still = findPmdOrThpOrNone(mm, start);
  if (still !== 'succeed') return still;
  const { anonVma } = vma;
  const { pageTables } = current.kernel;
  const table = pageTables.lookup(rootTable(mm), start, pageTables.lastLevel);
  const pmdTable = pmdTableOf(mm, start);
  if (anonVma === null || table === null || pmdTable === null)
    throw new Error(`${vma.name} has lost its table`);
  const isolated: IsolatedFolios = new Set();
  const result = yield* unlinkAndIsolate(
    current,
    vma,
    anonVma,
    { pmdTable, table, start },
    control,
    isolated,
  );
  if (result !== 'succeed') return result;
  yield* copyPages(current, vma, table, start, head, isolated);
  yield* installHugePage(current, vma, { pmdTable, table, start }, head);
  return 'succeed';
}

interface CollapsePlace {
  readonly pmdTable: TablePage;
  readonly table: TablePage;
  readonly start: number;
}

/**
 * Takes the table out of reach and every page of it into our hands; or, if one cannot be had, puts the table back.
 */
function* unlinkAndIsolate(
  current: TaskStruct,
  vma: VmArea,
  anonVma: AnonVma,
  { pmdTable, table, start }: CollapsePlace,
  control: CollapseControl,
  isolated: IsolatedFolios,
): Task<ScanResult> {
  const { pageTables } = current.kernel;
  const { format } = pageTables;
  const index = pmdIndex(pageTables, start);
  yield* anonVma.rwsem.downWrite(current);
  yield* pmdTable.lock.lock(current);
  yield* pmdpCollapseFlush(current, vma, pmdTable, start);
  yield* pmdTable.lock.unlock(current);
  // The flush reaches CPUs that run in this address space; a lockless walker of another one may still be in the table.
  if (!current.kernel.bugs.gupFastThpCollapse) yield* tlbRemoveTableSyncOne(current);
  yield* table.lock.lock(current);
  const result = yield* isolatePages(current, vma, table, start, control, isolated);
  yield* table.lock.unlock(current);
  if (result !== 'succeed') {
    const entry: Halves = { hi: 0, lo: 0 };
    format.packTable(table.frame, pmdTable.level, entry);
    yield* pmdTable.lock.lock(current);
    yield pmdTable.setEntry;
    pageTables.write(pmdTable, index, entry.hi, entry.lo);
    yield* pmdTable.lock.unlock(current);
  }
  yield* anonVma.rwsem.upWrite(current);
  return result;
}

/** Page by page; then the small ones lose their ptes and references. @see `__collapse_huge_page_copy_succeeded` */
function* copyPages(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
  head: number,
  isolated: IsolatedFolios,
): Task<void> {
  const { kernel } = current;
  const { frames, machine, pageTables } = kernel;
  const pages = hugePages(pageTables);
  for (let i = 0; i < pages; i++) {
    const frame = frameToCopy(vma, table, start + i);
    if (frame !== -1) yield* copyUserPage(kernel, frame, head + i);
    else machine.memory.zeroFrame(head + i);
  }
  const emptied: number[] = [];
  yield* table.lock.lock(current);
  for (let i = 0; i < pages; i++) {
    const frame = frameToCopy(vma, table, start + i);
    if (frame === -1) addMmCounter(vma.mm, MM_ANONPAGES, 1);
    else {
      removeRmap(frames, frame, vma.mm);
      emptied.push(frame);
    }
    pageTables.write(table, pteIndex(pageTables, start + i), 0, 0);
  }
  yield* table.lock.unlock(current);
  const folios = [...isolated];
  for (const folio of folios) yield* freeSwapCache(current, folio);
  for (const frame of emptied) frames.put(frame);
  yield* releaseFolios(current, isolated);
}

/** The frame of a pte, -1 for none and for the zero page. */
function frameToCopy({ mm }: VmArea, table: TablePage, page: number): number {
  const { frames, pageTables } = mm.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) return -1;
  const frame = pageTables.frame(table.level);
  return frame === frames.zeroFrame ? -1 : frame;
}

function* installHugePage(
  current: TaskStruct,
  vma: VmArea,
  { pmdTable, table, start }: CollapsePlace,
  head: number,
): Task<void> {
  const { frames, pageTables } = current.kernel;
  frames.setFlags(head, FrameFlag.Uptodate);
  yield* pmdTable.lock.lock(current);
  addNewAnonHugeRmap(frames, head, vma, start);
  depositTable(pmdTable, table);
  yield pmdTable.setEntry;
  const flags = vmaPageProtection(vma) | EntryFlag.Dirty | maybeWritable(vma);
  pageTables.setLeaf(pmdTable, pmdIndex(pageTables, start), head, flags);
  noteHugePage(current, 'thp-collapse', start);
  yield* pmdTable.lock.unlock(current);
}
