/**
 * Where the memory manager tells of mappings that come and go, for breakpoints that belong to a file and are in every
 * mapping of it. Who puts them there is in `consumers/uprobes/`, a layer above this one, and given to the kernel when the
 * first one is registered.
 * @see Linux include/linux/uprobes.h; kernel/events/uprobes.c
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';

export interface UprobeHooks {
  /** `uprobe_mmap`: a VMA of a file is in its address space, new or with another range. mmap_lock is held for writing. */
  mmap(current: TaskStruct, vma: VmArea): Task<void>;
  /** `uprobe_munmap`: pages [start, end) of a VMA are about to be unmapped. One step. */
  munmap(vma: VmArea, start: number, end: number): void;
  /** `uprobe_dup_mmap`, in fork: the copies of breakpoints come with the pages. One step. */
  dupMmap(parent: MmStruct, child: MmStruct): void;
  /** `uprobe_clear_state`: the address space has lost its last user. */
  clearState(current: TaskStruct, mm: MmStruct): Task<void>;
}
