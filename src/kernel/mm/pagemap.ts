/**
 * What /proc/pid/pagemap, /proc/kpagecount and /proc/kpageflags together say of each page of a process, as runs of
 * pages that look the same. A snapshot, read without locks.
 * Left out: soft-dirty, swap offsets (a swap-type entry is one of `swap`, `guard`).
 * @see Linux fs/proc/task_mmu.c, `pte_to_pagemap_entry`; Documentation/admin-guide/mm/pagemap.rst
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { deviceExclusiveFrameRead } from './device-exclusive-entry.ts';
import { hugetlbViews } from './hugetlb/views.ts';
import type { MmStruct } from './mm.ts';
import { endOfHole, entryEnd, hugePages, PmdKind, pteIndex } from './page-table.ts';
import { rootTable } from './page-table-alloc.ts';
import { isSwapType, PTE_MARKER_GUARD, PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from './swap-entry.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB, VM_PFNMAP } from './vma-flags.ts';

/** One page as its pte says. A page whose pte is none has no such view. */
export interface PageView {
  readonly page: number;
  /** Pages from this one on that look the same: more than one where they are those of one huge page of hugetlb. */
  readonly count: number;
  /** Bit 63: a page is there. */
  readonly present: boolean;
  /** Bit 62: a swap-type entry: swapped out, or a marker. */
  readonly swap: boolean;
  /** A page that lies in swap, not a marker. */
  readonly swapped: boolean;
  /** Bit 61: a page of a file or of shared memory. */
  readonly file: boolean;
  /** Bit 56: this is the only entry that maps the page. Not said of the zero page. */
  readonly exclusive: boolean;
  /** Bit 57: write-protected for userfaultfd, or a marker of that. */
  readonly uffdWp: boolean;
  /** Bit 58: a guard marker. */
  readonly guard: boolean;
  /** The shared zero page, or one of the huge zero folio. */
  readonly zero: boolean;
  /** Memory without a page of the kernel's: a device's. Nothing is known of it but that it is there. */
  readonly special: boolean;
  /** A page of a transparent huge page, however it is mapped. */
  readonly huge: boolean;
  /** A page of a pool of huge pages (hugetlb). */
  readonly hugetlb: boolean;
  /** Entries that map the page; 0 for the zero page and for swap-type entries. */
  readonly mapcount: number;
  /** The frame; of swap-type entries only where a device has the page for itself, else -1. */
  readonly frame: number;
}

/** Pages in a row that look the same. */
export interface PageRun {
  readonly start: number;
  readonly count: number;
  /**
   * `P` present, `S` swap-type, `F` file, `X` exclusive, `W` write-protected, `G` guard, `Z` zero page, `H` transparent
   * huge page, `T` hugetlb, `mN` mapped by N > 1 entries; in this order.
   */
  readonly flags: string;
}

function presentView(mm: MmStruct, page: number, flags: number, frame: number): PageView {
  const { frames } = mm.kernel;
  const zero = frames.isZeroFrame(frame);
  const special = !zero && (flags & EntryFlag.Special) !== 0;
  const counted = !zero && !special;
  const mapcount = counted ? frames.mapcount(frame) : 0;
  return {
    page,
    count: 1,
    present: true,
    swap: false,
    swapped: false,
    file: counted && !frames.hasFlag(frame, FrameFlag.Anon),
    exclusive: mapcount === 1,
    uffdWp: (flags & EntryFlag.UffdWp) !== 0,
    guard: false,
    zero,
    special,
    huge: frames.isHugeZero(frame) || (counted && frames.isLarge(frame)),
    hugetlb: false,
    mapcount,
    frame,
  };
}

/**
 * The pages of one pmd that maps a huge page. Whether they are exclusive is asked of the first only.
 * @see `pagemap_pmd_range_thp`
 */
function* hugeViews(mm: MmStruct, start: number, end: number): Generator<PageView, void, void> {
  const { frames, pageTables } = mm.kernel;
  const level = pageTables.lastLevel - 1;
  const flags = pageTables.flags(level);
  const head = pageTables.frame(level);
  const zero = frames.isHugeZero(head);
  const exclusive = !zero && frames.mapcount(head) === 1;
  const first = start - (start % hugePages(pageTables));
  for (let page = start; page < end; page++) {
    const view = presentView(mm, page, flags, head + (page - first));
    yield { ...view, exclusive, file: zero || view.file };
  }
}

