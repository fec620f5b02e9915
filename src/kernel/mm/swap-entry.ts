/**
 * Kinds of entry that are neither present nor none: the swap types above the swap areas, and the markers.
 * @see Linux include/linux/swap.h, `SWP_PTE_MARKER` …; include/linux/swapops.h, `PTE_MARKER_`
 */

/** Types are 5 bits. From the top: marker, hwpoison, migration (3), device (4, CONFIG_DEVICE_PRIVATE). */
export const MAX_SWAPFILES = 32 - 1 - 1 - 3 - 4;
export const SWP_DEVICE_WRITE = MAX_SWAPFILES + 1 + 3;
export const SWP_MIGRATION_READ = MAX_SWAPFILES + 1;
export const SWP_HWPOISON = MAX_SWAPFILES;
export const SWP_PTE_MARKER = MAX_SWAPFILES + 1 + 3 + 4;

/** Bits of a marker entry's offset. */
export const PTE_MARKER_UFFD_WP = 1 << 0;
export const PTE_MARKER_POISONED = 1 << 1;
export const PTE_MARKER_GUARD = 1 << 2;
