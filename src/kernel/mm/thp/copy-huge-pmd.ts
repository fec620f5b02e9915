/**
 * fork of a whole huge page: mapped by both, read-only. One that the parent may have pinned is split first, and copied
 * page by page.
 * Left out: huge pages of files (the child faults them in again), migration entries in pmds.
 * @see Linux mm/huge_memory.c, `copy_huge_pmd`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { EAGAIN, ENOMEM } from '../../errno.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { MM_ANONPAGES, MMF_HAS_PINNED } from '../mm.ts';
import { hugePages, type TablePage } from '../page-table.ts';
import { tableAlloc } from '../page-table-alloc.ts';
import { addMmCounter, tryDupAnonHugeRmap } from '../rmap.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';
import { allocateDeposit, depositTable, freeDeposit, isHugeEntry, pmdIndex, pmdTableOf } from './huge-pmd.ts';
import { getHugeZeroFolio } from './huge-zero.ts';
import { splitHugePmd } from './split-pmd.ts';

/** `page` is the first of the huge page. 0, -ENOMEM, or -EAGAIN: it is no huge page any more, go on with ptes. */
export function* copyHugePmd(current: TaskStruct, child: VmArea, parent: VmArea, page: number): Task<number> {
  const { kernel } = current;
  if (!child.anonymous) return 0;
  const target = yield* tableAlloc(current, child.mm, page, kernel.pageTables.lastLevel - 1);
  const source = pmdTableOf(parent.mm, page);
  if (target === null || source === null) return -ENOMEM;
  const deposit = allocateDeposit(kernel, child.mm);
  if (deposit === null) return -ENOMEM;
  yield* target.lock.lock(current);
  yield* source.lock.lock(current, SINGLE_DEPTH_NESTING);
  const result = yield* copyLocked(child, parent, page, source, target, deposit);
  if (result !== 0) freeDeposit(kernel, child.mm, deposit);
  yield* source.lock.unlock(current);
  yield* target.lock.unlock(current);
  if (result === PINNED) yield* splitHugePmd(current, parent, page);
  return result === PINNED ? -EAGAIN : result;
}

/** Not an errno: the page may be pinned. */
const PINNED = 1;

function* copyLocked(
  child: VmArea,
  parent: VmArea,
  page: number,
  source: TablePage,
  target: TablePage,
  deposit: TablePage,
): Task<number> {
  const { kernel } = child.mm;
  const { frames, pageTables } = kernel;
  const index = pmdIndex(pageTables, page);
  if (!isHugeEntry(kernel, source, page)) return -EAGAIN;
  const head = pageTables.frame(source.level);
  if (frames.isHugeZero(head)) {
    // The parent's entry keeps it from going away.
    getHugeZeroFolio(child.mm);
  } else {
    yield frames.refPoint(head);
    const pinned = (parent.mm.flagBits & MMF_HAS_PINNED) !== 0 && frames.maybeDmaPinned(head);
    if (!tryDupAnonHugeRmap(frames, head, pinned, child.mm)) return PINNED;
    frames.get(head);
    addMmCounter(child.mm, MM_ANONPAGES, hugePages(pageTables));
  }
  depositTable(target, deposit);
  yield source.setEntry;
  const writable = EntryFlag.Write | EntryFlag.ShadowStack;
  pageTables.change(source, index, 0, writable);
  let clear: number = writable | EntryFlag.Young;
  if ((child.flags & VM_UFFD_WP) === 0) clear |= EntryFlag.UffdWp;
  const entry: Halves = { hi: 0, lo: 0 };
  pageTables.format.change(pageTables.hi, pageTables.lo, source.level, 0, clear, entry);
  yield target.setEntry;
  pageTables.setEntry(target, index, entry.hi, entry.lo);
  return 0;
}
