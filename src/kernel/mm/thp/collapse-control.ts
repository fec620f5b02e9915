/**
 * How an attempt to make a huge page of small ones ends, and by whose rules it is made: khugepaged has limits, a program
 * that asks for it (MADV_COLLAPSE) has none.
 * @see Linux mm/khugepaged.c, `enum scan_result`, `struct collapse_control`, `madvise_collapse_errno`
 */
import { EAGAIN, EBUSY, EINVAL, ENOMEM } from '../../errno.ts';

export type ScanResult =
  | 'fail'
  | 'succeed'
  /** There is no table of ptes (`SCAN_PMD_NULL`). */
  | 'pmd-null'
  /** It is a huge page already (`SCAN_PMD_MAPPED`). */
  | 'pmd-mapped'
  | 'exceed-none-pte'
  | 'exceed-swap-pte'
  | 'exceed-shared-pte'
  | 'pte-non-present'
  | 'pte-uffd-wp'
  | 'lack-referenced-page'
  /** A pte without a page (`SCAN_PAGE_NULL`). */
  | 'page-null'
  /** References that no pte explains, a pin for instance (`SCAN_PAGE_COUNT`). */
  | 'page-count'
  | 'page-lru'
  | 'page-lock'
  /** Not anonymous (`SCAN_PAGE_ANON`). */
  | 'page-anon'
  | 'any-process'
  | 'vma-null'
  | 'vma-check'
  | 'address-range'
  | 'del-page-lru'
  | 'alloc-huge-page-fail'
  /** The page cache has a huge page already, which ptes may map (`SCAN_PTE_MAPPED_HUGEPAGE`). */
  | 'pte-mapped-hugepage'
  /** Of another size than wanted (`SCAN_PAGE_COMPOUND`). */
  | 'page-compound'
  /** The file has become shorter, or has a hole there. */
  | 'truncated'
  /** A hole of the file was filled meanwhile. */
  | 'page-filled';

/** After these the next huge page of the range may still work. */
const GOES_ON: ReadonlySet<ScanResult> = new Set([
  'pmd-null',
  'pte-non-present',
  'pte-uffd-wp',
  'lack-referenced-page',
  'page-null',
  'page-count',
  'page-lock',
  'page-compound',
  'page-lru',
  'del-page-lru',
]);

export function mayGoOnAfter(result: ScanResult): boolean {
  return GOES_ON.has(result);
}

const TRY_AGAIN: ReadonlySet<ScanResult> = new Set([
  'page-count',
  'page-lock',
  'page-lru',
  'del-page-lru',
  'page-filled',
]);

/** What MADV_COLLAPSE answers when `result` was the last that failed. */
export function madviseCollapseErrno(result: ScanResult): number {
  if (result === 'alloc-huge-page-fail') return -ENOMEM;
  if (result === 'exceed-none-pte') return -EBUSY;
  return TRY_AGAIN.has(result) ? -EAGAIN : -EINVAL;
}

/** Ptes of one huge page that khugepaged accepts as empty, swapped out, or shared with others: the defaults. */
export interface CollapseLimits {
  readonly none: number;
  readonly swap: number;
  readonly shared: number;
}

/** What was counted in one table. */
export class CollapseControl {
  /** Null for a program's own wish: no limits, and pages need not be in use. */
  readonly limits: CollapseLimits | null;
  none = 0;
  swap = 0;
  shared = 0;
  referenced = 0;

  constructor(limits: CollapseLimits | null) {
    this.limits = limits;
  }

  get isKhugepaged(): boolean {
    return this.limits !== null;
  }

  restart(): void {
    this.none = 0;
    this.swap = 0;
    this.shared = 0;
    this.referenced = 0;
  }

  /** One more empty pte, or one of the zero page; in memory watched by userfaultfd none is filled in behind its back. */
  addNone(uffdArmed: boolean): ScanResult | null {
    this.none++;
    if (uffdArmed) return 'exceed-none-pte';
    return this.limits !== null && this.none > this.limits.none ? 'exceed-none-pte' : null;
  }

  addSwap(): ScanResult | null {
    this.swap++;
    return this.limits !== null && this.swap > this.limits.swap ? 'exceed-swap-pte' : null;
  }

  addShared(): ScanResult | null {
    this.shared++;
    return this.limits !== null && this.shared > this.limits.shared ? 'exceed-shared-pte' : null;
  }
}
