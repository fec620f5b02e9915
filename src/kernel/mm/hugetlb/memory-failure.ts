/**
 * A huge page of which a part is broken: it is taken out of every page table as a whole, entries that say so take its
 * place, and it never goes back to its pool. One of a file stays there, and every fault on it fails.
 * Left out: giving the parts that are not broken to the allocator (`dissolve_free_hugetlb_folio`), which part it is, and
 * pages of the pool that nobody uses.
 * @see Linux mm/memory-failure.c, `try_memory_failure_hugetlb`, `unmap_poisoned_folio`, `me_huge_page`; mm/rmap.c,
 * `try_to_unmap_one`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { EBUSY, EHWPOISON } from '../../errno.ts';
import { AddressSpace } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { BUS_MCEERR_AR, SIGBUS } from '../../signal.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioLock, folioUnlock } from '../fault/folio-lock.ts';
import { tlbFinishMmu, tlbGatherMmu } from '../mmu-gather.ts';
import type { TablePage } from '../page-table.ts';
import { rmapWalk } from '../rmap-walk.ts';
import { SWP_HWPOISON } from '../swap-entry.ts';
import { flushTlbPage } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
import { vmasMapping } from './file-vmas.ts';
import { hugetlbCountAdd, hugetlbRemoveRmap } from './huge-rmap.ts';
import { hugeEntryIndex, hugePteLock, hugetlbWalk } from './huge-walk.ts';
import { hugetlbInodeOf } from './hugetlb-inode.ts';
import { hstateOfVma, hugetlbVmaLockOf } from './hugetlb-vma.ts';
import { hugePmdUnshare, hugePmdUnshareFlush } from './pmd-share.ts';

/** Where `current` had the page, and how the unmapping went. */
interface Unmapping {
  readonly current: TaskStruct;
  readonly head: number;
  /** First small page at which the running process mapped it; -1: nowhere. */
  own: number;
  /** log2 of the bytes of the page. */
  shift: number;
}

/**
 * `frame` of a huge page is broken, and `current` was about to use it. The caller's reference stays with the page for
 * ever. 0, -EBUSY (somebody could not be made to let go of it) or -EHWPOISON (it was known to be broken).
 */
export function* hugetlbMemoryFailure(current: TaskStruct, frame: number): Task<number> {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  yield frames.refPoint(head);
  if (frames.hasFlag(head, FrameFlag.HwPoison)) {
    frames.put(head);
    return -EHWPOISON;
  }
  frames.setFlags(head, FrameFlag.HwPoison);
  yield* folioLock(current, head);
  const unmapping: Unmapping = { current, head, own: -1, shift: 0 };
  yield* unmapEverywhere(unmapping);
  const failed = frames.isMapped(head);
  if (unmapping.own !== -1 && (failed || frames.hasFlag(head, FrameFlag.Dirty))) {
    const address = BigInt(unmapping.own + (frame - head)) << 12n;
    current.sendSignal({ signal: SIGBUS, code: BUS_MCEERR_AR, address, addressLsb: unmapping.shift });
  }
  yield* folioUnlock(current, head);
  return failed ? -EBUSY : 0;
}

/** With the page locked, which is inside the lock of the file's mappings: that one may only be tried. */
function* unmapEverywhere(unmapping: Unmapping): Task<void> {
  const { current, head } = unmapping;
  const { frames } = current.kernel;
  const mapping = frames.mapping(head);
  if (!(mapping instanceof AddressSpace)) {
    yield* rmapWalk(current, head, function* (vma, page) {
      yield* unmapFrom(unmapping, vma, page);
      return true;
    });
    return;
  }
  const inode = hugetlbInodeOf(mapping);
  if (inode === null) throw new Error(`${mapping.name} has no huge pages`);
  if (!(yield* mapping.iMmapRwsem.downWriteTrylock(current))) return;
  const first = frames.index(head);
  for (const vma of vmasMapping(inode, first, first + inode.pages)) {
    const page = vma.start + (first - vma.pgoff);
    if (!(yield* leaveSharedTable(unmapping, vma, page))) yield* unmapFrom(unmapping, vma, page);
  }
  yield* mapping.iMmapRwsem.upWrite(current);
}

/**
 * A table that other mappings of the file use too is left to them: true, or when the VMA is busy. The last one of them
 * unmaps the page.
 */
function* leaveSharedTable(unmapping: Unmapping, vma: VmArea, page: number): Task<boolean> {
  const { current, head } = unmapping;
  const lock = hugetlbVmaLockOf(vma);
  if (lock !== null && !(yield* lock.downWriteTrylock(current))) return true;
  const table = yield* lockEntryOf(current, vma, page, head);
  let left = false;
  if (table !== null) {
    const gather = yield* tlbGatherMmu(current, vma.mm);
    left = yield* hugePmdUnshare(vma, page, table, gather);
    yield* table.lock.unlock(current);
    yield* hugePmdUnshareFlush(current, gather);
    yield* tlbFinishMmu(current, gather);
    if (left) noteOwn(unmapping, vma, page);
  }
  if (lock !== null) yield* lock.upWrite(current);
  return left;
}

function noteOwn(unmapping: Unmapping, vma: VmArea, page: number): void {
  unmapping.shift = hstateOfVma(vma).shift;
  if (vma.mm === unmapping.current.mm && unmapping.own === -1) unmapping.own = page;
}

/** The locked table whose entry for `page` maps the huge page, the entry having been read; null, nothing locked: none. */
function* lockEntryOf(current: TaskStruct, vma: VmArea, page: number, head: number): Task<TablePage | null> {
  const { mm } = vma;
  const { pageTables } = mm.kernel;
  const table = hugetlbWalk(mm, vma, page);
  if (table === null || !(yield* hugePteLock(current, mm, vma, page, table))) return null;
  pageTables.read(table, hugeEntryIndex(mm, table, page));
  const present = (pageTables.flags(table.level) & EntryFlag.Present) !== 0;
  if (present && pageTables.frame(table.level) === head) return table;
  yield* table.lock.unlock(current);
  return null;
}

function* unmapFrom(unmapping: Unmapping, vma: VmArea, page: number): Task<void> {
  const { current, head } = unmapping;
  const { mm } = vma;
  const { frames, pageTables } = mm.kernel;
  const table = yield* lockEntryOf(current, vma, page, head);
  if (table === null) return;
  noteOwn(unmapping, vma, page);
  const index = hugeEntryIndex(mm, table, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const dirty = (pageTables.flags(table.level) & EntryFlag.Dirty) !== 0;
  yield* flushTlbPage(current, mm, page);
  if (dirty) frames.setFlags(head, FrameFlag.Dirty);
  hugetlbCountAdd(mm, -hstateOfVma(vma).pages);
  const broken: Halves = { hi: 0, lo: 0 };
  pageTables.format.packSwap(SWP_HWPOISON, head, 0, broken);
  yield table.setEntry;
  pageTables.write(table, index, broken.hi, broken.lo);
  hugetlbRemoveRmap(frames, head);
  yield* table.lock.unlock(current);
  yield frames.refPoint(head);
  frames.put(head);
}
