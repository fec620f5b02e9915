/**
 * The advices of madvise: their numbers, which the kernel knows, which lock each needs, and which throw data away.
 * Left out: names of anonymous mappings (prctl), advices of architectures not modelled.
 * @see Linux include/uapi/asm-generic/mman-common.h; mm/madvise.c, `madvise_behavior_valid`, `get_lock_mode`,
 * `is_discard`, `process_madvise_remote_valid`
 */
import type { KernelConfig } from '../../kernel.ts';

export const MADV_NORMAL = 0;
export const MADV_RANDOM = 1;
export const MADV_SEQUENTIAL = 2;
export const MADV_WILLNEED = 3;
export const MADV_DONTNEED = 4;
export const MADV_FREE = 8;
export const MADV_REMOVE = 9;
export const MADV_DONTFORK = 10;
export const MADV_DOFORK = 11;
export const MADV_MERGEABLE = 12;
export const MADV_UNMERGEABLE = 13;
export const MADV_HUGEPAGE = 14;
export const MADV_NOHUGEPAGE = 15;
export const MADV_DONTDUMP = 16;
export const MADV_DODUMP = 17;
export const MADV_WIPEONFORK = 18;
export const MADV_KEEPONFORK = 19;
export const MADV_COLD = 20;
export const MADV_PAGEOUT = 21;
export const MADV_POPULATE_READ = 22;
export const MADV_POPULATE_WRITE = 23;
export const MADV_DONTNEED_LOCKED = 24;
export const MADV_COLLAPSE = 25;
export const MADV_HWPOISON = 100;
export const MADV_SOFT_OFFLINE = 101;
export const MADV_GUARD_INSTALL = 102;
export const MADV_GUARD_REMOVE = 103;

/** What protects the VMAs while an advice works on them. */
export const LockMode = {
  None: 0,
  /** mmap_lock for reading. */
  MmapRead: 1,
  /** mmap_lock for writing: VMAs change. */
  MmapWrite: 2,
  /** The read lock of the one VMA that the range lies in; where that does not do, mmap_lock for reading. */
  VmaRead: 3,
} as const;
export type LockMode = (typeof LockMode)[keyof typeof LockMode];

const LOCK_MODES: ReadonlyMap<number, LockMode> = new Map([
  [MADV_NORMAL, LockMode.MmapWrite],
  [MADV_RANDOM, LockMode.MmapWrite],
  [MADV_SEQUENTIAL, LockMode.MmapWrite],
  [MADV_WILLNEED, LockMode.MmapRead],
  [MADV_DONTNEED, LockMode.VmaRead],
  [MADV_FREE, LockMode.VmaRead],
  [MADV_REMOVE, LockMode.MmapRead],
  [MADV_DONTFORK, LockMode.MmapWrite],
  [MADV_DOFORK, LockMode.MmapWrite],
  [MADV_MERGEABLE, LockMode.MmapWrite],
  [MADV_UNMERGEABLE, LockMode.MmapWrite],
  [MADV_HUGEPAGE, LockMode.MmapWrite],
  [MADV_NOHUGEPAGE, LockMode.MmapWrite],
  [MADV_DONTDUMP, LockMode.MmapWrite],
  [MADV_DODUMP, LockMode.MmapWrite],
  [MADV_WIPEONFORK, LockMode.MmapWrite],
  [MADV_KEEPONFORK, LockMode.MmapWrite],
  [MADV_COLD, LockMode.MmapRead],
  [MADV_PAGEOUT, LockMode.MmapRead],
  [MADV_POPULATE_READ, LockMode.MmapRead],
  [MADV_POPULATE_WRITE, LockMode.MmapRead],
  [MADV_DONTNEED_LOCKED, LockMode.VmaRead],
  [MADV_COLLAPSE, LockMode.MmapRead],
  [MADV_HWPOISON, LockMode.None],
  [MADV_SOFT_OFFLINE, LockMode.None],
  [MADV_GUARD_INSTALL, LockMode.VmaRead],
  [MADV_GUARD_REMOVE, LockMode.VmaRead],
]);

const DISCARDS: ReadonlySet<number> = new Set([
  MADV_FREE,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_REMOVE,
  MADV_DONTFORK,
  MADV_WIPEONFORK,
  MADV_GUARD_INSTALL,
]);

const REMOTE: ReadonlySet<number> = new Set([MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE]);

export const isMemoryFailure = (advice: number): boolean =>
  advice === MADV_HWPOISON || advice === MADV_SOFT_OFFLINE;

export const isPopulate = (advice: number): boolean =>
  advice === MADV_POPULATE_READ || advice === MADV_POPULATE_WRITE;

export const isGuard = (advice: number): boolean =>
  advice === MADV_GUARD_INSTALL || advice === MADV_GUARD_REMOVE;

/** Does the kernel know the advice? `madvise_behavior_valid` */
export function adviceValid(config: KernelConfig, advice: number): boolean {
  if (isMemoryFailure(advice)) return config.memoryFailure;
  return LOCK_MODES.has(advice);
}

/** The lock to begin with. Before VM_MAYBE_GUARD, guards changed the VMA's anon_vma and needed mmap_lock. */
export function lockModeOf(config: KernelConfig, advice: number): LockMode {
  if (isGuard(advice) && !config.maybeGuardFlag) return LockMode.MmapRead;
  return LOCK_MODES.get(advice) ?? LockMode.None;
}

/** Does it throw away data of the mapping? A sealed one may forbid that. */
export const isDiscard = (advice: number): boolean => DISCARDS.has(advice);

/** May it be given for another process? */
export const adviceValidForOthers = (advice: number): boolean => REMOTE.has(advice);

/** Advices whose TLB flush is gathered over all VMAs of the call. @see mm/madvise.c, `madvise_batch_tlb_flush` */
export const batchesTlbFlush = (advice: number): boolean =>
  advice === MADV_DONTNEED || advice === MADV_DONTNEED_LOCKED || advice === MADV_FREE;
