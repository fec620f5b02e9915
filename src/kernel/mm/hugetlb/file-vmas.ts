/**
 * The VMAs that map a file of huge pages, under its i_mmap_rwsem.
 * @see Linux include/linux/fs.h, `i_mmap_lock_write`; mm/interval_tree.c, `vma_interval_tree_foreach`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { VmArea } from '../vma.ts';
import type { HugetlbInode } from './hugetlb-inode.ts';

export function iMmapLockRead(current: TaskStruct, inode: HugetlbInode): Task<void> {
  return inode.iMmapLock.downRead(current);
}

export function iMmapUnlockRead(current: TaskStruct, inode: HugetlbInode): Task<void> {
  return inode.iMmapLock.upRead(current);
}

export function iMmapLockWrite(current: TaskStruct, inode: HugetlbInode): Task<void> {
  return inode.iMmapLock.downWrite(current);
}

export function iMmapUnlockWrite(current: TaskStruct, inode: HugetlbInode): Task<void> {
  return inode.iMmapLock.upWrite(current);
}

/** Those that map a page of the file in [first, end), small pages. Needs the lock. */
export function vmasMapping(inode: HugetlbInode, first: number, end: number): VmArea[] {
  return [...inode.vmas].filter((vma) => vma.pgoff < end && vma.pgoff + vma.pages > first);
}
