/**
 * Finds page tables that are used when they are free: read or written by the kernel, or named by an upper entry that a CPU
 * has cached and may walk from.
 */
import type { MmContext } from '../../arch/kernel-arch.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'page-table-use-after-free';

export const pageTableUseAfterFree: CheckDefinition = {
  name: NAME,
  rule: 'A page table goes back to the allocator when no walk, by software or hardware, may be in it any more.',
  source:
    'Linux mm/mmu_gather.c, `tlb_remove_table`; mm/gup.c, `gup_fast`; commits 70cbc3cc78a9 and 2ba99c5e0881',
  attach(watch) {
    watch.onTables({
      usedAfterFree: (table, index, write) => {
        const verb = write ? 'written' : 'read';
        watch.report(NAME, `entry ${index} of ${table.name} is ${verb} after the table was freed`, [
          table.name,
        ]);
      },
      removed: (table) => lookAtCaches(watch, table),
    });
  },
};

function lookAtCaches(watch: Watch, table: TablePage): void {
  const { kernel, tlbView } = watch;
  for (const { id } of kernel.machine.cpus) {
    if (tlbView.namesTable(id, table.frame) && isWalkedFrom(watch, id, table.frame)) {
      watch.report(
        NAME,
        `${table.name} is freed while cpu ${id} has an upper entry cached that leads to it`,
        [table.name],
      );
      return;
    }
  }
}

/** May the CPU walk from the entry that names the table? Those of address spaces that are gone are never used. */
function isWalkedFrom({ kernel, tlbView }: Watch, cpu: number, frame: number): boolean {
  const contexts: MmContext[] = [];
  for (const { mm } of kernel.tasks.values())
    if (mm !== null && mm.context !== null) contexts.push(mm.context);
  if (contexts.length === 0) return false;
  return tlbView
    .cachedTables(cpu, contexts, frame)
    .some(({ mm, trusted, loaded }) => mm !== null && (trusted || loaded));
}
