/**
 * What UFFDIO_COPY, ZEROPAGE, CONTINUE and POISON do differently from each other.
 * @see Linux include/linux/userfaultfd_k.h, `enum mfill_atomic_mode`
 */
import type { Task } from '../../../base/task.ts';
import type { VmArea } from '../vma.ts';

/** Of `fillPage` and `fillHugePage`: let the locks go, call `prepareOutside`, and begin with this page again. */
export const RETRY_OUTSIDE = 1;

/** What is filled in. */
export interface FillOperation {
  /** The pages are to be write-protected. */
  readonly writeProtect: boolean;
  /** Only pages that a file has can be mapped so (UFFDIO_CONTINUE). */
  readonly fileOnly: boolean;
  /** What becomes of huge pages of hugetlb; null: not possible. */
  readonly huge: 'copy' | 'continue' | 'poison' | null;
  /**
   * Fills one page in, of which the pte table is there. 0, -errno or RETRY_OUTSIDE. VMA and map_changing_lock are held.
   * @param offset of the page from the start of the range, in pages
   */
  fillPage(vma: VmArea, page: number, offset: number): Task<number>;
  /**
   * Fills the `pages` frames from `frame` on with the data of a huge page; false: not without faults. Of `copy` only.
   */
  fillHugePage(frame: number, offset: number, pages: number): boolean;
  /** What cannot be done with the locks held, of the same page. 0 or -errno. Of `copy` only. */
  prepareOutside(offset: number, pages: number): Task<number>;
  /** The end, however it came. */
  finish(): void;
}

/** For operations without data of the caller's. */
export const WITHOUT_DATA = {
  fillHugePage(): boolean {
    throw new Error('there is no data to copy');
  },
  prepareOutside(): Task<number> {
    throw new Error('there is no data to copy');
  },
  finish(): void {},
} as const;
