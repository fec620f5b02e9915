/**
 * One pmd table for several mappings of the same whole, aligned part (a pud's span: 1 GiB) of a file: a process that
 * maps it for sharing uses the table that another one has. Whoever changes its mapping leaves the table first, and the
 * TLBs forget it before anybody can go on, since the others may free its pages.
 * @see Linux mm/hugetlb.c, `want_pmd_share`, `page_table_shareable`, `huge_pmd_share`, `huge_pmd_unshare`,
 * `huge_pmd_unshare_flush`, `hugetlb_unshare_pmds`; include/asm-generic/tlb.h, `tlb_unshare_pmd_ptdesc`
 */
import { pagesPerEntry, tableIndex } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { type MmuGather, tlbFinishMmu, tlbFlushMmuTlbOnly, tlbGatherMmu } from '../mmu-gather.ts';
import type { TablePage } from '../page-table.ts';
import { rootTable } from '../page-table-alloc.ts';
import { tlbRemoveTableSyncOne } from '../tlb-sync.ts';
import type { VmArea } from '../vma.ts';
import { VM_LOCKED_MASK, VM_MAYSHARE, VM_UFFD_WP, VMH_UFFD_MINOR } from '../vma-flags.ts';
import { vmasMapping } from './file-vmas.ts';
import { hugetlbWalk } from './huge-walk.ts';
import { hstateOfVma, hugetlbData, inodeOfVma } from './hugetlb-vma.ts';

const TABLE_BYTES = 4096;

/** Pages that one pmd table spans: those of a pud entry. */
function pudPages(mm: MmStruct): number {
  const { format, lastLevel } = mm.kernel.pageTables;
  return pagesPerEntry(format, lastLevel - 2);
}

/** Are these pages mapped by entries of a pmd table? Larger ones are in the pud table, which is never shared. */
function hasPmdTables(vma: VmArea): boolean {
  return hstateOfVma(vma).level === vma.mm.kernel.pageTables.lastLevel - 1;
}

/** May the table of `page` be one of others', or become so? @see `want_pmd_share`, `uffd_disable_huge_pmd_share` */
export function wantPmdShare(vma: VmArea, page: number): boolean {
  if ((vma.flags & VM_UFFD_WP) !== 0 || (vma.flagsHigh & VMH_UFFD_MINOR) !== 0) return false;
  if ((vma.flags & VM_MAYSHARE) === 0 || !hasPmdTables(vma) || hugetlbData(vma).vmaLock === null)
    return false;
  return spansPud(vma, page);
}

function spansPud(vma: VmArea, page: number): boolean {
  const span = pudPages(vma.mm);
  const base = page - (page % span);
  return base >= vma.start && base + span <= vma.end;
}

/** Where `other` maps the page that `vma` maps at `page`; -1 when their tables cannot be one. */
function shareablePage(other: VmArea, vma: VmArea, page: number): number {
  const at = vma.indexOf(page) - other.pgoff + other.start;
  const span = pudPages(vma.mm);
  const sameRights = ((vma.flags ^ other.flags) & ~VM_LOCKED_MASK) === 0 && vma.flagsHigh === other.flagsHigh;
  const samePlace = at % span === page % span;
  if (!sameRights || !samePlace || hugetlbData(other).vmaLock === null) return -1;
  return spansPud(other, at) ? at : -1;
}

/**
 * Puts another mapping's pmd table below the entry of `page` in `upper`, a pud table, unless there is one already or
 * nobody has one to share.
 * @see `huge_pmd_share`
 */
export function* hugePmdShare(
  current: TaskStruct,
  mm: MmStruct,
  vma: VmArea,
  page: number,
  upper: TablePage,
): Task<void> {
  const { pageTables } = mm.kernel;
  const index = tableIndex(pageTables.format, page, upper.level);
  pageTables.read(upper, index);
  if (!pageTables.format.isNone(pageTables.hi, pageTables.lo)) return;
  const inode = inodeOfVma(vma);
  const at = vma.indexOf(page);
  yield* inode.mapping.iMmapRwsem.downRead(current);
  for (const other of vmasMapping(inode, at, at + 1)) {
    const place = other === vma ? -1 : shareablePage(other, vma, page);
    const table = place === -1 ? null : hugetlbWalk(other.mm, other, place);
    if (table === null) continue;
    yield* linkShared(current, mm, upper, index, table);
    break;
  }
  yield* inode.mapping.iMmapRwsem.upRead(current);
}

