/**
 * The loop of a BPF program over the VMAs of a task. For each VMA the loop gives the program a copy of what it is at that moment,
 * and holds no lock while the program's body runs: the body may read memory of the task, which takes mmap_lock. A VMA whose
 * lock is not to be had is passed over.
 * Left out: the verifier, which decides what the body may do; the reference on the VMA's file, whose path nobody reads here.
 * @see Linux kernel/bpf/task_iter.c, `bpf_iter_task_vma_new`, `bpf_iter_task_vma_find_next`, `bpf_iter_task_vma_next`
 */
import type { Task } from '../../base/task.ts';
import { EBUSY, ENOENT } from '../errno.ts';
import { mmapReadTrylock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../lock/rcu.ts';
import { lockVmaUnderRcu } from '../mm/lock-vma-under-rcu.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import type { VmArea } from '../mm/vma.ts';
import { VmaIterator } from '../mm/vma-iterator.ts';
import { vmaEndRead } from '../mm/vma-lock.ts';
import { getTaskMm } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';

/** What the body gets to see of a VMA. Pages, `end` exclusive. */
interface TaskVma {
  readonly start: number;
  readonly end: number;
}

/** What the program does with one VMA. */
export type TaskVmaBody = (vma: TaskVma) => Task<void>;

/**
 * Runs `body` for each VMA of `task`, from the lowest. 0; -ENOENT: the task has no memory. A kernel with the bug switch
 * `bpf-iterator-holds-mmap-lock` may also answer -EBUSY.
 */
export function* bpfForEachTaskVma(current: TaskStruct, task: TaskStruct, body: TaskVmaBody): Task<number> {
  const mm = yield* getTaskMm(current, task);
  if (mm === null) return -ENOENT;
  const { bugs } = current.kernel;
  const error = yield* bugs.bpfIteratorHoldsMmapLock
    ? walkUnderMmapLock(current, mm, body)
    : walk(current, mm, body, bugs.bpfIteratorHoldsVmaLock);
  yield* mmput(current, mm);
  return error;
}

function* walk(current: TaskStruct, mm: MmStruct, body: TaskVmaBody, keepsLock: boolean): Task<number> {
  for (let page = 0; ; ) {
    const found = yield* rangeFrom(current, mm, page);
    if (found === null) return 0;
    const vma = yield* lockVmaUnderRcu(current, mm, found.start);
    if (vma === null) {
      page = found.end;
      continue;
    }
    const { start, end } = vma;
    if (!keepsLock) yield* vmaEndRead(current, vma);
    // What changed meanwhile is not walked over a second time.
    if (end > page) yield* body({ start, end });
    if (keepsLock) yield* vmaEndRead(current, vma);
    page = end > page ? end : page + 1;
  }
}

/** Of the first VMA that ends above `page`, as the tree has it now. */
function* rangeFrom(current: TaskStruct, mm: MmStruct, page: number): Task<TaskVma | null> {
  rcuReadLock(current);
  yield mm.treeLoad;
  const range = mm.vmas.rangeFrom(page);
  rcuReadUnlock(current);
  return range;
}

/** As Linux 6.7 to 7.0 did it. @see v6.7 kernel/bpf/task_iter.c, `bpf_iter_task_vma_new` */
function* walkUnderMmapLock(current: TaskStruct, mm: MmStruct, body: TaskVmaBody): Task<number> {
  if (!(yield* mmapReadTrylock(current, mm))) return -EBUSY;
  const iterator = new VmaIterator(current, mm, 0);
  for (let vma: VmArea | null = iterator.next(); vma !== null; vma = iterator.next()) {
    yield* body({ start: vma.start, end: vma.end });
  }
  iterator.end();
  yield* mmapReadUnlock(current, mm);
  return 0;
}
