/**
 * Entries that stand for a page that is on its way elsewhere, or whose folio is being split. They hold no reference and are
 * in no map count; who meets one in a fault waits for the folio's lock. The offset is the frame, and above it whether the
 * entry was young and dirty.
 * @see Linux include/linux/swapops.h, `make_writable_migration_entry`, `make_migration_entry_young`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Halves } from '../../base/u64.ts';
import type { PageTables } from './page-table.ts';
import {
  isMigrationType,
  SWP_MIGRATION_READ,
  SWP_MIGRATION_READ_EXCLUSIVE,
  SWP_MIGRATION_WRITE,
} from './swap-entry.ts';

/** Frame numbers of 52-bit addresses (`SWP_PFN_BITS`), whatever the machine has. */
const SWP_PFN_SPAN = 2 ** 40;
const KEPT = EntryFlag.UffdWp | EntryFlag.SoftDirty;

/** The frame of the entry that `pageTables` read last from a table of `level`; -1 when it is no migration entry. */
export function migrationFrameRead(pageTables: PageTables, level: number): number {
  const { format, hi, lo } = pageTables;
  if ((pageTables.flags(level) & EntryFlag.Swap) === 0) return -1;
  return isMigrationType(format.swapTypeOf(hi, lo)) ? format.swapOffsetOf(hi, lo) % SWP_PFN_SPAN : -1;
}

/**
 * Of the migration entry read last: the `EntryFlag` bits Young, Dirty, Write, UffdWp and SoftDirty of the pte it stands for,
 * and SwapExclusive if that mapped its page alone.
 */
export function migrationFlagsRead({ format, hi, lo }: PageTables, level: number): number {
  const type = format.swapTypeOf(hi, lo);
  const above = Math.floor(format.swapOffsetOf(hi, lo) / SWP_PFN_SPAN);
  let flags = format.flagsOf(hi, lo, level) & KEPT;
  if (above % 2 === 1) flags |= EntryFlag.Young;
  if (above >= 2) flags |= EntryFlag.Dirty;
  if (type === SWP_MIGRATION_WRITE) flags |= EntryFlag.Write;
  if (type !== SWP_MIGRATION_READ) flags |= EntryFlag.SwapExclusive;
  return flags;
}

/** @param flags as `migrationFlagsRead` gives them; Write says exclusive, too */
export function packMigration({ format }: PageTables, frame: number, flags: number, out: Halves): void {
  let type = SWP_MIGRATION_READ;
  if ((flags & EntryFlag.Write) !== 0) type = SWP_MIGRATION_WRITE;
  else if ((flags & EntryFlag.SwapExclusive) !== 0) type = SWP_MIGRATION_READ_EXCLUSIVE;
  const young = (flags & EntryFlag.Young) === 0 ? 0 : SWP_PFN_SPAN;
  const dirty = (flags & EntryFlag.Dirty) === 0 ? 0 : 2 * SWP_PFN_SPAN;
  format.packSwap(type, frame + young + dirty, flags & KEPT, out);
}
