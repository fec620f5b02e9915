/**
 * After small pages of a file were replaced by a huge one: the pte tables that mapped them, which are empty, are taken out
 * in every address space, so that the next fault maps the huge page by a pmd. Neither the mmap_lock nor the VMA locks of
 * these address spaces are held: who walks there finds, once it has the table's lock, that the pmd has changed.
 * A VMA with private copies, or watched by userfaultfd, or with guards, keeps its table.
 * @see Linux mm/khugepaged.c, `retract_page_tables`, `file_backed_vma_is_retractable`, `check_pmd_state`
 */
import type { Task } from '../../../base/task.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { firstMapping, nextMapping } from '../i-mmap.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from '../mmu-notifier.ts';
import { hugePages, type PageTables, type TablePage } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import { VM_MAYBE_GUARD, VM_UFFD_WP } from '../vma-flags.ts';
import { findPmdOrThpOrNone } from './collapse-scan.ts';
import { pmdIndex, pmdLock, pmdTableOf } from './huge-pmd.ts';
import { pmdpCollapseFlush } from './pmdp-collapse-flush.ts';
import { pteFreeDefer } from './pte-free-defer.ts';

/** The object's pages from `index` on are one huge page, which is locked: nobody maps it before we are done. */
export function* retractPageTables(current: TaskStruct, mapping: AddressSpace, index: number): Task<void> {
  yield* mapping.iMmapRwsem.downRead(current);
  let vma = firstMapping(mapping, index, index);
  while (vma !== null) {
    yield* retractTable(current, vma, vma.start + (index - vma.pgoff));
    vma = nextMapping(mapping, vma, index, index);
  }
  yield* mapping.iMmapRwsem.upRead(current);
}

/** Asked once without a lock, and again with the table's. */
function isRetractable({ anonVma, flags }: VmArea): boolean {
  return anonVma === null && (flags & (VM_UFFD_WP | VM_MAYBE_GUARD)) === 0;
}

/** The pte table below a pmd; null when it has none. */
export function tableBelow(pageTables: PageTables, pmds: TablePage, page: number): TablePage | null {
  pageTables.read(pmds, pmdIndex(pageTables, page));
  const { format, hi, lo } = pageTables;
  return format.isTable(hi, lo, pmds.level) ? pageTables.tableAt(format.frameOf(hi, lo, pmds.level)) : null;
}

/** In one VMA, which has the first of the pages at `start`. The lock of the file's mappings keeps its upper tables. */
function* retractTable(current: TaskStruct, vma: VmArea, start: number): Task<void> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const pages = hugePages(pageTables);
  if (start % pages !== 0 || start < vma.start || start + pages > vma.end || mm.pgd === -1) return;
  const upper = pmdTableOf(mm, start);
  if (upper === null) return;
  yield upper.readEntry;
  if (findPmdOrThpOrNone(mm, start) !== 'succeed' || mm.mmUsers === 0 || !isRetractable(vma)) return;
  const told = mmuNotifierRange(mm, start, start + pages, 'clear');
  yield* mmuNotifierStart(current, told);
  const table = yield* takeTableOut(current, vma, start);
  yield* mmuNotifierEnd(current, told);
  if (table !== null) pteFreeDefer(mm, table);
}

/** The table, if there still is one and it may go. */
function* takeTableOut(current: TaskStruct, vma: VmArea, start: number): Task<TablePage | null> {
  const { mm } = vma;
  const pmds = yield* pmdLock(current, mm, start);
  if (pmds === null) return null;
  const table = tableBelow(mm.kernel.pageTables, pmds, start);
  let taken = false;
  if (table !== null) {
    yield* table.lock.lock(current, SINGLE_DEPTH_NESTING);
    taken = isRetractable(vma);
    if (taken) yield* pmdpCollapseFlush(current, vma, pmds, start);
    yield* table.lock.unlock(current);
  }
  yield* pmds.lock.unlock(current);
  return taken ? table : null;
}
