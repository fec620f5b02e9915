/**
 * Making the entry that maps one huge page: the tables above it, and what is written to it.
 * @see Linux mm/hugetlb.c, `huge_pte_alloc`, `make_huge_pte`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { tableAlloc } from '../page-table-alloc.ts';
import type { VmArea } from '../vma.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import { hstateOfVma } from './hugetlb-vma.ts';
import { hugePmdShare, wantPmdShare } from './pmd-share.ts';

/**
 * The table for the entry of `page`, made if need be, or shared with another mapping of the same part of the file. Null
 * without memory.
 * @see `huge_pte_alloc`
 */
export function* hugePteAlloc(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  page: number,
): Task<TablePage | null> {
  const { level } = hstateOfVma(vma);
  if (wantPmdShare(vma, page)) {
    const upper = yield* tableAlloc(current, mm, page, level - 1);
    if (upper === null) return null;
    yield* hugePmdShare(current, mm, vma, page, upper);
  }
  return yield* tableAlloc(current, mm, page, level);
}

/** `EntryFlag` bits of a fresh entry; writable where the VMA is, if `tryWritable`. @see `make_huge_pte` */
export function hugeEntryFlags(vma: VmArea, tryWritable: boolean): number {
  const flags = vmaPageProtection(vma) | EntryFlag.Young;
  const writable = tryWritable ? maybeWritable(vma) : 0;
  if (writable !== 0) return flags | EntryFlag.Dirty | writable;
  return flags & ~(EntryFlag.Write | EntryFlag.ShadowStack);
}
