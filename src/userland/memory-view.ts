/** What assertions see of pages: the leaf that maps an address, whatever its size, and pools and swap of the machine. */
import { EntryFlag, pagesPerEntry, tableIndex } from '../arch/paging-format.ts';
import { FrameFlag } from '../kernel/frame/frame-flags.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { MmStruct } from '../kernel/mm/mm.ts';

/** A page that a page table maps. */
export interface PageView {
  /** The frame of the 4 KiB around the address, also inside a huge page. */
  readonly frame: number;
  /** What the entry maps: 4096, or more for a huge page (2 MiB, 1 GiB). */
  readonly pageBytes: number;
  readonly writable: boolean;
  readonly dirty: boolean;
  readonly accessed: boolean;
  /** The shared zero page, or the huge one. */
  readonly zero: boolean;
  /** Anonymous, and certain to be this process' alone. */
  readonly exclusive: boolean;
  /** Of a transparent huge page, however it is mapped. */
  readonly huge: boolean;
  /** Of a pool of huge pages. */
  readonly hugetlb: boolean;
  /** Write-protected for a userfaultfd. */
  readonly uffdWriteProtected: boolean;
  /** Page-table entries that map the frame. */
  readonly mapcount: number;
  /** References of the folio: of the huge page as a whole. */
  readonly refcount: number;
  /** Somebody may have pinned it (FOLL_PIN). */
  readonly pinned: boolean;
  /** The part of memory it lies in (`movable`, `cma` of the scenario); null for memory of a device. */
  readonly zone: 'normal' | 'cma' | 'movable' | null;
}

/** The page mapped at `page`, `undefined` when none is. */
export function pageView({ frames, pageTables }: Kernel, mm: MmStruct, page: number): PageView | undefined {
  const level = leafLevel(pageTables, mm, page);
  if (level < 0) return undefined;
  const flags = pageTables.flags(level);
  if ((flags & EntryFlag.Present) === 0) return undefined;
  const first = pageTables.frame(level);
  const pages = pagesPerEntry(pageTables.format, level);
  const frame = first + (page % pages);
  const zero = frames.isZeroFrame(frame);
  // Memory of a device has no page of the kernel's that could say anything.
  const counted = !zero && (flags & EntryFlag.Special) === 0;
  const hugetlb = counted && frames.hasFlag(frame, FrameFlag.Hugetlb);
  return {
    frame,
    pageBytes: pages * 4096,
    writable: (flags & EntryFlag.Write) !== 0,
    dirty: (flags & EntryFlag.Dirty) !== 0,
    accessed: (flags & EntryFlag.Young) !== 0,
    zero,
    // Of a huge page that one entry maps, the first frame says it for all.
    exclusive: counted && frames.hasFlag(pages > 1 ? first : frame, FrameFlag.AnonExclusive),
    huge: frames.isHugeZero(frame) || (counted && !hugetlb && frames.isLarge(frame)),
    hugetlb,
    uffdWriteProtected: (flags & EntryFlag.UffdWp) !== 0,
    mapcount: counted ? (hugetlb ? frames.folioMapcount(frame) : frames.mapcount(frame)) : 0,
    refcount: counted ? frames.refcount(frame) : 0,
    pinned: counted && frames.maybeDmaPinned(frame),
    zone: counted || zero ? frames.zoneOf(frame) : null,
  };
}

/** The level of the leaf that covers the page, which is then the entry read last; -1 when a walk ends at nothing. */
function leafLevel(pageTables: Kernel['pageTables'], mm: MmStruct, page: number): number {
  if (mm.pgd < 0) return -1;
  const { format } = pageTables;
  let table = pageTables.tableAt(mm.pgd);
  for (;;) {
    pageTables.read(table, tableIndex(format, page, table.level));
    const { hi, lo } = pageTables;
    if (format.isNone(hi, lo)) return -1;
    if (table.level === pageTables.lastLevel || !format.isTable(hi, lo, table.level)) return table.level;
    table = pageTables.tableAt(format.frameOf(hi, lo, table.level));
  }
}

/** A pool of huge pages, as /sys/kernel/mm/hugepages counts it, in pages of its size. */
export interface HugePagePoolView {
  readonly total: number;
  readonly free: number;
  /** Free, and promised to a mapping. */
  readonly reserved: number;
}

export const HUGE_PAGE_SHIFTS = { '2MiB': 21, '1GiB': 30 } as const;

export function hugePagePool({ hugetlb }: Kernel, size: keyof typeof HUGE_PAGE_SHIFTS): HugePagePoolView {
  const pool = hugetlb.ofShift(HUGE_PAGE_SHIFTS[size]);
  const { nrHugePages = 0, freeHugePages = 0, resvHugePages = 0 } = pool ?? {};
  return { total: nrHugePages, free: freeHugePages, reserved: resvHugePages };
}

/** The swap area, in pages; all 0 without one. */
export interface SwapView {
  readonly total: number;
  readonly free: number;
  /** Frames that hold a page which also has its slot. */
  readonly cached: number;
}

export function swapView({ swap }: Kernel): SwapView {
  return { total: swap?.slotCount ?? 0, free: swap?.freeSlots ?? 0, cached: swap?.cachedFrames ?? 0 };
}
