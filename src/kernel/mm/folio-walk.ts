/**
 * Finding the page that is mapped at one address, and keeping its entry as it is until the walk is ended: the lock of the
 * table stays held. Takes no reference.
 * FW_VMA_LOCKED is a proposal: the VMA's own lock instead of mmap_lock. Tables of hugetlb may be shared with other
 * address spaces, which that lock says nothing about, so hugetlb is refused then.
 * Left out: device-private pages; transparent huge pages of a pud.
 * @see Linux mm/pagewalk.c, `folio_walk_start`, `folio_walk_end`; Rik van Riel, "mm/pagewalk: let folio_walk_start() run
 * under the per-VMA lock", 16 and 24 June 2026
 */
import { EntryFlag, pagesPerEntry } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { mmapAssertLocked } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { hugeEntryIndex, hugePteLock, hugetlbWalk } from './hugetlb/huge-walk.ts';
import { hugetlbVmaLockRead, hugetlbVmaUnlockRead } from './hugetlb/hugetlb-vma.ts';
import { countWalk } from './look-up-costs.ts';
import type { MmStruct } from './mm.ts';
import { PmdKind, pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from './page-table-alloc.ts';
import { pmdIndex, pmdTransHugeLock } from './thp/huge-pmd.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB } from './vma-flags.ts';
import { assertVmaLocked } from './vma-lock.ts';

/** Zero pages are found too, as folios without a page. */
export const FW_ZEROPAGE = 1 << 0;
/** The VMA is read-locked; mmap_lock need not be held. */
export const FW_VMA_LOCKED = 1 << 1;
/** The second version of the series: interrupts are disabled, and stay so until the end of the walk. */
export const FW_INTERRUPTS_OFF = 1 << 2;

/** A walk that has found something. The lock of `table` is held, and in a VMA of hugetlb that VMA's lock of its kind. */
export interface FolioWalk {
  readonly table: TablePage;
  /** Whose hugetlb lock is held, null: nobody's. */
  hugetlbVma: VmArea | null;
  /** Of the entry in its table; what the entry holds is here too. */
  readonly index: number;
  readonly hi: number;
  readonly lo: number;
  /** `EntryFlag` bits of it. */
  readonly flags: number;
  /** First frame of the folio. */
  readonly folio: number;
  /** The frame that is mapped at the address; -1 for a zero page. */
  readonly frame: number;
}

/**
 * The folio mapped at `page`, until `folioWalkEnd`; null, and nothing held, when no normal page is mapped there. Needs
 * mmap_lock, or what the flags say.
 */
export function* folioWalkStart(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  flags: number,
): Task<FolioWalk | null> {
  assertWalkAllowed(current, vma, page, flags);
  if ((vma.flags & VM_HUGETLB) === 0) return yield* walkToFolio(current, vma.mm, page, flags);
  return (flags & FW_VMA_LOCKED) !== 0 ? null : yield* walkHugetlb(current, vma, page);
}

/** The walk itself, whatever the caller holds: for mappings that are not of hugetlb. */
export function* walkToFolio(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  flags: number,
): Task<FolioWalk | null> {
  const { pageTables } = current.kernel;
  countWalk(current);
  if (pageTables.pmdKind(rootTable(mm), page) === PmdKind.Huge) {
    const huge = yield* pmdTransHugeLock(current, mm, page);
    if (huge !== null) {
      const found = foundIn(current, huge, pmdIndex(pageTables, page), page, flags);
      if (found === null) yield* huge.lock.unlock(current);
      return found;
    }
  }
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return null;
  const found = foundIn(current, table, pteIndex(pageTables, page), page, flags);
  if (found === null) yield* pteUnmapUnlock(current, table);
  return found;
}

/** Lets the locks go: what the walk found may be another page's from now on. */
export function* folioWalkEnd(current: TaskStruct, { table, hugetlbVma }: FolioWalk): Task<void> {
  const { lastLevel } = current.kernel.pageTables;
  // The lock of a pte table comes with an RCU section.
  if (table.level === lastLevel) yield* pteUnmapUnlock(current, table);
  else yield* table.lock.unlock(current);
  if (hugetlbVma !== null) yield* hugetlbVmaUnlockRead(current, hugetlbVma);
}

function assertWalkAllowed(current: TaskStruct, vma: VmArea, page: number, flags: number): void {
  if ((flags & FW_VMA_LOCKED) === 0) mmapAssertLocked(current, vma.mm);
  else assertVmaLocked(current, vma);
  if ((flags & FW_INTERRUPTS_OFF) !== 0 && current.processor?.interruptsDisabled === 0) {
    throw new Error(`${current.name} walks the tables of ${vma.name} with interrupts enabled`);
  }
  if (!vma.contains(page)) {
    throw new Error(
      `${current.name} looks for page 0x${page.toString(16)} in ${vma.name}, which does not hold it`,
    );
  }
}

/** @see Linux mm/memory.c, `vma_pgtable_walk_begin`, `vma_pgtable_walk_end` */
function* walkHugetlb(current: TaskStruct, vma: VmArea, page: number): Task<FolioWalk | null> {
  yield* hugetlbVmaLockRead(current, vma);
  const found = yield* walkHugetlbLocked(current, vma, page);
  if (found === null) yield* hugetlbVmaUnlockRead(current, vma);
  else found.hugetlbVma = vma;
  return found;
}

function* walkHugetlbLocked(current: TaskStruct, vma: VmArea, page: number): Task<FolioWalk | null> {
  const { mm } = vma;
  const table = hugetlbWalk(mm, vma, page);
  if (table === null || !(yield* hugePteLock(current, mm, vma, page, table))) return null;
  const found = foundIn(current, table, hugeEntryIndex(mm, table, page), page, 0);
  if (found === null) yield* table.lock.unlock(current);
  return found;
}

/** With the table's lock held: what its entry maps. @see Linux mm/memory.c, `vm_normal_page` */
function foundIn(
  current: TaskStruct,
  table: TablePage,
  index: number,
  page: number,
  walkFlags: number,
): FolioWalk | null {
  const { pageTables, frames } = current.kernel;
  pageTables.read(table, index);
  const { hi, lo } = pageTables;
  const flags = pageTables.flags(table.level);
  if ((flags & EntryFlag.Present) === 0) return null;
  const first = pageTables.frame(table.level);
  if (frames.isZeroFrame(first)) {
    if ((walkFlags & FW_ZEROPAGE) === 0) return null;
    return { table, hugetlbVma: null, index, hi, lo, flags, folio: frames.head(first), frame: -1 };
  }
  if ((flags & EntryFlag.Special) !== 0) return null;
  const frame = first + (page % pagesPerEntry(pageTables.format, table.level));
  return { table, hugetlbVma: null, index, hi, lo, flags, folio: frames.head(frame), frame };
}
