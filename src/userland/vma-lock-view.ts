/** How faults fared with VMA locks, for assertions and reports. */
import { type VmaLockCounters, VmaLockFailure } from '../kernel/mm/vma-lock-counters.ts';

/** Counts, of one address space or of all; Linux has them for the machine, in /proc/vmstat, and without reasons. */
export interface VmaLockView {
  /** VMA_LOCK_SUCCESS: faults handled under the VMA's own lock. */
  readonly success: number;
  /** VMA_LOCK_RETRY: begun under it, and to be done again under mmap_lock. */
  readonly retry: number;
  /** VMA_LOCK_ABORT: attempts that got no lock. */
  readonly abort: number;
  /** VMA_LOCK_MISS: VMAs that had left the tree; looked up again. */
  readonly miss: number;
  /** Why no lock was to be had, those that happened: `hole`, `write-locked`, `detached` … */
  readonly reasons: Readonly<Record<string, number>>;
}

export function vmaLockView(counters: Iterable<VmaLockCounters>): VmaLockView {
  const sum = { success: 0, retry: 0, abort: 0, miss: 0 };
  const reasons: Record<string, number> = {};
  for (const one of counters) {
    sum.success += one.success;
    sum.retry += one.retry;
    sum.abort += one.abort;
    sum.miss += one.miss;
    for (const reason of Object.values(VmaLockFailure)) {
      const count = one.of(reason);
      if (count > 0) reasons[reason] = (reasons[reason] ?? 0) + count;
    }
  }
  return { ...sum, reasons };
}
