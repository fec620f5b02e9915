/**
 * Who looks on while VMAs are made, locked, read and changed, for checks. A VMA carries it from its making; one that nobody
 * watches pays one comparison for each of its fields that is touched. A watcher changes nothing.
 */
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';

/** What a lock has to keep as it is: not the mm, the reference count and the lock's sequence, by which the lock is taken. */
export type VmaField =
  | 'vm_start'
  | 'vm_end'
  | 'vm_flags'
  | 'vm_pgoff'
  | 'anon_vma'
  | 'vm_file'
  | 'vm_ops'
  | 'vm_userfaultfd_ctx'
  | 'vm_private_data';

/** How the tree of an mm changes. */
export type TreeChange = 'insert' | 'remove' | 'resize';

export interface VmaWatcher {
  /** The slab has given the object out for a VMA of `mm`: before its fields are set. */
  made(vma: VmArea, mm: MmStruct): void;
  /** It has gone back to the slab. */
  freed(vma: VmArea): void;
  /** A field is about to be read, or written. */
  touched(vma: VmArea, field: VmaField, write: boolean): void;
  /** A reader has just counted itself; `before` is what the reference count was. */
  readerCounted(vma: VmArea, before: number): void;
  /** The sequence that says "write-locked" was just stored. */
  writeLocked(vma: VmArea): void;
  attached(vma: VmArea): void;
  /** Out of reach of new readers, and every reader has left. */
  detached(vma: VmArea): void;
  /** The tree of `mm` is about to change; the range of `vma` in it is [start, end) afterwards, unless it is removed. */
  treeChanges(mm: MmStruct, vma: VmArea, change: TreeChange, start: number, end: number): void;
  /** Ptes of `source` are about to be copied for `copy`, by fork. */
  forked(copy: VmArea, source: VmArea): void;
  /** Somebody without a lock has looked whether it is write-locked, by the number of this mm. */
  lookedAtLock?(vma: VmArea, mm: MmStruct): void;
  /** `mmap_lock_speculate_try_begin` gave a number. */
  speculationBegun(mm: MmStruct): void;
  /** `mmap_lock_speculate_retry` was asked. */
  speculationAsked(mm: MmStruct): void;
  /** The last `mm_count` is gone. */
  mmFreed(mm: MmStruct): void;
}
