/**
 * Giving the present pages of a range the protection of their VMA's flags: the page-table half of mprotect.
 * Left out: migration entries.
 * @see Linux mm/mprotect.c, `change_protection`, `change_pte_range`, `can_change_pte_writable`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { ENOMEM } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  MM_CP_PROT_NUMA,
  MM_CP_TRY_CHANGE_WRITABLE,
  MM_CP_UFFD_WP,
  MM_CP_UFFD_WP_RESOLVE,
} from './change-flags.ts';
import { endsRun, foldRun, inRun, unfoldRun } from './contiguous-ptes.ts';
import { HugeWp, hugetlbChangeProtection } from './hugetlb/change-protection.ts';
import type { MmStruct } from './mm.ts';
import type { MmuGather } from './mmu-gather.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { canMapProtNuma } from './numa-hint.ts';
import { endOfHole, entryEnd, isWholeHugePage, PmdKind, pteIndex, type TablePage } from './page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable } from './page-table-alloc.ts';
import { flushTlbBatchedPending } from './reclaim/tlb-batch.ts';
import { changeHugePmd, type EntryChange, type EntryFilter, LEFT_ALONE } from './thp/change-huge-pmd.ts';
import { splitHugePmd } from './thp/split-pmd.ts';
import { changeUffdWpOfAbsent } from './userfaultfd/change-absent.ts';
import { userfaultfdWpUseMarkers } from './userfaultfd/context.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB, VM_SHARED, VM_UFFD_WP, VM_WRITE } from './vma-flags.ts';
import { entryWritable, maybeWritable, vmaPageProtection, vmaWantsWriteNotify } from './vma-protection.ts';

/**
 * Must each pte be looked at before it is made writable? A private one may have to be copied first.
 * @see mm/internal.h, `vma_wants_manual_pte_write_upgrade`
 */
export function manualWriteUpgrade(vma: VmArea): boolean {
  return (vma.flags & VM_SHARED) !== 0 ? vmaWantsWriteNotify(vma) : (vma.flags & VM_WRITE) !== 0;
}

/**
 * Changes what [start, end) of the VMA maps to what the VMA's flags say now; what must be flushed goes to the gather.
 * Needs mmap_lock for writing and the VMA write-locked. Returns the number of ptes changed, or -ENOMEM (of
 * MM_CP_UFFD_WP alone).
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
  if ((vma.flags & VM_HUGETLB) !== 0)
    return yield* hugetlbChangeProtection(current, vma, start, end, gather, hugeWpOf(changeFlags));
  const { pageTables } = mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(mm);
  const change = new RangeChange(current, vma, gather, changeFlags);
  const told = mmuNotifierRange(mm, start, end, 'protection-vma');
  yield* mmuNotifierStart(current, told);
  let error = 0;
  for (let page = start; page < end; ) {
    const kind = pageTables.pmdKind(root, page);
    if (kind === PmdKind.None && !change.marksAbsent) {
      page = endOfHole(pageTables, root, page, end);
      continue;
    }
    const spanEnd = entryEnd(format, page, end, lastLevel - 1);
    const next = yield* change.span(kind, page, spanEnd);
    if (next < 0) {
      error = next;
      break;
    }
    page = next;
  }
  yield* mmuNotifierEnd(current, told);
  return error !== 0 ? error : change.changed;
}

function hugeWpOf(changeFlags: number): HugeWp {
  if ((changeFlags & MM_CP_UFFD_WP) !== 0) return HugeWp.Protect;
  return (changeFlags & MM_CP_UFFD_WP_RESOLVE) !== 0 ? HugeWp.Resolve : HugeWp.Keep;
}

/** One call of `changeProtection`. */
class RangeChange {
  changed = 0;
  /** Absent pages get a marker, for which there must be a table. */
  readonly marksAbsent: boolean;
  readonly #current: TaskStruct;
  readonly #vma: VmArea;
  readonly #gather: MmuGather;
  readonly #flags: number;
  readonly #modify: EntryChange;
  readonly #skips: EntryFilter | null;

  constructor(current: TaskStruct, vma: VmArea, gather: MmuGather, flags: number) {
    this.#current = current;
    this.#vma = vma;
    this.#gather = gather;
    this.#flags = flags;
    this.#modify = (old, level, entry) => modifyEntry(vma, flags, old, level, entry);
    const marks = (flags & MM_CP_PROT_NUMA) !== 0;
    this.#skips = marks ? (entry, frame) => !canMapProtNuma(vma, entry, frame) : null;
    this.marksAbsent = (flags & MM_CP_UFFD_WP) !== 0 && userfaultfdWpUseMarkers(vma);
  }

  /** What one pmd covers of the range: the page to go on with, `page` to look again, or -ENOMEM. */
  *span(kind: PmdKind, page: number, end: number): Task<number> {
    const { mm } = this.#vma;
    if (kind === PmdKind.Huge) return yield* this.#hugePmd(page, end);
    if (kind === PmdKind.None && (yield* pteAlloc(this.#current, mm, page)) === null) return -ENOMEM;
    const table = yield* pteOffsetMapLock(this.#current, mm, page);
    if (table === null) return page;
    yield* flushTlbBatchedPending(this.#current, mm);
    for (let at = page; at < end; at++) {
      if (yield* changePte(this.#current, this.#vma, table, at, this.#gather, this.#modify, this.#flags)) {
        this.changed++;
      }
    }
    yield* pteUnmapUnlock(this.#current, table);
    return end;
  }

  *#hugePmd(page: number, end: number): Task<number> {
    const vma = this.#vma;
    if (!isWholeHugePage(vma.mm.kernel.pageTables, page, end)) {
      yield* splitHugePmd(this.#current, vma, page);
      return page;
    }
    const pages = yield* changeHugePmd(this.#current, vma, page, this.#gather, this.#modify, this.#skips);
    if (pages === LEFT_ALONE) return end;
    this.changed += pages;
    return pages > 0 ? end : page;
  }
}

/** What `pte_mkuffd_wp` takes away. */
const UFFD_WP_CLEARS = EntryFlag.Write | EntryFlag.ShadowStack;

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
  const marks = (changeFlags & MM_CP_PROT_NUMA) !== 0;
  const protection = marks ? arch.pageProtection(0, 0) : vmaPageProtection(vma);
  format.change(old.hi, old.lo, level, protection & mask, mask, entry);
  if ((changeFlags & MM_CP_UFFD_WP) !== 0) {
    format.change(entry.hi, entry.lo, level, EntryFlag.UffdWp, UFFD_WP_CLEARS, entry);
  } else if ((changeFlags & MM_CP_UFFD_WP_RESOLVE) !== 0) {
    format.change(entry.hi, entry.lo, level, 0, EntryFlag.UffdWp, entry);
  }
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
  changeFlags: number,
): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const { format } = pageTables;
  const index = pteIndex(pageTables, page);
  pageTables.read(table, index);
  if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) {
    return yield* changeUffdWpOfAbsent(vma, table, index, changeFlags);
  }
  if ((changeFlags & MM_CP_PROT_NUMA) !== 0) {
    const flags = pageTables.flags(table.level);
    if (!canMapProtNuma(vma, flags, pageTables.frame(table.level))) return false;
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

/** May a leaf be made writable without a fault? @see `can_change_pte_writable`, `can_change_pmd_writable` */
export function canChangePteWritable(vma: VmArea, entry: Readonly<Halves>, level: number): boolean {
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
