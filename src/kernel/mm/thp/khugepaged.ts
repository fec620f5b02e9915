/**
 * khugepaged: a kernel thread that goes over the address spaces on its list and makes huge pages where the small ones are
 * there and in use; of shared memory, in the page cache.
 * Left out: the time that it sleeps (one call is one wake-up), NUMA, suspending when memory is short.
 * @see Linux mm/khugepaged.c, `khugepaged_do_scan`, `khugepaged_scan_mm_slot`, `collect_mm_slot`
 */
import type { Task } from '../../../base/task.ts';
import { mmapReadLock, mmapReadTrylock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { mmdrop } from '../mm-count.ts';
import { hugePages } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import { collapseHugePage } from './collapse.ts';
import { CollapseControl, type CollapseLimits, type ScanResult } from './collapse-control.ts';
import { collapseFileOf } from './collapse-file-scan.ts';
import { collapsePteMappedThp } from './collapse-pte-mapped.ts';
import { scanPmd } from './collapse-scan.ts';
import type { KhugepagedScan } from './khugepaged-list.ts';
import { thpVmaAllowable } from './policy.ts';

/** The files of /sys/kernel/mm/transparent_hugepage/khugepaged, with Linux's defaults. */
export interface KhugepagedTunables {
  readonly pagesToScan: number;
  readonly maxPtes: CollapseLimits;
}

export const khugepagedDefaults: KhugepagedTunables = {
  pagesToScan: 8 * 512,
  maxPtes: { none: 511, swap: 64, shared: 256 },
};

/**
 * One wake-up: looks at up to `pagesToScan` pages, going on where the last one ended. `current` is a kernel thread.
 * Returns the huge pages made.
 */
export function* khugepagedDoScan(
  current: TaskStruct,
  { pagesToScan, maxPtes }: KhugepagedTunables = khugepagedDefaults,
): Task<number> {
  const scan = current.kernel.khugepaged;
  const control = new CollapseControl(maxPtes);
  const before = scan.pagesCollapsed;
  let passes = 0;
  for (let left = pagesToScan; left > 0 && scan.mms.length > 0 && passes < 2; ) {
    const looked = yield* scanMm(current, scan, control, left);
    left -= looked;
    // Once round, and the mm that it began in the middle of once more.
    if (scan.mm === null && scan.atEnd) passes++;
  }
  return scan.pagesCollapsed - before;
}

/** The next part of the mm that is at turn. Pages looked at, at least 1. @see `khugepaged_scan_mm_slot` */
function* scanMm(
  current: TaskStruct,
  scan: KhugepagedScan,
  control: CollapseControl,
  budget: number,
): Task<number> {
  const mm = scan.mm ?? (scan.mms[scan.next] as MmStruct);
  if (scan.mm === null) scan.page = 0;
  scan.mm = mm;
  let looked = 1;
  let finished = true;
  // Who holds the lock for writing is busy with it; there are others to scan meanwhile.
  if (yield* mmapReadTrylock(current, mm)) {
    const part = yield* scanVmas(current, mm, scan, control, budget);
    looked += part.pages;
    finished = part.finished;
  } else {
    scan.passedOver++;
  }
  if (finished || mm.mmUsers === 0) yield* leaveMm(scan, mm);
  return looked;
}

/** With mmap_lock held for reading; it is let go. */
function* scanVmas(
  current: TaskStruct,
  mm: MmStruct,
  scan: KhugepagedScan,
  control: CollapseControl,
  budget: number,
): Task<{ readonly pages: number; readonly finished: boolean }> {
  const step = hugePages(current.kernel.pageTables);
  let pages = 0;
  while (mm.mmUsers > 0) {
    const vma = nextVma(mm, scan, step);
    if (vma === null) break;
    pages += step;
    const { page } = scan;
    scan.page += step;
    if (!vma.anonymous) {
      if ((yield* scanFile(current, vma, page, control)) === 'succeed') scan.pagesCollapsed++;
      return { pages, finished: false };
    }
    const result = yield* scanPmd(current, vma, page, control);
    if (result === 'succeed') {
      // Its locks are taken anew: the VMAs may be others then.
      const made = yield* collapseHugePage(current, mm, page, control.swap, control);
      if (made === 'succeed') scan.pagesCollapsed++;
      return { pages, finished: false };
    }
    if (pages >= budget) {
      yield* mmapReadUnlock(current, mm);
      return { pages, finished: false };
    }
  }
  yield* mmapReadUnlock(current, mm);
  return { pages, finished: true };
}

/**
 * The huge page at `page` of a VMA of shared memory. mmap_lock, held for reading, is let go. Where the page cache has one
 * already, this address space is only made ready to map it by a pmd.
 */
function* scanFile(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  control: CollapseControl,
): Task<ScanResult> {
  const { mm } = vma;
  const result = yield* collapseFileOf(current, vma, page, control);
  if (result !== 'pte-mapped-hugepage') return result;
  yield* mmapReadLock(current, mm);
  const mapped = mm.mmUsers === 0 ? 'any-process' : yield* collapsePteMappedThp(current, mm, page, false);
  yield* mmapReadUnlock(current, mm);
  return mapped === 'pmd-mapped' ? 'succeed' : mapped;
}

/** The VMA at or above `scan.page` that holds a whole huge page and may have it; moves `scan.page` there. */
function nextVma(mm: MmStruct, scan: KhugepagedScan, step: number): VmArea | null {
  for (let vma = mm.vmas.find(scan.page); vma !== null; vma = mm.vmas.find(scan.page)) {
    const first = Math.ceil(vma.start / step) * step;
    const end = vma.end - (vma.end % step);
    if (thpVmaAllowable(vma, 'khugepaged') && Math.max(first, scan.page) < end) {
      scan.page = Math.max(first, scan.page);
      return vma;
    }
    scan.page = vma.end;
  }
  return null;
}

/** The scan goes on with the next mm; one that is gone leaves the list. @see `collect_mm_slot` */
function* leaveMm(scan: KhugepagedScan, mm: MmStruct): Task<void> {
  scan.mm = null;
  const at = scan.mms.indexOf(mm);
  if (mm.mmUsers === 0) {
    scan.mms.splice(at, 1);
    yield* mmdrop(mm);
  } else {
    scan.next = at + 1;
  }
  scan.atEnd = scan.next >= scan.mms.length;
  if (scan.atEnd) {
    scan.next = 0;
    scan.fullScans++;
  }
}
