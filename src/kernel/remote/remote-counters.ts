/**
 * What the remote accesses of a run did, for comparing designs: look-ups, walks, and what was left to today's code, by
 * reason. Linux has no such counters; a fallback there is silent.
 */

/** Why a design gave a transfer, or what was left of it, to mmap_lock. */
export const RemoteFallback = {
  /** It reads only. */
  Write: 'write',
  /** FOLL_ flags beyond those that debuggers use. */
  Flags: 'other flags',
  /** It takes transfers of at most a page. */
  MoreThanAPage: 'more than a page',
  /** No VMA at the address: a hole, or a stack that would have to grow. */
  Hole: 'hole or stack growth',
  /** A writer has the VMA, or waits for its readers. */
  VmaWriteLocked: 'VMA write-locked',
  /** Its lock could not be had for another reason: too many readers, or it became another VMA meanwhile. */
  VmaChanged: 'VMA changed',
  /** CONFIG_PER_VMA_LOCK is off. */
  NoVmaLocks: 'no VMA locks',
  /** The transfer goes beyond the VMA. */
  SeveralVmas: 'several VMAs',
  /** The flags of the VMA do not allow it; today's code says so again. */
  Permission: 'permission',
  /** VM_IO or VM_PFNMAP. */
  DeviceMemory: 'device memory',
  Hugetlb: 'hugetlb',
  /** Nothing is mapped there, or what is mapped must not be read without a fault. */
  AbsentPage: 'absent page',
  /** FOLL_LONGTERM: pages may have to be moved and got anew, which is done under mmap_lock only. */
  LastingPins: 'pins that last',
  /** A fatal signal is pending for the reader: today's code says so again. */
  Killed: 'fatal signal',
  /** A fault let the VMA's lock go. */
  LockLost: 'lock lost in a fault',
  /** The lockless walk stopped: the entries changed under it, or are of a kind that it does not take. */
  FastWalk: 'lockless walk stopped',
  /** A writer has mmap_lock, whatever it does there. */
  WriterHolds: 'a writer holds mmap_lock',
  /** A writer ran meanwhile. */
  WriterRan: 'a writer ran',
} as const;
export type RemoteFallback = (typeof RemoteFallback)[keyof typeof RemoteFallback];

export class RemoteCounters {
  /**
   * Transfers of `access_remote_vm`, strings, and what takes a lock through `remote-lock.ts`: each chunk of pages that
   * process_vm_readv or process_vm_writev pins, a page for KVM or a device.
   */
  calls = 0;
  /** Bytes copied between the other process's pages and a buffer, by transfers, strings and process_vm_*; again for what is begun anew. */
  bytes = 0;
  /** Look-ups in the tree of VMAs on behalf of another address space's pages, locked and lockless. */
  vmaLookups = 0;
  /** Walks of page tables down to one entry, locked and lockless: the lockless one counts for each that it comes to. */
  walks = 0;
  #fallbacks: Map<RemoteFallback, number> | null = null;

  noteFallback(reason: RemoteFallback): void {
    this.#fallbacks ??= new Map();
    this.#fallbacks.set(reason, this.fallbacks(reason) + 1);
  }

  /** How often for this reason. */
  fallbacks(reason: RemoteFallback): number {
    return this.#fallbacks?.get(reason) ?? 0;
  }

  /** Those that happened, in the order in which they first did. */
  fallbackReasons(): ReadonlyMap<RemoteFallback, number> {
    this.#fallbacks ??= new Map();
    return this.#fallbacks;
  }
}
