/**
 * A read fault on a cached file page maps its cached neighbours too: up to 16 pages, from the 64 KiB boundary below the
 * fault or the VMA's start. The end counts from that first page and is clipped to the VMA, the pte table and the object.
 * A huge page that begins the window is mapped whole where it can be.
 * Left out: the readahead hints.
 * @see Linux mm/memory.c `do_fault_around`, mm/filemap.c `filemap_map_pages`, `filemap_map_pmd`
 */
import { tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import { endsRun, foldRun } from '../contiguous-ptes.ts';
import { PmdKind, type TablePage } from '../page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../page-table-alloc.ts';
import { addMmCounter, mmCounter } from '../rmap.ts';
import { doSetPmd } from '../thp/set-file-pmd.ts';
import { VM_FAULT_NOPAGE, VM_FAULT_OOM } from './fault-flags.ts';
import { trylockUnwatched, unlockUnwatched } from './folio-lock.ts';
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
  const base = fault.pgoff - index;
  const last = Math.min(to, mapping.sizePages - base);
  if (yield* mapHugePage(fault, mapping, base + from, base + last)) return VM_FAULT_NOPAGE;
  if ((yield* pteAlloc(current, mm, page)) === null) return VM_FAULT_OOM;
  const table = yield* pteOffsetMapLock(current, mm, page);
  if (table === null) return 0;
  let result = 0;
  for (let at = from; at < last; at++) {
    const mapped = yield* mapCachedPage(fault, mapping, table, at, base + at);
    if (mapped && at === tableIndex(format, page, lastLevel)) result = VM_FAULT_NOPAGE;
  }
  yield* pteUnmapUnlock(current, table);
  return result;
}

/** What a page must be to be mapped without waiting for it. */
function isUsable(frames: FrameTable, frame: number): boolean {
  const usable = frames.flags(frame) & (FrameFlag.Uptodate | FrameFlag.Locked | FrameFlag.HwPoison);
  return usable === FrameFlag.Uptodate;
}

/** Is the first of the object's pages [first, end) that can be mapped one of a huge page, and mapped with it now? */
function* mapHugePage(fault: VmFault, mapping: AddressSpace, first: number, end: number): Task<boolean> {
  const { frames } = fault.kernel;
  for (let at = first; at < end; at++) {
    const frame = mapping.frameAt(at);
    if (frame === -1 || !isUsable(frames, frame)) continue;
    if (!frames.isLarge(frame)) return false;
    if (!(yield* trylockUnwatched(frames, frame))) continue;
    if (mapping.frameAt(at) === frame && at < mapping.sizePages) return yield* mapLocked(fault, frame);
    yield* unlockUnwatched(frames, frame);
  }
  return false;
}

/** Of a locked folio, which is unlocked. True also when somebody else has mapped a huge page there. */
function* mapLocked({ current, kernel, mm, vma, page }: VmFault, frame: number): Task<boolean> {
  const { frames, pageTables } = kernel;
  frames.get(frame);
  const kind = pageTables.pmdKind(rootTable(mm), page);
  const maps = kind === PmdKind.None && (yield* doSetPmd(current, vma, page, frame, false));
  yield* unlockUnwatched(frames, frame);
  if (!maps) frames.put(frame);
  return maps || kind === PmdKind.Huge;
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
  if (!isUsable(frames, frame)) return false;
  frames.get(frame);
  setPte(fault, table, at, frame, at !== index);
  if (endsRun(kernel, page, frame)) yield* foldRun(fault.current, mm, table, page, frame);
  addMmCounter(mm, mmCounter(frames, frame), 1);
  return true;
}
