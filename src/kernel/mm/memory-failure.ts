/**
 * A page whose memory is broken: it is taken out of every page table, entries that say so take its place, and it never
 * goes back to the allocator. Who had dirty data there is told by SIGBUS. Pages of tmpfs stay in their file, where every
 * access fails from then on.
 * A transparent huge page is split first. Where that fails, who used the page is told all the same, but it stays mapped.
 * Left out: page-table pages and others of the kernel, early killing of processes that did not ask for the page
 * (PF_MCE_EARLY), keeping a huge page that could not be split from being handed out again.
 * @see Linux mm/memory-failure.c, `memory_failure`, `hwpoison_user_mappings`, `kill_procs`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { EBUSY, EHWPOISON } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { BUS_MCEERR_AR, SIGBUS } from '../signal.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioLock, folioUnlock } from './fault/folio-lock.ts';
import { hugetlbMemoryFailure } from './hugetlb/memory-failure.ts';
import { pteIndex, type TablePage } from './page-table.ts';
import { pteUnmapUnlock } from './page-table-alloc.ts';
import { folioIsolateLru } from './reclaim/lru.ts';
import { lockMappedPte } from './reclaim/mapped-pte.ts';
import { addMmCounter, mmCounter, removeRmap } from './rmap.ts';
import { rmapWalk } from './rmap-walk.ts';
import { SWP_HWPOISON } from './swap-entry.ts';
import { splitFolio } from './thp/split-folio.ts';
import { flushTlbPage } from './tlb.ts';
import type { VmArea } from './vma.ts';

/** A page of the running process that was unmapped. */
const NOT_MAPPED = -1;

/**
 * The memory of `frame` is broken, and `current` was about to use it. The caller's reference stays with the page for
 * ever. 0, -EBUSY (nothing can be done about this page) or -EHWPOISON (it was known to be broken).
 */
export function* memoryFailure(current: TaskStruct, frame: number): Task<number> {
  const { frames } = current.kernel;
  yield frames.refPoint(frame);
  if (frames.isZeroFrame(frame)) {
    frames.put(frame);
    return -EBUSY;
  }
  if (frames.hasFlag(frame, FrameFlag.Hugetlb)) return yield* hugetlbMemoryFailure(current, frame);
  if (frames.hasFlag(frame, FrameFlag.HwPoison)) {
    frames.put(frame);
    return -EHWPOISON;
  }
  frames.setFlags(frame, FrameFlag.HwPoison);
  if (frames.isLarge(frame) && !(yield* splitForFailure(current, frame))) {
    return yield* unsplitFailure(current, frame);
  }
  yield* folioLock(current, frame);
  const page = yield* unmapBroken(current, frame);
  if (page !== NOT_MAPPED && frames.hasFlag(frame, FrameFlag.Dirty)) {
    const address = BigInt(page) << 12n;
    current.sendSignal({ signal: SIGBUS, code: BUS_MCEERR_AR, address, addressLsb: 12 });
  }
  // `delete_from_lru_cache`; what lies in swap is still good, but this copy of it is not.
  if (folioIsolateLru(frames, frame)) frames.put(frame);
  frames.clearFlags(frame, FrameFlag.Active | FrameFlag.Unevictable);
  if (frames.hasFlag(frame, FrameFlag.SwapCache)) frames.clearFlags(frame, FrameFlag.Uptodate);
  yield* folioUnlock(current, frame);
  return 0;
}

/** Makes the page of a huge one a folio of its own; false when somebody holds on to it. @see `try_to_split_thp_page` */
export function* splitForFailure(current: TaskStruct, frame: number): Task<boolean> {
  const head = current.kernel.frames.head(frame);
  yield* folioLock(current, head);
  const split = (yield* splitFolio(current, frame)) === 0;
  yield* folioUnlock(current, split ? frame : head);
  return split;
}

/** Nothing is unmapped; the running process must not go on with what it has there. @see `kill_procs_now` */
function* unsplitFailure(current: TaskStruct, frame: number): Task<number> {
  const { frames, pageTables } = current.kernel;
  const head = frames.head(frame);
  const addressLsb = pageTables.format.pageShift + frames.order(head);
  let own = NOT_MAPPED;
  yield* rmapWalk(current, head, function* (vma, page) {
    const at = page + (frame - head) - (vma.indexOf(page) - frames.index(head));
    if (vma.mm === current.mm && own === NOT_MAPPED && at >= vma.start && at < vma.end) own = at;
    yield frames.refPoint(head);
    return true;
  });
  if (own !== NOT_MAPPED) {
    const address = BigInt(own) << 12n;
    current.sendSignal({ signal: SIGBUS, code: BUS_MCEERR_AR, address, addressLsb });
  }
  frames.clearFlags(frame, FrameFlag.HwPoison);
  frames.put(frame);
  return -EHWPOISON;
}

/** Out of every page table; the page at which `current` had it, or NOT_MAPPED. */
function* unmapBroken(current: TaskStruct, frame: number): Task<number> {
  let own = NOT_MAPPED;
  yield* rmapWalk(current, frame, function* (vma, page) {
    const table = yield* lockMappedPte(current, vma, page, frame);
    if (table === null) return true;
    if (vma.mm === current.mm && own === NOT_MAPPED) own = page;
    yield* replacePte(current, vma, page, table, frame);
    yield* pteUnmapUnlock(current, table);
    return true;
  });
  return own;
}

/** @see mm/rmap.c, `try_to_unmap_one` with TTU_HWPOISON */
function* replacePte(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  table: TablePage,
  frame: number,
): Task<void> {
  const { mm } = vma;
  const { frames, pageTables } = mm.kernel;
  const index = pteIndex(pageTables, page);
  const broken: Halves = { hi: 0, lo: 0 };
  pageTables.format.packSwap(SWP_HWPOISON, frame, 0, broken);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const dirty = (pageTables.flags(table.level) & EntryFlag.Dirty) !== 0;
  yield* flushTlbPage(current, mm, page);
  if (dirty) frames.setFlags(frame, FrameFlag.Dirty);
  addMmCounter(mm, mmCounter(frames, frame), -1);
  yield table.setEntry;
  pageTables.write(table, index, broken.hi, broken.lo);
  removeRmap(frames, frame, mm);
  yield frames.refPoint(frame);
  frames.put(frame);
}
