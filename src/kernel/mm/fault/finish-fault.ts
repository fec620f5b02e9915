/**
 * The end of a fault on a file's page, which has been found and locked: it is mapped, by a pmd where it is a huge page
 * that can be, else by a pte, or by ptes for all of its folio where they have room.
 * @see Linux mm/memory.c, `finish_fault`
 */
import type { Task } from '../../../base/task.ts';
import { endsRun, foldRun } from '../contiguous-ptes.ts';
import { MM_ANONPAGES } from '../mm.ts';
import { hugePages, PmdKind, type TablePage } from '../page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../page-table-alloc.ts';
import { addMmCounter, mmCounter } from '../rmap.ts';
import { doSetPmd } from '../thp/set-file-pmd.ts';
import { VM_SHARED } from '../vma-flags.ts';
import { FAULT_FLAG_WRITE, VM_FAULT_NOPAGE, VM_FAULT_OOM } from './fault-flags.ts';
import { setPte } from './set-pte.ts';
import { checkStableAddressSpace } from './stable-address-space.ts';
import type { VmFault } from './vm-fault.ts';

/**
 * Maps `fault.frame`, or for a private write `fault.cowFrame`, unless somebody else was faster. 0: the mapping has taken
 * the reference over; NOPAGE, OOM or SIGBUS: it has not.
 */
export function* finishFault(fault: VmFault): Task<number> {
  const { current, kernel, mm, vma, page } = fault;
  const cow = fault.has(FAULT_FLAG_WRITE) && (vma.flags & VM_SHARED) === 0;
  const frame = cow ? fault.cowFrame : fault.frame;
  if ((vma.flags & VM_SHARED) === 0) {
    const unstable = checkStableAddressSpace(mm);
    if (unstable !== 0) return unstable;
  }
  const large = kernel.frames.isLarge(frame);
  if (large && kernel.pageTables.pmdKind(rootTable(mm), page) === PmdKind.None) {
    if (yield* doSetPmd(current, vma, page, frame, fault.has(FAULT_FLAG_WRITE))) return 0;
  }
  if ((yield* pteAlloc(current, mm, page)) === null) return VM_FAULT_OOM;
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return VM_FAULT_NOPAGE;
  const mapped =
    large && mapsAllPages(fault, table) ? yield* mapFolio(fault, table) : yield* mapPage(fault, table, cow);
  yield* pteUnmapUnlock(current, table);
  return mapped ? 0 : VM_FAULT_NOPAGE;
}

/** One pte; false: it is not what the fault found any more. */
function* mapPage(fault: VmFault, table: TablePage, cow: boolean): Task<boolean> {
  const { current, kernel, mm, page, index } = fault;
  const { frames } = kernel;
  const frame = cow ? fault.cowFrame : fault.frame;
  if (!fault.unchanged(table)) return false;
  yield table.setEntry;
  setPte(fault, table, index, frame, false);
  if (endsRun(kernel, page, frame)) yield* foldRun(current, mm, table, page, frame);
  addMmCounter(mm, cow ? MM_ANONPAGES : mmCounter(frames, frame), 1);
  return true;
}

/**
 * Are all pages of the folio in the VMA and below this table, which has nothing there yet? Memory that userfaultfd watches
 * is mapped page by page.
 */
function mapsAllPages({ kernel, vma, page, frame }: VmFault, table: TablePage): boolean {
  const { frames, pageTables } = kernel;
  const pages = 2 ** frames.order(frame);
  const first = page - (frame - frames.head(frame));
  const end = first + pages;
  if (vma.userfaultfd !== null || first < vma.start || end > vma.end) return false;
  const tablePages = hugePages(pageTables);
  const at = first % tablePages;
  if (at + pages > tablePages) return false;
  for (let i = 0; i < pages; i++) {
    pageTables.read(table, at + i);
    if (!pageTables.format.isNone(pageTables.hi, pageTables.lo)) return false;
  }
  return true;
}

/** A pte for each page of the folio, with a reference each. */
function* mapFolio(fault: VmFault, table: TablePage): Task<boolean> {
  const { current, kernel, mm, page, frame } = fault;
  const { frames, pageTables } = kernel;
  const head = frames.head(frame);
  const first = page - (frame - head);
  const pages = 2 ** frames.order(frame);
  yield frames.refPoint(head);
  for (let i = 1; i < pages; i++) frames.get(head);
  for (let i = 0; i < pages; i++) {
    yield table.setEntry;
    setPte(fault, table, (first + i) % hugePages(pageTables), head + i, false);
    if (endsRun(kernel, first + i, head + i)) yield* foldRun(current, mm, table, first + i, head + i);
  }
  addMmCounter(mm, mmCounter(frames, head), pages);
  return true;
}
