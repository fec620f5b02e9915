/**
 * Finds entries of page tables that are changed without the lock of their table. What the hardware sets (Accessed, Dirty)
 * is not software's and is not seen here. Nobody else can reach: a table that no upper entry leads to; an address space
 * whose last user has gone (`exit_mmap`); the tables of a range whose VMAs are all detached, which `free_pgtables` takes out of the upper
 * entries under mmap_lock alone.
 */

import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'pte-without-lock';

export const pteWithoutLock: CheckDefinition = {
  name: NAME,
  rule: 'An entry of a page table that anybody else may reach changes only under the lock of its table.',
  source: 'Linux Documentation/mm/process_addrs.rst, "Page table locks"; mm/memory.c, `free_pgtables`',
  attach(watch) {
    watch.onTableChange((change) => look(watch, change));
  },
};

function look(watch: Watch, change: TableChange): void {
  const { table, place, index } = change;
  const task = watch.stepping();
  if (task === null || place.mm === null || place.mm.mmUsers === 0) return;
  if (table.lock.isHeldBy(task)) return;
  if (change.old.kind === EntryKind.Table && change.next.kind === EntryKind.None) {
    if (!isAttachedTo(place.mm, change.page, change.page + change.pages)) return;
  }
  watch.report(
    NAME,
    `${task.name} changes entry ${index} of ${table.name} (${place.mm.name}) without ${table.lock.name}`,
    [table.name],
  );
}

/** Is any of [start, end) in a VMA that others may find and lock? */
function isAttachedTo(mm: MmStruct, start: number, end: number): boolean {
  for (let at = start; at < end; ) {
    const vma = mm.vmas.findIntersection(at, end);
    if (vma === null) return false;
    if (vma.refcount !== 0) return true;
    at = vma.end;
  }
  return false;
}
