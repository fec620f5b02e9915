/**
 * Finds entries of page tables that are changed without the lock of their table. What the hardware sets (Accessed, Dirty)
 * is not software's and is not seen here.
 */
import type { TablePage } from '../../kernel/mm/page-table.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'pte-without-lock';

export const pteWithoutLock: CheckDefinition = {
  name: NAME,
  rule: 'An entry of a page table that anybody else may reach changes only under the lock of its table.',
  source: 'Linux Documentation/mm/process_addrs.rst, "Page table locks"; mm/memory.c',
  attach(watch) {
    watch.onTables({
      written: (table, index) => look(watch, table, index),
    });
  },
};

function look(watch: Watch, table: TablePage, index: number): void {
  const task = watch.stepping();
  if (task === null || table.lock.isHeldBy(task)) return;
  watch.report(NAME, `${task.name} changes entry ${index} of ${table.name} without ${table.lock.name}`, [
    table.name,
  ]);
}
