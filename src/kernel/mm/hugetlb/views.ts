/**
 * Huge pages as /proc/pid/pagemap shows them: every small page of one as the whole is.
 * @see Linux fs/proc/task_mmu.c, `pagemap_hugetlb_range`, `smaps_hugetlb_range`
 */
import { EntryFlag, pagesPerEntry } from '../../../arch/paging-format.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { hugeEntryIndex, hugetlbWalk } from './huge-walk.ts';
import { hstateOfVma } from './hugetlb-vma.ts';

/** One huge page: its small pages all look the same. */
export interface HugeView {
  /** First small page inside the range asked for, and the page after the last. */
  readonly start: number;
  readonly end: number;
  readonly present: boolean;
  readonly file: boolean;
  readonly exclusive: boolean;
  readonly uffdWp: boolean;
  readonly mapcount: number;
  /** Frame of `start`; -1 for a marker. */
  readonly frame: number;
}

/** What [start, end) of the VMA has in its tables, ascending. */
export function* hugetlbViews(vma: VmArea, start: number, end: number): Generator<HugeView, void, void> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const { pages, level } = hstateOfVma(vma);
  const span = pagesPerEntry(pageTables.format, level - 1);
  for (let page = start - (start % pages); page < end; ) {
    const table = hugetlbWalk(mm, vma, page);
    if (table === null) {
      page += span - (page % span);
      continue;
    }
    pageTables.read(table, hugeEntryIndex(mm, table, page));
    if (!pageTables.format.isNone(pageTables.hi, pageTables.lo)) {
      const from = Math.max(page, start);
      const view = viewOf(vma, table.sharers > 0, page, from, Math.min(page + pages, end));
      // Of broken memory nothing is shown.
      if (view.present || view.uffdWp) yield view;
    }
    page += pages;
  }
}

/** Of the entry that was read last. */
function viewOf(vma: VmArea, tableShared: boolean, page: number, start: number, end: number): HugeView {
  const { frames, pageTables } = vma.mm.kernel;
  const { level } = hstateOfVma(vma);
  const flags = pageTables.flags(level);
  const { format, hi, lo } = pageTables;
  if ((flags & EntryFlag.Present) === 0) {
    return {
      start,
      end,
      present: false,
      file: false,
      exclusive: false,
      uffdWp:
        format.swapTypeOf(hi, lo) === SWP_PTE_MARKER &&
        (format.swapOffsetOf(hi, lo) & PTE_MARKER_UFFD_WP) !== 0,
      mapcount: 0,
      frame: -1,
    };
  }
  const frame = pageTables.frame(level);
  const mapcount = frames.folioMapcount(frame);
  return {
    start,
    end,
    present: true,
    file: !frames.hasFlag(frame, FrameFlag.Anon),
    exclusive: mapcount === 1 && !tableShared,
    uffdWp: (flags & EntryFlag.UffdWp) !== 0,
    mapcount,
    frame: frame + (start - page),
  };
}
