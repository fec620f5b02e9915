/**
 * A fault on a huge page that NUMA balancing has marked.
 * Left out: nodes, so also moving it.
 * @see Linux mm/huge_memory.c, `do_huge_pmd_numa_page`
 */
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { rightsRestored } from '../fault/numa.ts';
import type { VmFault } from '../fault/vm-fault.ts';
import { pmdIndex, pmdLock } from './huge-pmd.ts';

/** The pmd was a marked huge page when the fault read it. The access is to be made again. */
export function* doHugePmdNumaPage(fault: VmFault): Task<number> {
  const { current, kernel, mm, page, vma } = fault;
  const { pageTables } = kernel;
  const table = yield* pmdLock(current, mm, page);
  if (table === null) return 0;
  const index = pmdIndex(pageTables, page);
  const { originalHi: hi, originalLo: lo } = fault;
  if (pageTables.same(table, index, hi, lo)) {
    kernel.numaEvents.hintFaults++;
    const entry: Halves = { hi, lo };
    rightsRestored(vma, entry, table.level);
    yield table.setEntry;
    pageTables.setEntry(table, index, entry.hi, entry.lo);
  }
  yield* table.lock.unlock(current);
  return 0;
}
