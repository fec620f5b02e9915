/**
 * N3, wrong on purpose: the VMA is locked, but the tables are walked without their locks, and nothing is looked at again once the
 * entry was read. RCU keeps the memory of a table that was taken out; it does not make it the table of this address. So the
 * walk may go on in a table that a collapse, a retraction or MADV_DONTNEED has taken out, and the page may be freed and be
 * another's before the reference is taken.
 * @see Rik van Riel, 25 June 2026, "Re: [PATCH v2 2/3] mm/pagewalk: let folio_walk_start() run under the per-VMA lock", who names
 * the race; Linux mm/gup.c, `gup_fast_pte_range`, for the two checks that are missing
 */
import { EntryFlag, pagesPerEntry, tableIndex } from '../../../../arch/paging-format.ts';
import type { Task } from '../../../../base/task.ts';
import { untaggedPageRemoteUnlocked } from '../../../gup/get-user-pages-loop.ts';
import { rcuReadLock, rcuReadUnlock } from '../../../lock/rcu.ts';
import type { MmStruct } from '../../../mm/mm.ts';
import { rootTable } from '../../../mm/page-table-alloc.ts';
import type { VmArea } from '../../../mm/vma.ts';
import { vmaEndRead } from '../../../mm/vma-lock.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../../design.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { flagsRefusal, isInside, lockRemoteVma, readRefusal } from '../lock-vma.ts';
import { v0MmapLock } from '../v0-mmap-lock.ts';
import { readGrabbed } from './unlocked-page.ts';

const PAGE_SIZE = 4096;

export const n3LocklessWalk: RemoteAccessDesign = {
  name: 'n3',
  title: 'VMA lock, tables walked under RCU alone',
  wrong: 'neither the lock of the page table is taken nor its entries looked at again',
  proposedBy: {
    author: 'nobody; Rik van Riel names the race',
    date: '25 June 2026',
    subject: 'Re: [PATCH v2 2/3] mm/pagewalk: let folio_walk_start() run under the per-VMA lock',
  },
  serves: {
    reads: true,
    writes: false,
    absentPages: false,
    stackGrowth: false,
    hugetlb: false,
    pfnmap: false,
    multiVma: false,
  },
  *accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
    const failed = yield* readInOneVma(current, transfer);
    if (failed === null) return transfer.length;
    current.kernel.remoteCounters.noteFallback(failed);
    return yield* v0MmapLock.accessRemoteVm(current, transfer);
  },
};

function* readInOneVma(current: TaskStruct, transfer: RemoteTransfer): Task<RemoteFallback | null> {
  const refused = flagsRefusal(transfer.gupFlags);
  if (refused !== null) return refused;
  const first = untaggedPageRemoteUnlocked(current, transfer.mm, transfer.page);
  const vma = yield* lockRemoteVma(current, transfer.mm, first);
  if (typeof vma === 'string') return vma;
  let failed = isInside(vma, first, transfer)
    ? readRefusal(current, vma, transfer.gupFlags)
    : RemoteFallback.SeveralVmas;
  if (failed === null && !(yield* readPages(current, vma, first, transfer))) {
    failed = RemoteFallback.AbsentPage;
  }
  yield* vmaEndRead(current, vma);
  return failed;
}

/** False when a page is absent. */
function* readPages(
  current: TaskStruct,
  { mm }: VmArea,
  first: number,
  { buffer, length, offset: firstOffset }: RemoteTransfer,
): Task<boolean> {
  let offset = firstOffset;
  let page = first;
  for (let moved = 0; moved < length; page++) {
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    rcuReadLock(current);
    const frame = yield* grabWithoutLock(current, mm, page);
    rcuReadUnlock(current);
    if (frame === null) return false;
    yield* readGrabbed(current, frame, offset, buffer, moved, bytes);
    moved += bytes;
    offset = 0;
  }
  return true;
}

/** The frame that the entry named when it was read, with a reference to whatever it is by now. */
function* grabWithoutLock(current: TaskStruct, mm: MmStruct, page: number): Task<number | null> {
  const { pageTables, frames, remoteCounters } = current.kernel;
  const { format } = pageTables;
  remoteCounters.walks++;
  let table = rootTable(mm);
  for (;;) {
    yield table.readEntry;
    pageTables.read(table, tableIndex(format, page, table.level));
    if (!format.isTable(pageTables.hi, pageTables.lo, table.level)) break;
    table = pageTables.tableAt(pageTables.frame(table.level));
  }
  if ((pageTables.flags(table.level) & EntryFlag.Present) === 0) return null;
  const mapped = pageTables.frame(table.level);
  const special = (pageTables.flags(table.level) & EntryFlag.Special) !== 0;
  if (frames.isZeroFrame(mapped)) return frames.zeroFrame;
  if (special) return null;
  const frame = mapped + (page % pagesPerEntry(format, table.level));
  yield frames.refPoint(frame);
  return frames.tryGet(frame) ? frame : null;
}
