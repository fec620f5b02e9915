/**
 * The FOLL_ flags of get_user_pages: what a caller may ask for and what GUP adds for itself.
 * Values are Linux's bit numbers, `include/linux/mm_types.h` and `mm/internal.h` (v7); names that older kernels had
 * and lost (FOLL_COW, FOLL_NUMA, FOLL_POPULATE, FOLL_MIGRATION) are not defined.
 */

/** The page must be writable, or FOLL_FORCE must allow the write. */
export const FOLL_WRITE = 1 << 0;
/** Take a page reference (`get`). */
export const FOLL_GET = 1 << 1;
/** Core dump: a hole is an error, nothing is faulted in for it. */
export const FOLL_DUMP = 1 << 2;
/** Ignore missing VM_READ where VM_MAYREAD is set, missing VM_WRITE in a private mapping. */
export const FOLL_FORCE = 1 << 3;
/** A fault may ask for a retry but must keep the lock. */
export const FOLL_NOWAIT = 1 << 4;
/** A fault that is needed is an error. */
export const FOLL_NOFAULT = 1 << 5;
/** A poisoned page gives -EHWPOISON instead of -EFAULT. */
export const FOLL_HWPOISON = 1 << 6;
/** Anonymous mappings only. */
export const FOLL_ANON = 1 << 7;
/** The pin will last; with FOLL_PIN only. */
export const FOLL_LONGTERM = 1 << 8;
export const FOLL_SPLIT_PMD = 1 << 9;
export const FOLL_PCI_P2PDMA = 1 << 10;
/** Every signal stops a retry, not only a fatal one. */
export const FOLL_INTERRUPTIBLE = 1 << 11;
export const FOLL_HONOR_NUMA_FAULT = 1 << 12;

/** Mark the page accessed, and dirty on write. Internal, as are all that follow. */
export const FOLL_TOUCH = 1 << 16;
/** A second attempt, after the lock was dropped. */
export const FOLL_TRIED = 1 << 17;
/** The mm is not the caller's: protection keys do not apply. */
export const FOLL_REMOTE = 1 << 18;
/** Take a pin (`pin_user_pages`). */
export const FOLL_PIN = 1 << 19;
export const FOLL_FAST_ONLY = 1 << 20;
/** The mmap lock may be dropped: the caller passed `locked`. */
export const FOLL_UNLOCKABLE = 1 << 21;
export const FOLL_MADV_POPULATE = 1 << 22;
/**
 * The VMA's own lock is held, and mmap_lock perhaps not: faults may be handled under it, and may let it go. Not in Linux: a
 * proposal. @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026
 */
export const FOLL_VMA_LOCKED = 1 << 23;

export const INTERNAL_GUP_FLAGS =
  FOLL_TOUCH |
  FOLL_TRIED |
  FOLL_REMOTE |
  FOLL_PIN |
  FOLL_FAST_ONLY |
  FOLL_UNLOCKABLE |
  FOLL_MADV_POPULATE |
  FOLL_VMA_LOCKED;

/**
 * `int *locked`: true says the mmap lock is held. GUP sets it false when it has dropped the lock, and then it is
 * not held on return, even if GUP took it again in between.
 */
export interface MmapLocked {
  held: boolean;
}

/**
 * Frame numbers of the pages got or pinned, by position. Plain arrays and Float64Array both do: a frame number may
 * need more than 32 bits.
 */
export type PageArray = number[] | Float64Array;

/** "No page, no error": what `follow_page_mask` gives as NULL. Below every -errno, so that it is neither. */
export const NO_PAGE = -4096;
