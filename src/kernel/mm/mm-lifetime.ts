/**
 * How long an address space lives: `mmUsers` keep its contents, `mmCount` the structure and the root table. A CPU that
 * runs a kernel thread on a dead process' tables holds only the latter.
 * @see Linux include/linux/sched/mm.h and kernel/fork.c, `mm_init`, `mmput`, `__mmdrop`
 */
import type { Task } from '../../base/task.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { exitMmap } from './exit-mmap.ts';
import { MmStruct } from './mm.ts';
import { mmdrop } from './mm-count.ts';
import { allocateTable } from './page-table-alloc.ts';
import { khugepagedExit } from './thp/khugepaged-list.ts';

/**
 * An empty address space with its root table; null when there is no memory.
 * @param owner name of the process it is for, after which it is called
 * @param mmapBasePage where top-down placement starts, a page number
 * @see kernel/fork.c, `mm_alloc`
 */
export function mmAlloc(kernel: Kernel, owner: string, mmapBasePage: number): MmStruct | null {
  const { arch } = kernel;
  const serial = kernel.nextSerial(`mm of ${owner}`);
  const name = serial === 1 ? `mm of ${owner}` : `mm of ${owner} (${serial})`;
  const mm = new MmStruct({ kernel, name, taskSizePages: arch.taskSizePages, mmapBasePage });
  const root = allocateTable(kernel, mm, 0);
  if (root === null) return null;
  mm.pgd = root.frame;
  mm.context = arch.createMmContext(name, root.frame);
  // The root is not counted (`mm_pgtables_bytes_init` starts at 0).
  mm.pgtablesBytes = 0;
  return mm;
}

/** One more user, by somebody who knows there is one. */
export function* mmget(mm: MmStruct): Task<void> {
  yield mm.usersWrite;
  mm.onCount?.();
  mm.mmUsers++;
}

/** One more user, unless the last one has gone. */
export function* mmgetNotZero(mm: MmStruct): Task<boolean> {
  yield mm.usersWrite;
  mm.onCount?.();
  if (mm.mmUsers === 0) return false;
  mm.mmUsers++;
  return true;
}

/** One user less; the last one tears the address space down. May sleep. */
export function* mmput(current: TaskStruct, mm: MmStruct): Task<void> {
  yield mm.usersWrite;
  mm.onCount?.();
  mm.mmUsers--;
  if (mm.mmUsers < 0) throw new Error(`${mm.name} is put once too often`);
  if (mm.mmUsers > 0) return;
  if (mm.kernel.uprobes !== null) yield* mm.kernel.uprobes.clearState(current, mm);
  yield* khugepagedExit(current, mm);
  yield* exitMmap(current, mm);
  yield* mmdrop(mm);
}
