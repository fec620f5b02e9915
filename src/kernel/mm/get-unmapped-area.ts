/**
 * Where a mapping goes: the address asked for, if it is free and keeps the guard gaps of stacks, else the highest free
 * range below mmap_base, else the lowest one above the bottom-up base. Page numbers; errors are negative errnos.
 * Left out: shadow-stack guard gaps, MAP_32BIT and MAP_ABOVE4G.
 * @see Linux mm/mmap.c, `__get_unmapped_area`, `vm_unmapped_area`; arch/x86/kernel/sys_x86_64.c;
 * arch/arm64/include/asm/processor.h, `arch_get_mmap_end`, `arch_get_mmap_base`;
 * mm/huge_memory.c, `thp_get_unmapped_area_vmflags`
 */
import { EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { CAP_SYS_RAWIO } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { MAP_FIXED } from './mman.ts';
import { vmStartGap } from './vma.ts';

/** What decides the place. Pages. */
export interface PlacementRequest {
  readonly mm: MmStruct;
  /** Byte address asked for; 0 for none. A hint is page aligned already. */
  readonly address: bigint;
  readonly pages: number;
  /** MAP_* flags. */
  readonly flags: number;
  /** Private anonymous memory, which is aligned for huge pages when its size is a multiple of theirs. */
  readonly alignForHugePages: boolean;
  /** Offset into the object, in pages: the place of its parts among huge pages, which the mapping keeps; 0 by default. */
  readonly pgoff?: number;
  /** A file of huge pages: small pages of one of them; 0 (the default) for any other. */
  readonly hugetlbPages?: number;
}

/** Pages of a transparent huge page (`HPAGE_PMD_NR`): 512 on every format with 4 KiB pages. */
const HUGE_PAGE_PAGES = 512;

/** Page 0 is never given out (`info.low_limit = PAGE_SIZE`). */
const LOWEST_PAGE = 1;

/**
 * Highest free range, keeping the gap below stacks: a range that ends inside the guard gap of the VMA above moves below
 * the gap. -1 when there is none.
 * @see mm/vma.c, `unmapped_area_topdown`
 */
function unmappedAreaTopDown(mm: MmStruct, pages: number, low: number, high: number, align: number): number {
  const gapPages = mm.kernel.config.stackGuardGapPages;
  let limit = high;
  for (;;) {
    // Room for one page less than the alignment more, so that an aligned place is in it.
    const room = mm.vmas.findGapTopDown(pages + align - 1, low, limit);
    if (room === -1) return -1;
    const last = room + align - 1;
    const start = last - (last % align);
    const above = mm.vmas.find(start);
    if (above === null) return start;
    const guardStart = vmStartGap(above, gapPages);
    if (guardStart >= start + pages) return start;
    limit = guardStart;
  }
}

/** @see mm/vma.c, `unmapped_area` */
function unmappedAreaBottomUp(mm: MmStruct, pages: number, low: number, high: number, align: number): number {
  const gapPages = mm.kernel.config.stackGuardGapPages;
  let from = low;
  for (;;) {
    const room = mm.vmas.findGapBottomUp(pages + align - 1, from, high);
    if (room === -1) return -1;
    const start = Math.ceil(room / align) * align;
    const above = mm.vmas.find(start);
    if (above === null || vmStartGap(above, gapPages) >= start + pages) return start;
    from = above.end;
  }
}

/**
 * How far up a mapping may go that asks for this address: beyond the window only one that asks for an address there, as
 * programs may use the bits above for themselves.
 */
function mmapEnd(mm: MmStruct, hint: number): number {
  const { mapWindowPages } = mm.kernel.arch;
  return hint > mapWindowPages ? mm.taskSizePages : Math.min(mapWindowPages, mm.taskSizePages);
}

/** Is the range free, and outside the guard gap of the stack above? */
function hintFits(mm: MmStruct, start: number, pages: number): boolean {
  if (start < mm.kernel.config.mmapMinPage || start + pages > mmapEnd(mm, start)) return false;
  const above = mm.vmas.find(start);
  return above === null || start + pages <= vmStartGap(above, mm.kernel.config.stackGuardGapPages);
}

/** @see arch/x86/kernel/sys_x86_64.c, `arch_get_unmapped_area_topdown`; mm/mmap.c has the generic twin */
function getUnmappedAreaTopDown(mm: MmStruct, hint: number, pages: number, align = 1): number {
  const end = mmapEnd(mm, hint);
  if (pages > end) return -ENOMEM;
  if (hint !== 0 && hintFits(mm, hint, pages)) return hint;
  const window = mmapEnd(mm, 0);
  const found = unmappedAreaTopDown(mm, pages, LOWEST_PAGE, mm.mmapBasePage + end - window, align);
  if (found !== -1) return found;
  const bottomUpBase = Math.floor(window / 3);
  const second = unmappedAreaBottomUp(mm, pages, bottomUpBase, end, align);
  return second === -1 ? -ENOMEM : second;
}

/**
 * A place where offsets that are multiples of a huge page come to lie on addresses that are: room for one more of them is
 * looked for and the fitting part of it taken, at its upper end when the room fits as it is. 0 when there is no such
 * room, or no whole huge page between the offsets.
 * @see mm/huge_memory.c, `__thp_get_unmapped_area`
 */
function hugePageAlignedArea(mm: MmStruct, pages: number, pgoff: number): number {
  const firstWhole = Math.ceil(pgoff / HUGE_PAGE_PAGES) * HUGE_PAGE_PAGES;
  if (pgoff + pages - firstWhole < HUGE_PAGE_PAGES) return 0;
  const found = getUnmappedAreaTopDown(mm, 0, pages + HUGE_PAGE_PAGES);
  if (found < 0) return 0;
  const beyond = (pgoff + HUGE_PAGE_PAGES - (found % HUGE_PAGE_PAGES)) % HUGE_PAGE_PAGES;
  return beyond === 0 ? found + HUGE_PAGE_PAGES : found + beyond;
}

function findPlace(request: PlacementRequest): number {
  const { mm, pages, hugetlbPages = 0 } = request;
  const hint = Number(request.address >> 12n);
  if (hugetlbPages !== 0) {
    const alignedHint = Math.ceil(hint / hugetlbPages) * hugetlbPages;
    return getUnmappedAreaTopDown(mm, alignedHint, pages, hugetlbPages);
  }
  if (request.alignForHugePages && hint === 0 && pages % HUGE_PAGE_PAGES === 0) {
    const aligned = hugePageAlignedArea(mm, pages, request.pgoff ?? 0);
    if (aligned !== 0) return aligned;
  }
  return getUnmappedAreaTopDown(mm, hint, pages);
}

/**
 * The first page of the new mapping, or -ENOMEM (no room, or beyond user space), -EINVAL (MAP_FIXED not page aligned),
 * -EPERM (below mmap_min_addr without CAP_SYS_RAWIO). MAP_FIXED takes the address as it is, whatever is mapped there.
 * @see mm/mmap.c, `__get_unmapped_area`; security/commoncap.c, `cap_mmap_addr`
 */
export function getUnmappedArea(current: TaskStruct, request: PlacementRequest): number {
  const { mm, pages, address, hugetlbPages = 0 } = request;
  if (pages > mm.taskSizePages) return -ENOMEM;
  const fixed = (request.flags & MAP_FIXED) !== 0;
  // A file of huge pages is asked first. @see fs/hugetlbfs/inode.c, `hugetlb_get_unmapped_area`
  if (fixed && hugetlbPages !== 0 && address % (BigInt(hugetlbPages) << 12n) !== 0n) return -EINVAL;
  if (fixed && address > BigInt(mm.taskSizePages - pages) << 12n) return -ENOMEM;
  if (fixed && (address & 0xfffn) !== 0n) return -EINVAL;
  const page = fixed ? Number(address >> 12n) : findPlace(request);
  if (page < 0) return page;
  if (page < mm.kernel.config.mmapMinPage && !current.capable(CAP_SYS_RAWIO)) return -EPERM;
  return page;
}
