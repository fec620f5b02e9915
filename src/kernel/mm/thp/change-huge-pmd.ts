/**
 * mprotect of a whole huge page.
 * @see Linux mm/huge_memory.c, `change_huge_pmd`, `can_change_pmd_writable`
 */
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmuGather } from '../mmu-gather.ts';
import { hugePages } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import { pmdIndex, pmdTransHugeLock } from './huge-pmd.ts';
import { invalidatePmd } from './split-pmd.ts';

/** Makes the new entry of a present leaf of `level` from the old one. */
export type EntryChange = (old: Readonly<Halves>, level: number, out: Halves) => void;

/** Is a leaf with these flags, which maps `frame`, left as it is? */
export type EntryFilter = (flags: number, frame: number) => boolean;

/** No count of pages: the huge page is one to leave alone. */
export const LEFT_ALONE = -1;

/**
 * `page` is the first of the huge page. Pages changed; 0 when there is no huge page any more; or `LEFT_ALONE`.
 * @param modify the new entry from the old one, as for a pte
 */
export function* changeHugePmd(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  gather: MmuGather,
  modify: EntryChange,
  skips: EntryFilter | null = null,
): Task<number> {
  const { pageTables } = vma.mm.kernel;
  const { format } = pageTables;
  const table = yield* pmdTransHugeLock(current, vma.mm, page);
  if (table === null) return 0;
  const index = pmdIndex(pageTables, page);
  if (skips?.(pageTables.flags(table.level), pageTables.frame(table.level)) === true) {
    yield* table.lock.unlock(current);
    return LEFT_ALONE;
  }
  // Others may look at the pmd without its lock and must not take it for empty: it is invalid, but there.
  const flags = yield* invalidatePmd(current, vma, table, page);
  const old: Halves = { hi: 0, lo: 0 };
  format.pack(pageTables.frame(table.level), flags, table.level, old);
  const entry: Halves = { hi: 0, lo: 0 };
  modify(old, table.level, entry);
  yield table.setEntry;
  pageTables.setEntry(table, index, entry.hi, entry.lo);
  if (format.needsFlush(old.hi, old.lo, entry.hi, entry.lo, table.level)) gather.noteEntry(page, table.level);
  yield* table.lock.unlock(current);
  return hugePages(pageTables);
}
