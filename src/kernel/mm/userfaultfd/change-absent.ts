/**
 * mprotect and write protection of what is not mapped: a marker in memory of a file, a flag on a page in swap, on its way
 * elsewhere, or in the hands of a device.
 * @see Linux mm/mprotect.c, `change_pte_range`
 */

import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { Unsupported } from '../../unsupported.ts';
import { MM_CP_UFFD_WP, MM_CP_UFFD_WP_RESOLVE } from '../change-flags.ts';
import { migrationFrameRead } from '../migration-entry.ts';
import { changeMigrationPte } from '../migration-pte.ts';
import type { TablePage } from '../page-table.ts';
import {
  isSwapType,
  PTE_MARKER_UFFD_WP,
  SWP_DEVICE_EXCLUSIVE,
  SWP_HWPOISON,
  SWP_PTE_MARKER,
} from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { userfaultfdWpUseMarkers } from './context.ts';
import { markerOf, writeWpMarker } from './wp-marker.ts';

/**
 * Of the entry that was read last, which is not present. Needs the table's lock. True when it has changed.
 * @param changeFlags MM_CP_*
 */
export function* changeUffdWpOfAbsent(
  vma: VmArea,
  table: TablePage,
  index: number,
  changeFlags: number,
): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const { format, hi, lo } = pageTables;
  const protect = (changeFlags & MM_CP_UFFD_WP) !== 0;
  const resolve = (changeFlags & MM_CP_UFFD_WP_RESOLVE) !== 0;
  if (format.isNone(hi, lo)) {
    if (!protect || !userfaultfdWpUseMarkers(vma)) return false;
    yield table.setEntry;
    writeWpMarker(pageTables, table, index);
    return true;
  }
  const type = format.swapTypeOf(hi, lo);
  if (type === SWP_PTE_MARKER) {
    // Guards and broken pages end every access, protected or not.
    if (!resolve || markerOf(pageTables, hi, lo) !== PTE_MARKER_UFFD_WP) return false;
    yield table.setEntry;
    pageTables.write(table, index, 0, 0);
    return true;
  }
  if (type === SWP_HWPOISON) return false;
  const migrating = migrationFrameRead(pageTables, table.level);
  if (migrating !== -1) return yield* changeMigrationPte(vma, table, index, migrating, changeFlags);
  if (!isSwapType(type) && type !== SWP_DEVICE_EXCLUSIVE) throw new Unsupported('mprotect of swap entries');
  return (protect || resolve) && (yield* flagSwapPte(vma, table, index, protect));
}

function* flagSwapPte(vma: VmArea, table: TablePage, index: number, protect: boolean): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const { format, hi, lo } = pageTables;
  const flags = pageTables.flags(table.level);
  const kept = flags & (EntryFlag.SwapExclusive | EntryFlag.SoftDirty);
  const wanted = protect ? kept | EntryFlag.UffdWp : kept;
  if ((flags & EntryFlag.UffdWp) === (wanted & EntryFlag.UffdWp)) return false;
  const entry: Halves = { hi: 0, lo: 0 };
  format.packSwap(format.swapTypeOf(hi, lo), format.swapOffsetOf(hi, lo), wanted, entry);
  yield table.setEntry;
  pageTables.write(table, index, entry.hi, entry.lo);
  return true;
}
