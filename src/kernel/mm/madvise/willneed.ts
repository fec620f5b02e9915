/**
 * MADV_WILLNEED: what lies in swap comes back into memory, without being mapped. Other data of files is in memory
 * already: nothing has to be read ahead.
 * @see Linux mm/madvise.c, `madvise_willneed`, `swapin_walk_pmd_entry`, `shmem_swapin_range`
 */
import { atomically, type Task } from '../../../base/task.ts';
import { NO_SLOT } from '../../frame/swap-area.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { pteIndex } from '../page-table.ts';
import { swapin } from '../swap-in.ts';
import { swapSlotRead } from '../swap-pte.ts';
import type { VmArea } from '../vma.ts';
import { HugeVerdict, walkPageTables } from '../walk-page-tables.ts';
import type { MadviseState } from './madvise-state.ts';

/** Always 0. */
export function* madviseWillneed(current: TaskStruct, state: MadviseState): Task<number> {
  const { vma, start, end } = state;
  if (current.kernel.swap === null) return 0;
  const slots =
    vma.file === null ? yield* slotsOfPtes(current, vma, start, end) : slotsOfFile(vma, start, end);
  const owner = vma.file === null ? vma : null;
  for (const slot of slots) {
    const folio = yield* swapin(current, owner, slot);
    if (folio === -1) continue;
    const { frames } = current.kernel;
    yield frames.refPoint(folio);
    frames.put(folio);
  }
  return 0;
}

/** Slots that the ptes of the range refer to; no page table is locked afterwards. */
function* slotsOfPtes(current: TaskStruct, vma: VmArea, start: number, end: number): Task<number[]> {
  const { pageTables } = current.kernel;
  const slots: number[] = [];
  yield* walkPageTables(current, vma, start, end, {
    ptes: (table, first, last) =>
      atomically(() => {
        for (let page = first; page < last; page++) {
          pageTables.read(table, pteIndex(pageTables, page));
          const slot = swapSlotRead(vma.mm, table.level);
          if (slot !== -1) slots.push(slot);
        }
        return 0;
      }),
    huge: () => atomically(() => HugeVerdict.Done),
  });
  return slots;
}

/** Slots of shared memory, which the object knows. */
function slotsOfFile(vma: VmArea, start: number, end: number): number[] {
  const slots: number[] = [];
  for (let page = start; page < end; page++) {
    const slot = vma.file?.mapping.swapSlotAt(vma.indexOf(page)) ?? NO_SLOT;
    if (slot > NO_SLOT) slots.push(slot);
  }
  return slots;
}
