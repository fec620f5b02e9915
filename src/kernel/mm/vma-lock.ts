/**
 * The writer's half of per-VMA locking: marking a VMA as write-locked for the rest of the mmap_lock write section.
 * Readers of VMA locks are not built yet; the marks, the places where they are made and the places where a VMA becomes
 * attached or detached are those of Linux, so that readers can be added without touching the callers.
 * @see Linux mm/mmap_lock.c and include/linux/mmap_lock.h, `__vma_start_write`, `vma_mark_attached`, `vma_mark_detached`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';

/** Is the VMA write-locked? Meaningful only under mmap_lock held for writing. */
function isVmaWriteLocked(mm: MmStruct, vma: VmArea): boolean {
  return vma.vmLockSeq === mm.lockSequence;
}

/**
 * Write-locks the VMA until mmap_lock is released or downgraded. Needs mmap_lock for writing. Nothing when it is
 * write-locked already.
 */
export function* vmaStartWrite(_current: TaskStruct, mm: MmStruct, vma: VmArea): Task<void> {
  if (!mm.mmapWriteLocked) throw new Error(`${vma.name} write-locked without mmap_lock held for writing`);
  if (isVmaWriteLocked(mm, vma)) return;
  yield vma.change;
  vma.vmLockSeq = mm.lockSequence;
}

/** A new VMA that nobody can reach yet: write-locked without a step that others could see. */
export function vmaInitWriteLocked(mm: MmStruct, vma: VmArea): void {
  vma.vmLockSeq = mm.lockSequence;
}

/** @throws Error when `vmaStartWrite` was not called in this write section */
export function vmaAssertWriteLocked(mm: MmStruct, vma: VmArea): void {
  if (!mm.mmapWriteLocked || !isVmaWriteLocked(mm, vma)) {
    throw new Error(`${vma.name} is changed without being write-locked`);
  }
}

/** The VMA is in the tree now. */
export function vmaMarkAttached(vma: VmArea): void {
  if (!vma.detached) throw new Error(`${vma.name} is attached twice`);
  vma.detached = false;
}

/** The VMA left the tree. */
export function vmaMarkDetached(vma: VmArea): void {
  if (vma.detached) throw new Error(`${vma.name} is detached twice`);
  vma.detached = true;
}
