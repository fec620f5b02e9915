/**
 * A huge page of a file that an address space maps by ptes: these go, with their table, and where it is asked for a pmd
 * takes their place at once, else the next fault sets it.
 * @see Linux mm/khugepaged.c, `try_collapse_pte_mapped_thp`, `set_huge_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import { rcuReadLock, rcuReadUnlock } from '../../lock/rcu.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import { folioLock, folioUnlock } from '../fault/folio-lock.ts';
import type { MmStruct } from '../mm.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from '../mmu-notifier.ts';
import { hugePages, pteIndex, type TablePage } from '../page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable, tableAlloc } from '../page-table-alloc.ts';
import { addMmCounter, mmCounter, removeRmap } from '../rmap.ts';
import { flushTlbMm } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
import { VM_SHARED, VM_UFFD_WP } from '../vma-flags.ts';
import type { ScanResult } from './collapse-control.ts';
import { findPmdOrThpOrNone, isUserfaultfdArmed } from './collapse-scan.ts';
import { pmdLock, pmdTableOf } from './huge-pmd.ts';
import { pmdpCollapseFlush } from './pmdp-collapse-flush.ts';
import { HPAGE_PMD_ORDER, thpVmaAllowable } from './policy.ts';
import { pteFreeDefer } from './pte-free-defer.ts';
import { tableBelow } from './retract-page-tables.ts';
import { doSetPmd } from './set-file-pmd.ts';

/**
 * `start` is the first page of the huge page. Needs mmap_lock. 'succeed', or 'pmd-mapped': that is how it is.
 * @param install a pmd is to map it at once
 */
export function* collapsePteMappedThp(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  install: boolean,
): Task<ScanResult> {
  const { frames, pageTables } = current.kernel;
  const vma = mm.vmas.lookup(start);
  if (vma?.file == null || start + hugePages(pageTables) > vma.end) return 'vma-check';
  if (findPmdOrThpOrNone(mm, start) === 'pmd-mapped') return 'pmd-mapped';
  // The page is a huge one already: whatever the settings say, a fault would map it so.
  if (!thpVmaAllowable(vma, 'forced-collapse')) return 'vma-check';
  if ((vma.flags & VM_UFFD_WP) !== 0) return 'pte-uffd-wp';
  const folio = yield* lockFileFolio(current, vma, start);
  if (folio === -1) return 'page-null';
  const result =
    frames.order(folio) === HPAGE_PMD_ORDER
      ? yield* collapseLocked(current, vma, start, folio, install)
      : 'page-compound';
  yield* folioUnlock(current, folio);
  yield frames.refPoint(folio);
  frames.put(folio);
  return result;
}

/** `filemap_lock_folio`: with a reference; -1 when nothing is cached. */
function* lockFileFolio(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const { frames } = current.kernel;
  const mapping = vma.file?.mapping;
  const index = vma.indexOf(page);
  for (;;) {
    if (mapping === undefined) return -1;
    yield mapping.change;
    const frame = mapping.frameAt(index);
    if (frame === -1) return -1;
    frames.get(frame);
    yield* folioLock(current, frame);
    if (mapping.frameAt(index) === frame) return frames.head(frame);
    yield* folioUnlock(current, frame);
    frames.put(frame);
  }
}

/** With the folio locked, so that no fault maps more of it. */
function* collapseLocked(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  folio: number,
  install: boolean,
): Task<ScanResult> {
  const found = findPmdOrThpOrNone(vma.mm, start);
  if (found !== 'succeed' && found !== 'pmd-null') return found;
  if (found === 'succeed') {
    const table = yield* pteOffsetMapLock(current, vma.mm, start);
    if (table === null) return 'fail';
    const fit = allOf(vma, table, start, folio);
    yield* pteUnmapUnlock(current, table);
    if (fit !== 'succeed') return fit;
    const told = mmuNotifierRange(vma.mm, start, start + hugePages(vma.mm.kernel.pageTables), 'clear');
    yield* mmuNotifierStart(current, told);
    const cleared = yield* clearTable(current, vma, start, folio);
    yield* mmuNotifierEnd(current, told);
    if (cleared !== 'succeed') return cleared;
  }
  return install ? yield* setHugePmd(current, vma, start, folio) : 'succeed';
}

/** Is every pte of the table empty or of the folio's page that belongs there? */
function allOf(vma: VmArea, table: TablePage, start: number, folio: number): ScanResult {
  for (let i = 0; i < hugePages(vma.mm.kernel.pageTables); i++) {
    const verdict = judge(vma, table, start + i, folio + i);
    if (verdict !== 'page' && verdict !== 'none') return verdict;
  }
  return 'succeed';
}

