/**
 * Write protection by userfaultfd as an entry shows it: a flag on a page or swap entry, which takes the right to write
 * away; a marker where the page of a file is not mapped. Anonymous memory has no marker: an absent page has no data that a
 * write could change.
 * @see Linux include/linux/mm_inline.h, `pte_install_uffd_wp_if_needed`; include/linux/swapops.h, `copy_pte_marker`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Halves } from '../../../base/u64.ts';
import type { PageTables, TablePage } from '../page-table.ts';
import { PTE_MARKER_GUARD, PTE_MARKER_POISONED, PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';

/** `pte_mkuffd_wp` of an entry's flags. */
export function withUffdWp(flags: number): number {
  return (flags | EntryFlag.UffdWp) & ~(EntryFlag.Write | EntryFlag.ShadowStack);
}

/** `make_pte_marker`. @param marker PTE_MARKER_* */
export function packMarker(pageTables: PageTables, marker: number, out: Halves): void {
  pageTables.format.packSwap(SWP_PTE_MARKER, marker, 0, out);
}

/** Needs the table's lock, at an entry that is empty. Yield at `table.setEntry` first. */
export function writeWpMarker(pageTables: PageTables, table: TablePage, index: number): void {
  const entry: Halves = { hi: 0, lo: 0 };
  packMarker(pageTables, PTE_MARKER_UFFD_WP, entry);
  pageTables.write(table, index, entry.hi, entry.lo);
}

/** PTE_MARKER_* of an entry, 0 when it is no marker. */
export function markerOf({ format, lastLevel }: PageTables, hi: number, lo: number): number {
  if ((format.flagsOf(hi, lo, lastLevel) & EntryFlag.Swap) === 0) return 0;
  return format.swapTypeOf(hi, lo) === SWP_PTE_MARKER ? format.swapOffsetOf(hi, lo) : 0;
}

/** What fork makes of a marker; 0: nothing. @param child its VMA */
export function copiedMarker(marker: number, child: VmArea): number {
  const kept = marker & (PTE_MARKER_POISONED | PTE_MARKER_GUARD);
  return (child.flags & VM_UFFD_WP) === 0 ? kept : kept | (marker & PTE_MARKER_UFFD_WP);
}

/**
 * Must a marker take the place of an entry that goes, so that the page is still protected when it comes back?
 * @param hi the entry that was there
 */
export function needsWpMarker(vma: VmArea, hi: number, lo: number): boolean {
  if (vma.anonymous || (vma.flags & VM_UFFD_WP) === 0) return false;
  const { pageTables } = vma.mm.kernel;
  const flags = pageTables.format.flagsOf(hi, lo, pageTables.lastLevel);
  return (flags & EntryFlag.UffdWp) !== 0 || (markerOf(pageTables, hi, lo) & PTE_MARKER_UFFD_WP) !== 0;
}
