/**
 * `mm_count`: references to the structure of an address space and its root table, not to its contents.
 * @see Linux include/linux/sched/mm.h, `mmgrab`, `mmdrop`; kernel/fork.c, `__mmdrop`
 */
import type { Task } from '../../base/task.ts';
import type { MmStruct } from './mm.ts';
import { freeTable, rootTable } from './page-table-alloc.ts';

/** Keeps the structure, not the contents. */
export function* mmgrab(mm: MmStruct): Task<void> {
  yield mm.usersWrite;
  mm.onCount?.();
  mm.mmCount++;
}

/** With the last reference the root table goes. No CPU may have it loaded. */
export function* mmdrop(mm: MmStruct): Task<void> {
  yield mm.usersWrite;
  mm.onCount?.();
  mm.mmCount--;
  if (mm.mmCount < 0) throw new Error(`${mm.name} is dropped once too often`);
  if (mm.mmCount > 0) return;
  freeMm(mm);
}

function freeMm(mm: MmStruct): void {
  mm.kernel.vmaWatcher?.mmFreed(mm);
  if (mm.context !== null) mm.kernel.arch.destroyMmContext(mm.context);
  if (mm.pgd === -1) return;
  freeTable(mm.kernel, rootTable(mm));
  mm.pgd = -1;
}
