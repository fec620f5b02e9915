/**
 * A read fault on a cached file page maps its cached neighbours too: up to 16 pages, from the 64 KiB boundary below the
 * fault or the VMA's start. The end counts from that first page and is clipped to the VMA, the pte table and the object.
 * Left out: large folios, the readahead hints.
 * @see Linux mm/memory.c `do_fault_around`, mm/filemap.c `filemap_map_pages`
 */
import { tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { endsRun, foldRun } from '../contiguous-ptes.ts';
import type { TablePage } from '../page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock } from '../page-table-alloc.ts';
import { addMmCounter, mmCounter } from '../rmap.ts';
import { VM_FAULT_NOPAGE, VM_FAULT_OOM } from './fault-flags.ts';
import { setPte } from './set-pte.ts';
import type { VmFault } from './vm-fault.ts';

/** `fault_around_bytes` / page size: 64 KiB by default. */
const FAULT_AROUND_PAGES = 16;

/** @returns VM_FAULT_NOPAGE when the faulting page itself got mapped, 0 when its own fault must go on */
export function* doFaultAround(fault: VmFault, mapping: AddressSpace): Task<number> {
  const { current, kernel, mm, vma, page, index } = fault;
  const { format, lastLevel } = kernel.pageTables;
  const inVma = page - vma.start;
  const from = Math.max(index - (index % FAULT_AROUND_PAGES), index - Math.min(index, inVma));
  const tableSize = 2 ** (format.levels[lastLevel]?.indexBits ?? 0);
  const to = Math.min(from + FAULT_AROUND_PAGES, tableSize, index + vma.pages - inVma);
  if ((yield* pteAlloc(current, mm, page)) === null) return VM_FAULT_OOM;
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return 0;
  const base = fault.pgoff - index;
  const last = Math.min(to, mapping.sizePages - base);
  let result = 0;
  for (let at = from; at < last; at++) {
    const mapped = yield* mapCachedPage(fault, mapping, table, at, base + at);
    if (mapped && at === tableIndex(format, page, lastLevel)) result = VM_FAULT_NOPAGE;
  }
  yield* pteUnmapUnlock(current, table);
  return result;
}

/** Maps one page of the window, if it is cached, filled, not locked, and its pte is empty. */
function* mapCachedPage(
  fault: VmFault,
  mapping: AddressSpace,
  table: TablePage,
  at: number,
  objectIndex: number,
): Task<boolean> {
  const { kernel, mm, index } = fault;
  const page = fault.page - index + at;
  const { frames, pageTables } = kernel;
  const frame = mapping.frameAt(objectIndex);
  if (frame === -1) return false;
  pageTables.read(table, at);
  if (!pageTables.format.isNone(pageTables.hi, pageTables.lo)) return false;
  // The folio lock is tried and, as nothing comes between, let go in the same step.
  yield frames.refPoint(frame);
  if (mapping.frameAt(objectIndex) !== frame || objectIndex >= mapping.sizePages) return false;
  const usable = frames.flags(frame) & (FrameFlag.Uptodate | FrameFlag.Locked | FrameFlag.HwPoison);
  if (usable !== FrameFlag.Uptodate) return false;
  frames.get(frame);
  setPte(fault, table, at, frame, at !== index);
  if (endsRun(kernel, page, frame)) yield* foldRun(fault.current, mm, table, page, frame);
  addMmCounter(mm, mmCounter(frames, frame), 1);
  return true;
}
