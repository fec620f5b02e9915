/**
 * MADV_GUARD_INSTALL and MADV_GUARD_REMOVE: markers in the place of ptes, on which every access fails with SIGSEGV. What
 * was mapped there is thrown away. Markers cost no VMA; they stay until they are removed or unmapped.
 * @see Linux mm/madvise.c, `madvise_guard_install`, `madvise_guard_remove`, `is_valid_guard_vma`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import { atomically, type Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { EINVAL, ENOMEM, ERESTARTNOINTR } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { anonVmaPrepare } from '../anon-vma-prepare.ts';
import type { PageTables } from '../page-table.ts';
import { entryEnd, PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../page-table-alloc.ts';
import { PTE_MARKER_GUARD, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { VM_HUGETLB, VM_LOCKED, VM_MAYBE_GUARD, VM_SPECIAL } from '../vma-flags.ts';
import { HugeVerdict, type PageTableVisitor, walkPageTables } from '../walk-page-tables.ts';
import { zapPageRangeSingle } from '../zap-range.ts';
import type { MadviseState } from './madvise-state.ts';

/** Something may be there again after the range was emptied: so often it is tried (MAX_MADVISE_GUARD_RETRIES). */
const GUARD_TRIES = 3;

function validGuardVma(vma: VmArea, allowLocked: boolean): boolean {
  const disallowed = VM_SPECIAL | VM_HUGETLB | (allowLocked ? 0 : VM_LOCKED);
  return (vma.flags & disallowed) === 0;
}

/** The entry read last, from a pte table, is a guard marker. @see include/linux/swapops.h, `is_guard_pte_marker` */
function isGuard({ format, hi, lo }: PageTables, level: number): boolean {
  if ((format.flagsOf(hi, lo, level) & EntryFlag.Swap) === 0) return false;
  return (
    format.swapTypeOf(hi, lo) === SWP_PTE_MARKER && (format.swapOffsetOf(hi, lo) & PTE_MARKER_GUARD) !== 0
  );
}

/**
 * 0, -EINVAL (hugetlb, locked or special memory), -ENOMEM (no memory for page tables), or -ERESTARTNOINTR: three
 * times something else was there, so the locks are let go and the call is to be made again. Faults were faster then; or
 * what is there are markers of userfaultfd's write protection, which stay when pages are thrown away: then it is made
 * again until they are gone, or the process is killed.
 */
export function* madviseGuardInstall(current: TaskStruct, state: MadviseState): Task<number> {
  const { vma, start, end } = state;
  const { config } = current.kernel;
  if (!validGuardVma(vma, false)) return -EINVAL;
  if (config.maybeGuardFlag) {
    // Atomically, as only a read lock is held; whoever must not miss it takes the write lock.
    yield vma.change;
    vma.setFlagAtomic(VM_MAYBE_GUARD);
  }
  // The page tables hold something from now on. Without the flag, it is the anon_vma that tells fork so.
  if (vma.anonymous || !config.maybeGuardFlag) yield* anonVmaPrepare(current, vma);
  for (let tries = 0; tries < GUARD_TRIES; tries++) {
    const result = yield* installRange(current, vma, start, end);
    if (result <= 0) return result;
    yield* zapPageRangeSingle(current, vma, start, end, { keepMarkers: true });
  }
  return -ERESTARTNOINTR;
}

/** 0; 1 when a page is mapped; -ENOMEM. @see mm/pagewalk.c, `walk_pte_range` with `install_pte` */
function* installRange(current: TaskStruct, vma: VmArea, start: number, end: number): Task<number> {
  const { mm } = vma;
  const { pageTables } = current.kernel;
  for (let page = start; page < end; ) {
    if (pageTables.pmdKind(rootTable(mm), page) === PmdKind.Huge) return 1;
    if ((yield* pteAlloc(current, mm, page)) === null) {
      if (pageTables.pmdKind(rootTable(mm), page) === PmdKind.Huge) return 1;
      return -ENOMEM;
    }
    const table = yield* pteOffsetMapLock(current, mm, page);
    if (table === null) continue;
    const spanEnd = entryEnd(pageTables.format, page, end, pageTables.lastLevel - 1);
    const mapped = yield* installPtes(pageTables, table, page, spanEnd);
    yield* pteUnmapUnlock(current, table);
    if (mapped) return 1;
    page = spanEnd;
  }
  return 0;
}

/** True when something else than a guard is there. */
function* installPtes(pageTables: PageTables, table: TablePage, first: number, end: number): Task<boolean> {
  const marker: Halves = { hi: 0, lo: 0 };
  pageTables.format.packSwap(SWP_PTE_MARKER, PTE_MARKER_GUARD, 0, marker);
  for (let page = first; page < end; page++) {
    const index = pteIndex(pageTables, page);
    pageTables.read(table, index);
    if (isGuard(pageTables, table.level)) continue;
    if (!pageTables.format.isNone(pageTables.hi, pageTables.lo)) return true;
    yield table.setEntry;
    pageTables.write(table, index, marker.hi, marker.lo);
  }
  return false;
}

/** 0, or -EINVAL (hugetlb or special memory). Locked memory is fine: nothing is thrown away. */
export function* madviseGuardRemove(current: TaskStruct, state: MadviseState): Task<number> {
  const { vma, start, end } = state;
  if (!validGuardVma(vma, true)) return -EINVAL;
  return yield* walkPageTables(current, vma, start, end, guardRemover(current.kernel.pageTables));
}

/** A huge page has no guards. */
const guardRemover = (pageTables: PageTables): PageTableVisitor => ({
  *ptes(table, first, end) {
    for (let page = first; page < end; page++) {
      const index = pteIndex(pageTables, page);
      pageTables.read(table, index);
      if (!isGuard(pageTables, table.level)) continue;
      yield table.setEntry;
      pageTables.write(table, index, 0, 0);
    }
    return 0;
  },
  huge: () => atomically(() => HugeVerdict.Done),
});
