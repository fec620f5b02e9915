/**
 * Giving one anonymous page of an address space to a device: the pte is replaced by an entry that no CPU can use, so that the
 * device may change the page atomically. Any access by a CPU takes it back.
 * @see Linux mm/rmap.c, `make_device_exclusive`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { EOPNOTSUPP } from '../errno.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { FOLL_GET, FOLL_SPLIT_PMD, FOLL_WRITE } from '../gup/foll-flags.ts';
import type { UserPageAndVma } from '../gup/get-user-page-vma-remote.ts';
import { putUserPage } from '../gup/pin.ts';
import { inRun, unfoldRun } from '../mm/contiguous-ptes.ts';
import { packDeviceExclusive } from '../mm/device-exclusive-entry.ts';
import { folioLockKillable, folioUnlock } from '../mm/fault/folio-lock.ts';
import { type FolioWalk, FW_VMA_LOCKED, folioWalkEnd, folioWalkStart } from '../mm/folio-walk.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from '../mm/mmu-notifier.ts';
import { flushTlbPage } from '../mm/tlb.ts';
import type { VmArea } from '../mm/vma.ts';
import { entryWritable } from '../mm/vma-protection.ts';
import type { TaskStruct } from '../task-struct.ts';
import { getLockedRemotePage, type RemotePageLock } from './remote-lock.ts';

/**
 * The frame, its folio locked and with a reference, both for the caller to give back when the device knows the page; until
 * then no fault can take it back. Or -errno: -EFAULT (what GUP refuses: no mapping, not writable, memory of a device),
 * -EOPNOTSUPP (a file's page, or a huge page of a pool), -EINTR (killed).
 * @param lock what `lockRemotePage` took for this page; it may be another one afterwards
 * @param owner given to notifiers with the `exclusive` event, so that a device can let its own pass
 */
export function* makeDeviceExclusive(
  current: TaskStruct,
  lock: RemotePageLock,
  page: number,
  owner: object,
): Task<number> {
  const found: UserPageAndVma = { pages: [0], vma: null };
  const gupFlags = FOLL_GET | FOLL_WRITE | FOLL_SPLIT_PMD;
  for (;;) {
    // A page that a device has already comes back first: GUP faults on it.
    const error = yield* getLockedRemotePage(current, lock, page, gupFlags, found);
    if (error !== 0) return error;
    const [frame] = found.pages;
    const taken = yield* takePage(current, lock, found.vma as VmArea, page, frame, owner);
    if (taken === 0) return frame;
    yield* putUserPage(current, frame);
    if (taken !== LOOK_AGAIN) return taken;
  }
}

const LOOK_AGAIN = 1;

/** 0 with the folio locked; LOOK_AGAIN or -errno without. */
function* takePage(
  current: TaskStruct,
  lock: RemotePageLock,
  vma: VmArea,
  page: number,
  frame: number,
  owner: object,
): Task<number> {
  const { frames } = current.kernel;
  if (!frames.hasFlag(frame, FrameFlag.Anon) || frames.hasFlag(frame, FrameFlag.Hugetlb)) return -EOPNOTSUPP;
  const folio = frames.head(frame);
  const killed = yield* folioLockKillable(current, folio);
  if (killed !== 0) return killed;
  const range = mmuNotifierRange(vma.mm, page, page + 1, 'exclusive', owner);
  yield* mmuNotifierStart(current, range);
  const walk = yield* folioWalkStart(current, vma, page, lock.vma === null ? 0 : FW_VMA_LOCKED);
  const same = walk !== null && isStillThere(current, walk, frame);
  if (same) yield* replaceEntry(current, vma, page, walk);
  if (walk !== null) yield* folioWalkEnd(current, walk);
  yield* mmuNotifierEnd(current, range);
  if (same) return 0;
  yield* folioUnlock(current, folio);
  return LOOK_AGAIN;
}

/** A page of anonymous memory that is mapped writable has this one pte and no other. */
function isStillThere({ kernel }: TaskStruct, walk: FolioWalk, frame: number): boolean {
  return (
    walk.frame === frame && walk.table.level === kernel.pageTables.lastLevel && entryWritable(walk.flags)
  );
}

/** The reference and the map count of the pte are the new entry's. */
function* replaceEntry(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  { table, index, frame }: FolioWalk,
): Task<void> {
  const { kernel } = current;
  const { frames, pageTables } = kernel;
  if (inRun(kernel, table, index)) yield* unfoldRun(current, vma.mm, table, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const flags = pageTables.flags(table.level);
  yield* flushTlbPage(current, vma.mm, page);
  if ((flags & EntryFlag.Dirty) !== 0) frames.setFlags(frame, FrameFlag.Dirty);
  const entry: Halves = { hi: 0, lo: 0 };
  packDeviceExclusive(pageTables, frame, flags, entry);
  yield table.setEntry;
  pageTables.write(table, index, entry.hi, entry.lo);
}
