/**
 * Filling pages into a range: what UFFDIO_COPY, ZEROPAGE, CONTINUE and POISON have in common. All of it lies in one VMA.
 * Pages before an error stay filled in, and their number is the result.
 * @see Linux mm/userfaultfd.c, `mfill_atomic`, `mfill_file_over_size`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EEXIST, EFAULT, EINTR, EINVAL, ENOMEM } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { hstateOfVma, isHugetlbVma } from '../hugetlb/hugetlb-vma.ts';
import { PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../page-table-alloc.ts';
import { SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';
import type { UserfaultfdContext } from './context.ts';
import { type FillOperation, RETRY_OUTSIDE } from './fill-operation.ts';
import { fillHugetlbLocked } from './hugetlb-fill.ts';
import { mfillLock, mfillUnlock } from './mfill-lock.ts';

/** Where one call stands: pages filled in, and how many pages the next one has. */
interface Progress {
  done: number;
  unit: number;
}

/** Pages filled in, or -errno when none was. */
export function* mfillAtomic(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: number,
  pages: number,
  operation: FillOperation,
): Task<number> {
  const progress: Progress = { done: 0, unit: 1 };
  let error = yield* fillOnce(current, context, start, pages, operation, progress);
  while (error === RETRY_OUTSIDE) {
    error = yield* operation.prepareOutside(progress.done, progress.unit);
    if (error === 0) error = yield* fillOnce(current, context, start, pages, operation, progress);
  }
  operation.finish();
  return progress.done > 0 ? progress.done : error;
}

/** With the locks taken once. 0, -errno or RETRY_OUTSIDE. */
function* fillOnce(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: number,
  pages: number,
  operation: FillOperation,
  progress: Progress,
): Task<number> {
  const vma = yield* mfillLock(current, context, start, start + pages);
  if (typeof vma === 'number') return vma;
  let error = unfit(vma, operation);
  if (error === 0 && isHugetlbVma(vma)) {
    progress.unit = hstateOfVma(vma).pages;
    error = yield* fillHugetlbLocked(current, vma, start, pages, operation, progress);
  } else if (error === 0) {
    error = yield* fillLocked(current, vma, start, pages, operation, progress);
  }
  yield* mfillUnlock(current, context, vma);
  return error;
}

/** What the VMA cannot have. */
function unfit(vma: VmArea, operation: FillOperation): number {
  if (operation.writeProtect && (vma.flags & VM_UFFD_WP) === 0) return -EINVAL;
  if (isHugetlbVma(vma)) return 0;
  const shmem = vma.file?.mapping.shmem === true;
  if (!vma.anonymous && !shmem) return -EINVAL;
  return operation.fileOnly && !shmem ? -EINVAL : 0;
}

function* fillLocked(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  pages: number,
  operation: FillOperation,
  progress: Progress,
): Task<number> {
  while (progress.done < pages) {
    const page = start + progress.done;
    let error = yield* establishTable(current, vma, page);
    if (error === 0) error = yield* operation.fillPage(vma, page, progress.done);
    if (error !== 0) return error;
    progress.done++;
    if (current.fatalSignalPending()) return -EINTR;
  }
  return 0;
}

/** The pte table is there; a huge page is not replaced. @see `mfill_establish_pmd` of later kernels */
function* establishTable(current: TaskStruct, { mm }: VmArea, page: number): Task<number> {
  if ((yield* pteAlloc(current, mm, page)) !== null) return 0;
  return mm.kernel.pageTables.pmdKind(rootTable(mm), page) === PmdKind.None ? -ENOMEM : -EEXIST;
}

/** Is the page beyond the end of the VMA's file? To be asked under the table's lock. */
function fileOverSize(vma: VmArea, page: number): boolean {
  return vma.file !== null && vma.indexOf(page) >= vma.file.mapping.sizePages;
}

/** A pte that is empty and locked, where something can be filled in. */
export interface EmptyPte {
  readonly table: TablePage;
  readonly index: number;
}

/**
 * Locks the pte of `page` for something to be filled in. -EAGAIN: its table is gone; -EFAULT: beyond the end of the file;
 * -EEXIST: something is there.
 * @param overMarker a marker counts as nothing (as recorded on 6.18; later kernels spare guards)
 */
export function* lockEmptyPte(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  overMarker: boolean,
): Task<EmptyPte | number> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return -EAGAIN;
  const index = pteIndex(pageTables, page);
  let error = fileOverSize(vma, page) ? -EFAULT : 0;
  if (error === 0) {
    pageTables.read(table, index);
    const { hi, lo, format } = pageTables;
    const empty = format.isNone(hi, lo) || (overMarker && isMarker(vma, table));
    if (!empty) error = -EEXIST;
  }
  if (error === 0) return { table, index };
  yield* pteUnmapUnlock(current, table);
  return error;
}

/** Of the entry read last: a marker of any kind, guards too. @see include/linux/swapops.h, `pte_none_mostly` */
function isMarker(vma: VmArea, table: TablePage): boolean {
  const { pageTables } = vma.mm.kernel;
  if ((pageTables.flags(table.level) & EntryFlag.Present) !== 0) return false;
  return pageTables.format.swapTypeOf(pageTables.hi, pageTables.lo) === SWP_PTE_MARKER;
}
