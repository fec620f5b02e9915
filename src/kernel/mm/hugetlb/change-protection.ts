/**
 * mprotect, and userfaultfd's write protection, of huge pages: entries lose rights at once and get none back, the next
 * write takes a fault. What the gather has is flushed here, under the locks that keep shared tables.
 * Left out: migration entries. Broken memory has no protection.
 * @see Linux mm/hugetlb.c, `hugetlb_change_protection`
 */
import { EntryFlag, pagesPerEntry } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { ENOMEM } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { type MmuGather, tlbFlushMmuTlbOnly } from '../mmu-gather.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { vmaPageProtection } from '../vma-protection.ts';
import { hugePteAlloc } from './huge-pte.ts';
import { hugeEntryIndex, hugetlbWalk } from './huge-walk.ts';
import { hstateOfVma, hugetlbVmaLockWrite, hugetlbVmaUnlockWrite, inodeOfVma } from './hugetlb-vma.ts';
import { hugePmdUnshare, hugePmdUnshareFlush } from './pmd-share.ts';

/** What becomes of write protection for userfaultfd. */
export const HugeWp = { Keep: 0, Protect: 1, Resolve: 2 } as const;
export type HugeWp = (typeof HugeWp)[keyof typeof HugeWp];

/**
 * Gives the entries of [start, end), whole huge pages, the protection of the VMA's flags. Returns the small pages whose
 * entry was looked at, or -ENOMEM: no table for a marker of write protection.
 */
export function* hugetlbChangeProtection(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
  gather: MmuGather,
  wp: HugeWp = HugeWp.Keep,
): Task<number> {
  const { mm } = vma;
  const inode = inodeOfVma(vma);
  const { pages, level } = hstateOfVma(vma);
  const span = pagesPerEntry(mm.kernel.pageTables.format, level - 1);
  yield* hugetlbVmaLockWrite(current, vma);
  yield* inode.mapping.iMmapRwsem.downWrite(current);
  let changed = 0;
  for (let page = start; page < end; ) {
    const found = hugetlbWalk(mm, vma, page);
    // A marker can only be put where there is a table.
    const table =
      found === null && wp === HugeWp.Protect ? yield* hugePteAlloc(current, mm, vma, page) : found;
    if (table === null && wp === HugeWp.Protect) {
      changed = -ENOMEM;
      break;
    }
    const result = table === null ? LEFT_TABLE : yield* changeEntry(current, vma, page, table, gather, wp);
    if (result === CHANGED) changed += pages;
    page += result === LEFT_TABLE ? span - (page % span) : pages;
  }
  yield* tlbFlushMmuTlbOnly(current, gather);
  yield* hugePmdUnshareFlush(current, gather);
  yield* inode.mapping.iMmapRwsem.upWrite(current);
  yield* hugetlbVmaUnlockWrite(current, vma);
  return changed;
}

const UNCHANGED = 0;
const CHANGED = 1;
/** There is no table here, or no longer: the span of a whole one is done. */
const LEFT_TABLE = 2;

function* changeEntry(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  table: TablePage,
  gather: MmuGather,
  wp: HugeWp,
): Task<number> {
  const { pageTables } = vma.mm.kernel;
  yield* table.lock.lock(current);
  let result = UNCHANGED;
  if (yield* hugePmdUnshare(vma, page, table, gather)) {
    result = LEFT_TABLE;
  } else {
    pageTables.read(table, hugeEntryIndex(vma.mm, table, page));
    if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) {
      yield* changeMarker(vma, page, table, wp);
    } else {
      yield* modifyEntry(vma, page, table, wp);
      gather.noteEntry(page, table.level);
      result = CHANGED;
    }
  }
  yield* table.lock.unlock(current);
  return result;
}

/** Cleared first, so that no bit is lost that the hardware sets meanwhile. */
function* modifyEntry(vma: VmArea, page: number, table: TablePage, wp: HugeWp): Task<void> {
  const { pageTables, arch } = vma.mm.kernel;
  const index = hugeEntryIndex(vma.mm, table, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const mask = arch.protectionMask;
  const set = (vmaPageProtection(vma) & mask) | (wp === HugeWp.Protect ? EntryFlag.UffdWp : 0);
  const clear = mask | (wp === HugeWp.Resolve ? EntryFlag.UffdWp : 0);
  const entry: Halves = { hi: 0, lo: 0 };
  pageTables.format.change(pageTables.hi, pageTables.lo, table.level, set, clear, entry);
  if (wp === HugeWp.Protect) {
    pageTables.format.change(entry.hi, entry.lo, table.level, 0, EntryFlag.Write, entry);
  }
  yield table.setEntry;
  pageTables.setEntry(table, index, entry.hi, entry.lo);
}

/** Nothing is mapped: write protection is kept as a marker. */
function* changeMarker(vma: VmArea, page: number, table: TablePage, wp: HugeWp): Task<void> {
  const { pageTables } = vma.mm.kernel;
  const { format, hi, lo } = pageTables;
  const index = hugeEntryIndex(vma.mm, table, page);
  if (format.isNone(hi, lo)) {
    if (wp !== HugeWp.Protect) return;
    const entry: Halves = { hi: 0, lo: 0 };
    format.packSwap(SWP_PTE_MARKER, PTE_MARKER_UFFD_WP, 0, entry);
    yield table.setEntry;
    pageTables.write(table, index, entry.hi, entry.lo);
    return;
  }
  const protects = (format.swapOffsetOf(hi, lo) & PTE_MARKER_UFFD_WP) !== 0;
  if (wp !== HugeWp.Resolve || format.swapTypeOf(hi, lo) !== SWP_PTE_MARKER || !protects) return;
  yield table.setEntry;
  pageTables.write(table, index, 0, 0);
}
