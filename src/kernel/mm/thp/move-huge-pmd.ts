/**
 * mremap of a whole huge page: its pmd goes to another place, with the pte table that is put by for it.
 * @see Linux mm/huge_memory.c, `move_huge_pmd`
 */
import { EntryFlag, tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { TablePage } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import { depositTable, pmdTransHugeLock, withdrawTable } from './huge-pmd.ts';
import { flushHugePmd } from './split-pmd.ts';

/**
 * Moves the pmd of `oldPage` to `newPage`, for which `target` is the pmd table; both are first pages of huge pages. The
 * old translation is flushed before either lock is let go. False, and nothing done: there is no huge page any more,
 * or a table at the new place already.
 */
export function* moveHugePmd(
  current: TaskStruct,
  vma: VmArea,
  oldPage: number,
  newPage: number,
  target: TablePage,
): Task<boolean> {
  const { pageTables } = vma.mm.kernel;
  const { format } = pageTables;
  const level = pageTables.lastLevel - 1;
  const newIndex = tableIndex(format, newPage, level);
  pageTables.read(target, newIndex);
  if (!format.isNone(pageTables.hi, pageTables.lo)) return false;
  const source = yield* pmdTransHugeLock(current, vma.mm, oldPage);
  if (source === null) return false;
  const nested = source !== target;
  if (nested) yield* target.lock.lock(current, SINGLE_DEPTH_NESTING);
  yield source.setEntry;
  pageTables.getAndClear(source, tableIndex(format, oldPage, level));
  const present = (pageTables.flags(level) & EntryFlag.Present) !== 0;
  const entry: Halves = { hi: pageTables.hi, lo: pageTables.lo };
  if (vma.userfaultfd !== null) format.change(entry.hi, entry.lo, level, 0, EntryFlag.UffdWp, entry);
  if (nested && vma.anonymous) depositTable(target, withdrawTable(source));
  yield target.setEntry;
  pageTables.setEntry(target, newIndex, entry.hi, entry.lo);
  if (present) yield* flushHugePmd(current, vma, oldPage);
  if (nested) yield* target.lock.unlock(current);
  yield* source.lock.unlock(current);
  return true;
}
