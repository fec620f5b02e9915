/**
 * Faulting in a range that was just mapped or locked. mm/gup.c does it in Linux, and `src/kernel/gup/` here, a layer
 * above this one: the kernel is given these functions when it is put together.
 */
import type { Task } from '../../base/task.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { Unsupported } from '../unsupported.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';

export interface PopulateOperations {
  /**
   * `mm_populate`: takes mmap_lock for reading itself and faults in `pages` pages from page `start` of the running
   * process; errors are ignored.
   */
  mmPopulate(current: TaskStruct, start: number, pages: number): Task<void>;
  /**
   * `populate_vma_page_range`, under mmap_lock as it is held, which is kept: faults in [start, end) of one VMA.
   * Returns 0 or more, or a negative errno.
   */
  populateVmaPageRange(current: TaskStruct, vma: VmArea, start: number, end: number): Task<number>;
  /**
   * `__mm_populate` without ignoring errors: takes mmap_lock for reading itself and faults in pages [start, end) of the
   * running process. 0, or the negative errno of the first mapping that could not be faulted in.
   */
  mmPopulateRange(current: TaskStruct, start: number, end: number): Task<number>;
  /**
   * `faultin_page_range`: faults pages [start, end) in as accesses of the program would, holes and mappings that do not
   * allow it being errors. mmap_lock is held for reading and may be dropped: then `locked.held` is false. Pages done, or
   * -ENOMEM (hole), -EINVAL (not allowed), -EFAULT, -EHWPOISON, -EINTR.
   */
  faultinPageRange(
    current: TaskStruct,
    mm: MmStruct,
    start: number,
    end: number,
    write: boolean,
    locked: { held: boolean },
  ): Task<number>;
  /**
   * `get_user_pages_fast` of one page of the running process, for reading: takes mmap_lock itself where it needs it.
   * The frame, with a reference, or a negative errno.
   */
  getUserPage(current: TaskStruct, page: number): Task<number>;
}

/** @throws Unsupported when the kernel was put together without them */
export function populateOperations(kernel: Kernel): PopulateOperations {
  if (kernel.populate === null) throw new Unsupported('populating a mapping');
  return kernel.populate;
}