function* linkShared(
  current: TaskStruct,
  mm: MmStruct,
  upper: TablePage,
  index: number,
  table: TablePage,
): Task<void> {
  const { pageTables } = mm.kernel;
  table.sharers++;
  yield* upper.lock.lock(current);
  pageTables.read(upper, index);
  if (pageTables.format.isNone(pageTables.hi, pageTables.lo)) {
    const entry = { hi: 0, lo: 0 };
    pageTables.format.packTable(table.frame, upper.level, entry);
    yield upper.setEntry;
    pageTables.write(upper, index, entry.hi, entry.lo);
    mm.pgtablesBytes += TABLE_BYTES;
  } else {
    table.sharers--;
  }
  yield* upper.lock.unlock(current);
}

/**
 * Leaves the table of `page` if others use it too: true, and nothing of its span is mapped here any more. Needs the
 * table's lock, i_mmap locked for writing, and the vma_lock. `hugePmdUnshareFlush` must follow before i_mmap is let go.
 * @see `huge_pmd_unshare`
 */
export function* hugePmdUnshare(
  vma: VmArea,
  page: number,
  table: TablePage,
  gather: MmuGather,
): Task<boolean> {
  if (table.sharers === 0) return false;
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const span = pudPages(mm);
  const base = page - (page % span);
  const upper = pageTables.lookup(rootTable(mm), page, table.level - 1);
  if (upper === null) throw new Error(`${table.name} is shared and in no table`);
  yield upper.setEntry;
  pageTables.write(upper, tableIndex(pageTables.format, page, upper.level), 0, 0);
  table.sharers--;
  mm.pgtablesBytes -= TABLE_BYTES;
  // Everything that the table mapped, and the paging-structure caches.
  gather.noteEntry(base, table.level);
  gather.noteEntry(base + span - pagesPerEntry(pageTables.format, table.level), table.level);
  gather.freedTables = true;
  gather.unsharedTables = true;
  if (table.sharers === 0) gather.fullyUnsharedTables = true;
  return true;
}

/**
 * No TLB has the tables that were left, and no walker with interrupts off is in one: the others may do with them what
 * they like. @see `tlb_flush_unshared_tables`
 */
export function* hugePmdUnshareFlush(current: TaskStruct, gather: MmuGather): Task<void> {
  if (!gather.unsharedTables) return;
  yield* tlbFlushMmuTlbOnly(current, gather);
  gather.unsharedTables = false;
  if (!gather.fullyUnsharedTables) return;
  gather.fullyUnsharedTables = false;
  if (gather.mm.kernel.bugs.hugePmdUnshareGupFast) return;
  yield* tlbRemoveTableSyncOne(current);
}

/**
 * Leaves the shared tables of [start, end), whole puds: before userfaultfd or a split needs tables of its own. Needs
 * i_mmap locked for writing.
 * @see `hugetlb_unshare_pmds`
 */
export function* hugetlbUnsharePmds(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
): Task<void> {
  const { mm } = vma;
  const span = pudPages(mm);
  const gather = yield* tlbGatherMmu(current, mm);
  for (let page = start; page < end; page += span) {
    const table = hugetlbWalk(mm, vma, page);
    if (table === null) continue;
    yield* table.lock.lock(current);
    yield* hugePmdUnshare(vma, page, table, gather);
    yield* table.lock.unlock(current);
  }
  yield* hugePmdUnshareFlush(current, gather);
  yield* tlbFinishMmu(current, gather);
}

/** A split at `at` inside a span whose table may be shared: the halves need tables of their own. @see `hugetlb_split` */
export function* hugetlbSplit(current: TaskStruct, vma: VmArea, at: number): Task<void> {
  const span = pudPages(vma.mm);
  if (at % span === 0 || !hasPmdTables(vma)) return;
  const floor = at - (at % span);
  if (floor >= vma.start && floor + span <= vma.end)
    yield* hugetlbUnsharePmds(current, vma, floor, floor + span);
}
