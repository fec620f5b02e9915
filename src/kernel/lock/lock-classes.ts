/**
 * The order in which locks may be taken, outermost first. A lock belongs to the class that its name begins with:
 * `mmap_lock mm of reader` is an mmap_lock. Locks of other names are classes of their own, without a rank.
 * The folio lock is a bit of the page, and Linux's lockdep does not know it; here its place in the documented order is
 * watched, and nothing else about it: several folios may be locked at a time, and circles through it are not looked for.
 * Huge pages of a pool have another place than other folios, since hugetlb takes i_mmap_rwsem first, and among them the
 * anonymous ones have a third: a fault that copies such a page for the owner of the promises keeps it locked while it waits for
 * i_mmap_rwsem and, again, for its fault mutex. So inside those it may only be tried, as `hugetlb_fault` does.
 * Left out: the locks of swap, of the lists of reclaim and of a page cache (i_pages), whose sections are single steps here.
 * @see Linux mm/rmap.c and mm/filemap.c, "Lock ordering in mm"; mm/hugetlb.c, `hugetlb_wp`
 */

/** One more lock of the class that is held already, in an order that something else guarantees. */
export const SINGLE_DEPTH_NESTING = 1;

/** A VMA's own lock; readers and writers have different ranks, see `rankOf`. */
export const VMA_LOCK_CLASS = 'vma_lock';
export const MMAP_LOCK_CLASS = 'mmap_lock';

/** Larger numbers are taken later. Classes with the same number are never held together, or in any order. */
const RANKS: Readonly<Record<string, number>> = {
  exec_update_lock: 5,
  i_rwsem: 10,
  mmap_lock: 20,
  invalidate_lock: 30,
  hugetlb_anon_folio_lock: 34,
  hugetlb_fault_mutex: 36,
  hugetlb_vma_lock: 38,
  folio_lock: 40,
  i_mmap_rwsem: 60,
  hugetlb_folio_lock: 65,
  anon_vma: 70,
  page_table_lock: 80,
  ptl: 80,
};

/** Of these only the rank counts. */
const RANK_ONLY: ReadonlySet<string> = new Set([
  'folio_lock',
  'hugetlb_folio_lock',
  'hugetlb_anon_folio_lock',
]);

/** A reader's VMA lock stands where mmap_lock does for a fault; a writer waits for readers much further in. */
const VMA_READ_RANK = 25;
const VMA_WRITE_RANK = 50;

/** The class of a lock, by its name. */
export function classOf(lockName: string): string {
  const [first = '', second = ''] = lockName.split(' ', 2);
  if (first === 'hugetlb') return `hugetlb_${second}`;
  return first === 'vma' ? VMA_LOCK_CLASS : first;
}

/** Where a lock stands in the documented order; null where that says nothing about it. */
export function rankOf(lockClass: string, write: boolean): number | null {
  if (lockClass === VMA_LOCK_CLASS) return write ? VMA_WRITE_RANK : VMA_READ_RANK;
  return RANKS[lockClass] ?? null;
}

/** Is nothing but the rank of the class to be looked at? */
export function isRankOnly(lockClass: string): boolean {
  return RANK_ONLY.has(lockClass);
}
