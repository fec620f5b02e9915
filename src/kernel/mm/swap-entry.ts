/**
 * Kinds of entry that are neither present nor none: the swap types above the swap areas, and the markers.
 * @see Linux include/linux/swap.h, `SWP_PTE_MARKER` …; include/linux/swapops.h, `PTE_MARKER_`
 */

/** Of the 32 types, the topmost: below it are 3 of devices, 3 of migration, 1 of broken memory, and the swap areas. */
export const SWP_PTE_MARKER = 31;
/** A page that a device has for itself: the offset is the frame. Below it are two types of pages in a device's memory. */
export const SWP_DEVICE_EXCLUSIVE = 30;
/** Broken memory: the offset is the frame. */
export const SWP_HWPOISON = 24;
/** A page on its way elsewhere, or being split: the offset is its frame, with two bits above. @see migration-entry.ts */
export const SWP_MIGRATION_READ = 25;
export const SWP_MIGRATION_READ_EXCLUSIVE = 26;
export const SWP_MIGRATION_WRITE = 27;
/** Types below are swap areas (`MAX_SWAPFILES`, since Linux 6.15 with one type of device-exclusive entries). */
const MAX_SWAPFILES = 24;
/** The type of entries of the one swap area that there can be; their offset is the slot. */
export const SWP_AREA = 0;

/** Does an entry of this type stand for a page in swap (not `non_swap_entry`)? */
export function isSwapType(type: number): boolean {
  return type < MAX_SWAPFILES;
}

/** @see `is_migration_entry` */
export function isMigrationType(type: number): boolean {
  return type >= SWP_MIGRATION_READ && type <= SWP_MIGRATION_WRITE;
}

/** Bits of a marker entry's offset. */
export const PTE_MARKER_UFFD_WP = 1 << 0;
/** By UFFDIO_POISON. */
export const PTE_MARKER_POISONED = 1 << 1;
export const PTE_MARKER_GUARD = 1 << 2;
