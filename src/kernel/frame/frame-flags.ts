/**
 * Flags of a frame (`struct page` / `struct folio`), those that modelled paths look at.
 * @see Linux include/linux/page-flags.h
 */
export const FrameFlag = {
  /** Anonymous memory: the mapping is an anon_vma (`PageAnon`, in Linux a low bit of the mapping pointer). */
  Anon: 1 << 0,
  /** Mapped by one mm only, for certain: a write may reuse the page (`PageAnonExclusive`). */
  AnonExclusive: 1 << 1,
  /** Written back to swap, not to a file: anonymous memory and shmem (`PG_swapbacked`). */
  SwapBacked: 1 << 2,
  /** Holds data that is nowhere else (`PG_dirty`). */
  Dirty: 1 << 3,
  /** Used lately (`PG_referenced`). */
  Referenced: 1 << 4,
  /** Holds what it should hold (`PG_uptodate`). */
  Uptodate: 1 << 5,
  /** The folio lock (`PG_locked`). */
  Locked: 1 << 6,
  /** A page-table page (`PageTable`). */
  PageTable: 1 << 7,
  /** The shared zero page. Never pinned, never writable, in no counter. */
  Zero: 1 << 8,
  /** Not managed: never freed (`PG_reserved`). */
  Reserved: 1 << 9,
  /** First frame of a block of more than one that is handled as one folio (`PG_head`). */
  Head: 1 << 10,
  /** A later frame of such a block (`PageTail`). */
  Tail: 1 << 11,
  /** On a list of reclaim (`PG_lru`). */
  Lru: 1 << 12,
  /** In the swap cache (`PG_swapcache`). */
  SwapCache: 1 << 13,
  /** Being written back (`PG_writeback`). */
  Writeback: 1 << 14,
  /** Broken memory (`PG_hwpoison`). */
  HwPoison: 1 << 15,
  /** Its memory tags are its own: cleared or copied since the frame was handed out (arm64 `PG_mte_tagged`). */
  Tagged: 1 << 16,
  /** In use, in the eyes of reclaim: on an active list, or bound for one (`PG_active`). */
  Active: 1 << 17,
  /** Locked into memory, so on no list that reclaim looks at (`PG_unevictable`). */
  Unevictable: 1 << 18,
  /** Of a pool of huge pages (`PageHugetlb`): it goes back there and not to the allocator. */
  Hugetlb: 1 << 19,
  /** Taken out of the kernel's own mapping of all memory (`set_direct_map_invalid_noflush`): only its user maps it. */
  NoDirectMap: 1 << 20,
} as const;

/** Flags that each frame of a large folio has for itself; all others are the folio's. */
export const PER_FRAME_FLAGS =
  FrameFlag.AnonExclusive |
  FrameFlag.PageTable |
  FrameFlag.Zero |
  FrameFlag.Reserved |
  FrameFlag.Head |
  FrameFlag.Tail |
  FrameFlag.HwPoison |
  FrameFlag.Tagged;
