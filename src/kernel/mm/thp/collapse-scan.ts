/**
 * Would the ptes of one table make a huge page? A first look, under mmap_lock for reading and the table's lock; what it
 * says may no longer hold when the collapse begins, which looks again.
 * Left out: NUMA nodes, soft-dirty.
 * @see Linux mm/khugepaged.c, `hpage_collapse_scan_pmd`, `find_pmd_or_thp_or_none`, `hugepage_vma_revalidate`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { hugePages, PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../page-table-alloc.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_MISSING, VM_UFFD_WP, VMH_UFFD_MINOR } from '../vma-flags.ts';
import type { CollapseControl, ScanResult } from './collapse-control.ts';
import { thpVmaAllowable, thpVmaSuitable } from './policy.ts';

/** `userfaultfd_armed`. */
export function isUserfaultfdArmed(vma: VmArea): boolean {
  return (vma.flags & (VM_UFFD_MISSING | VM_UFFD_WP)) !== 0 || (vma.flagsHigh & VMH_UFFD_MINOR) !== 0;
}

/** 'succeed' for a table of ptes. */
export function findPmdOrThpOrNone(mm: MmStruct, start: number): ScanResult {
  const kind = mm.pgd === -1 ? PmdKind.None : mm.kernel.pageTables.pmdKind(rootTable(mm), start);
  if (kind === PmdKind.Table) return 'succeed';
  return kind === PmdKind.Huge ? 'pmd-mapped' : 'pmd-null';
}

/**
 * What mmap_lock did not protect for a while: the VMA at `start`, or why it will not do.
 * @param expectAnon it must have anonymous pages
 */
export function revalidateVma(
  mm: MmStruct,
  start: number,
  control: CollapseControl,
  expectAnon = true,
): VmArea | ScanResult {
  if (mm.mmUsers === 0) return 'any-process';
  const vma = mm.vmas.find(start);
  if (vma === null || vma.start > start) return 'vma-null';
  if (!thpVmaSuitable(vma, start)) return 'address-range';
  if (!thpVmaAllowable(vma, control.isKhugepaged ? 'khugepaged' : 'forced-collapse')) return 'vma-check';
  return expectAnon && (vma.anonVma === null || !vma.anonymous) ? 'page-anon' : vma;
}

/**
 * Looks at every pte of the huge page at `start`, which lies in the VMA. Needs mmap_lock. 'succeed': worth a collapse,
 * with `control.swap` pages to read in before.
 */
export function* scanPmd(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  control: CollapseControl,
): Task<ScanResult> {
  const { mm } = vma;
  control.restart();
  const found = findPmdOrThpOrNone(mm, start);
  if (found !== 'succeed') return found;
  const table = yield* pteOffsetMapLock(current, mm, start);
  if (table === null) return 'pmd-null';
  let result: ScanResult | null = null;
  for (let page = start; page < start + hugePages(mm.kernel.pageTables) && result === null; page++) {
    result = scanPte(vma, table, page, control);
  }
  yield* pteUnmapUnlock(current, table);
  return result ?? judge(control, hugePages(mm.kernel.pageTables));
}

/** khugepaged wants pages that are in use, and more of them where some must be read from swap. */
function judge(control: CollapseControl, pages: number): ScanResult {
  if (!control.isKhugepaged) return 'succeed';
  const { referenced, swap } = control;
  return referenced === 0 || (swap > 0 && referenced < pages / 2) ? 'lack-referenced-page' : 'succeed';
}

function scanPte(vma: VmArea, table: TablePage, page: number, control: CollapseControl): ScanResult | null {
  const { frames, pageTables } = vma.mm.kernel;
  pageTables.read(table, pteIndex(pageTables, page));
  const flags = pageTables.flags(table.level);
  if ((flags & EntryFlag.Swap) !== 0) {
    return control.addSwap() ?? ((flags & EntryFlag.UffdWp) !== 0 ? 'pte-uffd-wp' : null);
  }
  const frame = pageTables.frame(table.level);
  const verdict = judgePte(vma, flags, frame, control);
  if (verdict !== 'page') return verdict === 'none' ? null : verdict;
  if (!frames.hasFlag(frame, FrameFlag.Lru)) return 'page-lru';
  if (frames.hasFlag(frame, FrameFlag.Locked)) return 'page-lock';
  return frames.refcount(frame) === expectedReferences(frames, frame) ? null : 'page-count';
}

/** What both looks ask of a pte that is no swap entry: 'page' for one to copy, 'none' for one to fill with zeros. */
export function judgePte(
  vma: VmArea,
  flags: number,
  frame: number,
  control: CollapseControl,
): ScanResult | 'page' | 'none' {
  const { frames } = vma.mm.kernel;
  const present = (flags & EntryFlag.Present) !== 0;
  if (!present || frame === frames.zeroFrame) return control.addNone(isUserfaultfdArmed(vma)) ?? 'none';
  if ((flags & EntryFlag.UffdWp) !== 0) return 'pte-uffd-wp';
  if ((flags & EntryFlag.Special) !== 0) return 'page-null';
  if (!frames.hasFlag(frame, FrameFlag.Anon)) return 'page-anon';
  if (frames.maybeMappedShared(frame)) {
    const shared = control.addShared();
    if (shared !== null) return shared;
  }
  const used = (flags & EntryFlag.Young) !== 0 || frames.hasFlag(frame, FrameFlag.Referenced);
  if (used) control.referenced++;
  return 'page';
}

/** References that ptes and the swap cache explain (`folio_expected_ref_count`). */
export function expectedReferences(frames: FrameTable, frame: number): number {
  const cached = frames.hasFlag(frame, FrameFlag.SwapCache) ? 1 : 0;
  return frames.folioMapcount(frame) + cached;
}
