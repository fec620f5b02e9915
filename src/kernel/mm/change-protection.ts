/**
 * Giving the present pages of a range the protection of their VMA's flags: the page-table half of mprotect.
 * Left out: NUMA hints, userfaultfd write protection, hugetlb, swap and migration entries.
 * @see Linux mm/mprotect.c, `change_protection`, `change_pte_range`, `can_change_pte_writable`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { Unsupported } from '../unsupported.ts';
import { endsRun, foldRun, inRun, unfoldRun } from './contiguous-ptes.ts';
import type { MmStruct } from './mm.ts';
import type { MmuGather } from './mmu-gather.ts';
import { endOfHole, entryEnd, isWholeHugePage, PmdKind, pteIndex, type TablePage } from './page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from './page-table-alloc.ts';
import { isSwapType, SWP_PTE_MARKER } from './swap-entry.ts';
import { changeHugePmd, type EntryChange } from './thp/change-huge-pmd.ts';
import { splitHugePmd } from './thp/split-pmd.ts';
import type { VmArea } from './vma.ts';
import { VM_SHARED, VM_UFFD_WP, VM_WRITE } from './vma-flags.ts';
import { entryWritable, maybeWritable, vmaPageProtection, vmaWantsWriteNotify } from './vma-protection.ts';

/** Make ptes writable at once where a write fault would do nothing but that. */
export const MM_CP_TRY_CHANGE_WRITABLE = 1 << 0;

/**
 * Must each pte be looked at before it is made writable? A private one may have to be copied first.
 * @see mm/internal.h, `vma_wants_manual_pte_write_upgrade`
 */
function manualWriteUpgrade(vma: VmArea): boolean {
  return (vma.flags & VM_SHARED) !== 0 ? vmaWantsWriteNotify(vma) : (vma.flags & VM_WRITE) !== 0;
}

/**
 * Changes what [start, end) of the VMA maps to what the VMA's flags say now; what must be flushed goes to the gather.
 * Needs mmap_lock for writing and the VMA write-locked. Returns the number of ptes changed.
 * @param changeFlags MM_CP_*; by default what mprotect asks for
 */
export function* changeProtection(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  changeFlags = manualWriteUpgrade(vma) ? MM_CP_TRY_CHANGE_WRITABLE : 0,
): Task<number> {
  const { pageTables } = mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(mm);
  const modify: EntryChange = (old, level, entry) => modifyEntry(vma, changeFlags, old, level, entry);
  let changed = 0;
  for (let page = start; page < end; ) {
    const kind = pageTables.pmdKind(root, page);
    if (kind === PmdKind.None) {
      page = endOfHole(pageTables, root, page, end);
      continue;
    }
    const spanEnd = entryEnd(format, page, end, lastLevel - 1);
    if (kind === PmdKind.Huge && isWholeHugePage(pageTables, page, spanEnd)) {
      const pages = yield* changeHugePmd(current, vma, page, gather, modify);
      changed += pages;
      if (pages > 0) page = spanEnd;
      continue;
    }
    if (kind === PmdKind.Huge) {
      yield* splitHugePmd(current, vma, page);
      continue;
    }
    const table = yield* pteOffsetMapLock(current, mm, page);
    if (table === null) continue;
    for (; page < spanEnd; page++) {
      if (yield* changePte(current, vma, table, page, gather, modify)) changed++;
    }
    yield* pteUnmapUnlock(current, table);
  }
  return changed;
}

/** Makes the new entry of a present leaf from the old one: `pte_modify` or `pmd_modify`, and the writable upgrade. */
function modifyEntry(
  vma: VmArea,
  changeFlags: number,
  old: Readonly<Halves>,
  level: number,
  entry: Halves,
): void {
  const { pageTables, arch } = vma.mm.kernel;
  const { format } = pageTables;
  const mask = arch.protectionMask;
  format.change(old.hi, old.lo, level, vmaPageProtection(vma) & mask, mask, entry);
  if ((changeFlags & MM_CP_TRY_CHANGE_WRITABLE) !== 0 && canChangePteWritable(vma, entry, level)) {
    format.change(entry.hi, entry.lo, level, maybeWritable(vma), 0, entry);
  }
}

/** @see `change_pte_range`: one pte; false when there is nothing to change */
function* changePte(
  current: TaskStruct,
  vma: VmArea,
  table: TablePage,
  page: number,
  gather: MmuGather,
  modify: EntryChange,
): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const { format } = pageTables;
  const index = pteIndex(pageTables, page);
  pageTables.read(table, index);
  if (format.isNone(pageTables.hi, pageTables.lo)) return false;
  if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) {
    const type = format.swapTypeOf(pageTables.hi, pageTables.lo);
    if (type === SWP_PTE_MARKER || isSwapType(type)) return false;
    throw new Unsupported('mprotect of swap entries');
  }
  if (inRun(vma.mm.kernel, table, index)) yield* unfoldRun(current, vma.mm, table, page);
  // `ptep_modify_prot_start`: cleared, so that the hardware cannot set a bit that would be lost.
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const { hi, lo } = pageTables;
  const entry: Halves = { hi: 0, lo: 0 };
  modify({ hi, lo }, table.level, entry);
  yield table.setEntry;
  pageTables.setEntry(table, index, entry.hi, entry.lo);
  if (format.needsFlush(hi, lo, entry.hi, entry.lo, table.level)) gather.noteEntry(page, table.level);
  const frame = format.frameOf(entry.hi, entry.lo, table.level);
  if (endsRun(vma.mm.kernel, page, frame)) yield* foldRun(current, vma.mm, table, page, frame);
  return true;
}

/** @see `can_change_pte_writable`, `can_change_pmd_writable` */
function canChangePteWritable(vma: VmArea, entry: Readonly<Halves>, level: number): boolean {
  const { frames, pageTables } = vma.mm.kernel;
  const flags = pageTables.format.flagsOf(entry.hi, entry.lo, level);
  if (entryWritable(flags) || (vma.flags & VM_WRITE) === 0) return false;
  if ((flags & EntryFlag.Protnone) !== 0) return false;
  if ((flags & EntryFlag.UffdWp) !== 0 && (vma.flags & VM_UFFD_WP) !== 0) return false;
  if ((vma.flags & VM_SHARED) !== 0) return (flags & EntryFlag.Dirty) !== 0;
  if ((flags & EntryFlag.Special) !== 0) return false;
  const frame = pageTables.format.frameOf(entry.hi, entry.lo, level);
  const exclusive = FrameFlag.Anon | FrameFlag.AnonExclusive;
  return (frames.flags(frame) & exclusive) === exclusive;
}
