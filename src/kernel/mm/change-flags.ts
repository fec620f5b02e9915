/**
 * What `changeProtection` is asked for beside the VMA's flags.
 * @see Linux include/linux/mm.h, `MM_CP_`
 */

/** Make ptes writable at once where a write fault would do nothing but that. */
export const MM_CP_TRY_CHANGE_WRITABLE = 1 << 0;
/** Mark for NUMA balancing: no rights at all. */
export const MM_CP_PROT_NUMA = 1 << 1;
/** Write-protect for userfaultfd. */
export const MM_CP_UFFD_WP = 1 << 2;
/** And no longer. */
export const MM_CP_UFFD_WP_RESOLVE = 1 << 3;
