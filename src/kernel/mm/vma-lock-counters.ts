/**
 * How often faults and other readers got a VMA's own lock, and why not. One set for each address space; Linux has one
 * for the machine, without the reasons.
 * @see Linux include/linux/vm_event_item.h, `VMA_LOCK_SUCCESS` …; mm/mmap_lock.c, `lock_vma_under_rcu`
 */

/** Why a VMA's lock was not to be had. */
export const VmaLockFailure = {
  /** No VMA at the address. */
  Hole: 'hole',
  /** A writer has it, seen before the reference was taken. */
  WriteLocked: 'write-locked',
  /** A writer waits for readers to leave, and lets no more in. */
  Excluded: 'writer waits for readers',
  /** So many readers that the count would overflow. */
  Overflow: 'reference count overflow',
  /** The object has become a VMA of another address space. */
  ForeignMm: 'foreign mm',
  /** A writer has it, seen after the reference was taken. */
  WriteLockedMeanwhile: 'write-locked meanwhile',
  /** The VMA does not hold the address any more. */
  RangeChanged: 'range changed',
  /** It has no anon_vma yet: no reason any more (`lock-vma-anon-vma-check` of the bugs put in on purpose). */
  NoAnonVma: 'no anon_vma',
  /** It left the tree: looked up again, so not an end. */
  Detached: 'detached',
} as const;
export type VmaLockFailure = (typeof VmaLockFailure)[keyof typeof VmaLockFailure];

export class VmaLockCounters {
  /** Faults handled under the VMA's lock. */
  success = 0;
  /** Faults that had the VMA's lock and must be done again under mmap_lock. */
  retry = 0;
  /** Attempts that got no lock. */
  abort = 0;
  /** VMAs found that had left the tree; each makes a new attempt. */
  miss = 0;
  /** Why the last attempt failed; good until the next step. */
  last: VmaLockFailure | null = null;
  #reasons: Map<VmaLockFailure, number> | null = null;

  note(reason: VmaLockFailure): void {
    this.last = reason;
    this.#reasons ??= new Map();
    this.#reasons.set(reason, this.of(reason) + 1);
    if (reason === VmaLockFailure.Detached) this.miss++;
    else this.abort++;
  }

  /** How often for this reason. */
  of(reason: VmaLockFailure): number {
    return this.#reasons?.get(reason) ?? 0;
  }
}