function swapView(mm: MmStruct, page: number, flags: number): PageView {
  const { pageTables } = mm.kernel;
  const { format, hi, lo } = pageTables;
  const type = format.swapTypeOf(hi, lo);
  const marker = type === SWP_PTE_MARKER ? format.swapOffsetOf(hi, lo) : 0;
  return {
    page,
    count: 1,
    present: false,
    swap: true,
    swapped: isSwapType(type),
    file: false,
    exclusive: false,
    uffdWp: (flags & EntryFlag.UffdWp) !== 0 || (marker & PTE_MARKER_UFFD_WP) !== 0,
    guard: (marker & PTE_MARKER_GUARD) !== 0,
    zero: false,
    special: false,
    huge: false,
    hugetlb: false,
    mapcount: 0,
    frame: deviceExclusiveFrameRead(pageTables, pageTables.lastLevel),
  };
}

/** Every page of [start, end) of the VMA that its tables say something of, ascending; page numbers. */
export function vmaPageViews(vma: VmArea, start: number, end: number): Generator<PageView, void, void> {
  return (vma.flags & VM_HUGETLB) !== 0 ? hugetlbPageViews(vma, start, end) : pageViews(vma.mm, start, end);
}

function* hugetlbPageViews(vma: VmArea, start: number, end: number): Generator<PageView, void, void> {
  if (vma.mm.pgd === -1) return;
  for (const view of hugetlbViews(vma, start, end)) {
    const { start: page, end: viewEnd, present, file, exclusive, uffdWp, mapcount, frame } = view;
    const never = { swap: false, swapped: false, guard: false, zero: false, special: false, huge: false };
    const count = viewEnd - page;
    yield { ...never, page, count, present, file, exclusive, uffdWp, hugetlb: present, mapcount, frame };
  }
}

function* pageViews(mm: MmStruct, start: number, end: number): Generator<PageView, void, void> {
  if (mm.pgd === -1) return;
  const { pageTables } = mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(mm);
  for (let page = start; page < end; ) {
    const table = pageTables.lookup(root, page, lastLevel);
    if (table === null && pageTables.pmdKind(root, page) === PmdKind.Huge) {
      const hugeEnd = entryEnd(format, page, end, lastLevel - 1);
      yield* hugeViews(mm, page, hugeEnd);
      page = hugeEnd;
      continue;
    }
    if (table === null) {
      page = endOfHole(pageTables, root, page, end);
      continue;
    }
    pageTables.read(table, pteIndex(pageTables, page));
    const flags = pageTables.flags(lastLevel);
    if ((flags & EntryFlag.Present) !== 0) yield presentView(mm, page, flags, pageTables.frame(lastLevel));
    else if ((flags & EntryFlag.Swap) !== 0) yield swapView(mm, page, flags);
    page++;
  }
}

/** The letters of one page. */
function pageFlagText(view: PageView): string {
  const letters: readonly (readonly [boolean, string])[] = [
    [view.present, 'P'],
    [view.swap, 'S'],
    [view.file, 'F'],
    [view.exclusive, 'X'],
    [view.uffdWp, 'W'],
    [view.guard, 'G'],
    [view.zero, 'Z'],
    [view.huge, 'H'],
    [view.hugetlb, 'T'],
    [view.mapcount > 1, `m${view.mapcount}`],
  ];
  return letters.map(([set, letter]) => (set ? letter : '')).join('');
}

/**
 * The pages of the VMAs inside [start, end) as runs, ascending. A run may go over the end of a VMA. Of a VM_PFNMAP mapping
 * pagemap says nothing at all, not even of private copies. @see mm/pagewalk.c, `walk_page_test`
 */
export function pageRuns(mm: MmStruct, start: number, end: number): PageRun[] {
  const runs: PageRun[] = [];
  for (const vma of mm.vmas.inRange(start, end)) {
    if ((vma.flags & VM_PFNMAP) !== 0) continue;
    for (const view of vmaPageViews(vma, Math.max(vma.start, start), Math.min(vma.end, end))) {
      const flags = pageFlagText(view);
      const last = runs.at(-1);
      if (last !== undefined && last.flags === flags && last.start + last.count === view.page) {
        runs[runs.length - 1] = { ...last, count: last.count + view.count };
      } else {
        runs.push({ start: view.page, count: view.count, flags });
      }
    }
  }
  return runs;
}
