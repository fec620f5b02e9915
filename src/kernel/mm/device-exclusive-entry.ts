/**
 * Entries of pages that a device has for itself: the page stays mapped as far as counts and the rmap go, but no CPU reaches it;
 * a fault takes it back. To the kernel such an entry is clean and old: what the device does it must say itself.
 * @see Linux include/linux/leafops.h, `softleaf_is_device_exclusive`; mm/memory.c, `zap_nonpresent_ptes`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { MM_ANONPAGES, type MmStruct } from './mm.ts';
import type { PageTables, TablePage } from './page-table.ts';
import { addMmCounter, removeRmap } from './rmap.ts';
import { SWP_DEVICE_EXCLUSIVE } from './swap-entry.ts';

/** The frame of the entry that `pageTables` read last from a table of `level`; -1 when it is none of a device. */
export function deviceExclusiveFrameRead(pageTables: PageTables, level: number): number {
  const { format, hi, lo } = pageTables;
  if ((pageTables.flags(level) & EntryFlag.Swap) === 0) return -1;
  return format.swapTypeOf(hi, lo) === SWP_DEVICE_EXCLUSIVE ? format.swapOffsetOf(hi, lo) : -1;
}

/** The frame that the entry read last maps, for CPUs or for a device alone; -1 when it maps none. */
export function mappedFrameRead(pageTables: PageTables, level: number): number {
  const present = (pageTables.flags(level) & EntryFlag.Present) !== 0;
  return present ? pageTables.frame(level) : deviceExclusiveFrameRead(pageTables, level);
}

/** @param flags SoftDirty, if the pte had it; it was writable, so userfaultfd did not protect it */
export function packDeviceExclusive({ format }: PageTables, frame: number, flags: number, out: Halves): void {
  format.packSwap(SWP_DEVICE_EXCLUSIVE, frame, flags & EntryFlag.SoftDirty, out);
}

/** Takes the entry of `frame` away, with the reference and the map count that it has. Needs the table's lock. */
export function* zapDeviceExclusivePte(
  mm: MmStruct,
  table: TablePage,
  index: number,
  frame: number,
): Task<void> {
  const { frames, pageTables } = mm.kernel;
  addMmCounter(mm, MM_ANONPAGES, -1);
  yield frames.refPoint(frame);
  removeRmap(frames, frame, mm);
  yield table.setEntry;
  pageTables.write(table, index, 0, 0);
  frames.put(frame);
}