function judge(vma: VmArea, table: TablePage, page: number, frame: number): ScanResult | 'page' | 'none' {
  const { pageTables } = vma.mm.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  if (pageTables.format.isNone(pageTables.hi, pageTables.lo)) return 'none';
  const flags = pageTables.flags(table.level);
  if ((flags & EntryFlag.Present) === 0) return 'pte-non-present';
  return (flags & EntryFlag.Special) === 0 && pageTables.frame(table.level) === frame ? 'page' : 'fail';
}

/**
 * Clears the ptes and takes the table out. In private memory that userfaultfd watches a page could be filled in between,
 * whose copy is not the file's affair: the pmd is locked before.
 */
function* clearTable(current: TaskStruct, vma: VmArea, start: number, folio: number): Task<ScanResult> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const early = isUserfaultfdArmed(vma) && (vma.flags & VM_SHARED) === 0;
  rcuReadLock(current);
  let pmds = early ? yield* pmdLock(current, mm, start) : null;
  const table = pageTables.lookup(rootTable(mm), start, pageTables.lastLevel);
  let result: ScanResult = 'fail';
  if (table !== null) {
    yield* table.lock.lock(current, early ? SINGLE_DEPTH_NESTING : 0);
    const same = pageTables.lookup(rootTable(mm), start, pageTables.lastLevel) === table;
    if (same) result = yield* clearPtes(current, vma, table, start, folio);
    if (result === 'succeed' && pmds === null) {
      yield* table.lock.unlock(current);
      pmds = yield* pmdLock(current, mm, start);
      yield* table.lock.lock(current, SINGLE_DEPTH_NESTING);
    }
    if (result === 'succeed') result = yield* takeTableOut(current, vma, pmds, table, start);
    yield* table.lock.unlock(current);
  }
  if (pmds !== null) yield* pmds.lock.unlock(current);
  rcuReadUnlock(current);
  if (result === 'succeed' && table !== null) pteFreeDefer(mm, table);
  return result;
}

/** With both locks. 'fail': the table has gone meanwhile; what was cleared in it is flushed. */
function* takeTableOut(
  current: TaskStruct,
  vma: VmArea,
  pmds: TablePage | null,
  table: TablePage,
  start: number,
): Task<ScanResult> {
  if (pmds === null || tableBelow(vma.mm.kernel.pageTables, pmds, start) !== table) {
    yield* flushTlbMm(current, vma.mm);
    return 'fail';
  }
  yield* pmdpCollapseFlush(current, vma, pmds, start);
  return 'succeed';
}

/**
 * Once more pte by pte, as the lock was let go: the folio's lock keeps others from mapping it, not from copying what is
 * mapped. The flush waits for that of the pmd. Needs the table's lock.
 */
function* clearPtes(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  start: number,
  folio: number,
): Task<ScanResult> {
  const { mm } = vma;
  const { kernel } = mm;
  const { frames, pageTables } = kernel;
  let cleared = 0;
  let result: ScanResult = 'succeed';
  for (let i = 0; i < hugePages(pageTables); i++) {
    const verdict = judge(vma, table, start + i, folio + i);
    if (verdict === 'none') continue;
    if (verdict !== 'page') {
      result = verdict;
      break;
    }
    const index = pteIndex(pageTables, start + i);
    if (inRun(kernel, table, index)) yield* unfoldRun(current, mm, table, start + i);
    yield table.setEntry;
    pageTables.getAndClear(table, index);
    if ((pageTables.flags(table.level) & EntryFlag.Dirty) !== 0) frames.setFlags(folio, FrameFlag.Dirty);
    removeRmap(frames, folio + i, mm);
    cleared++;
  }
  if (cleared > 0) {
    if (result !== 'succeed') yield* flushTlbMm(current, mm);
    addMmCounter(mm, mmCounter(frames, folio), -cleared);
    yield frames.refPoint(folio);
    for (let i = 0; i < cleared; i++) frames.put(folio);
  }
  return result;
}

function* setHugePmd(current: TaskStruct, vma: VmArea, start: number, folio: number): Task<ScanResult> {
  const { frames, pageTables } = current.kernel;
  if (pmdTableOf(vma.mm, start) === null) {
    const upper = yield* tableAlloc(current, vma.mm, start, pageTables.lastLevel - 1);
    if (upper === null) return 'fail';
  }
  yield frames.refPoint(folio);
  frames.get(folio);
  if (yield* doSetPmd(current, vma, start, folio, false)) return 'succeed';
  frames.put(folio);
  return 'fail';
}
