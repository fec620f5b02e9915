/**
 * V5, an idea of the discussion: the lock of the one VMA that a transfer lies in, under which its permissions are
 * checked, and then, instead of GUP, the lockless walk of gup-fast through the other process' tables. No lock of a table
 * is taken, and the VMA's is held until all is copied. The walk has no VMA to ask: it takes pages that are present and
 * plain, and for a write only where the pte itself allows it. Whatever else comes up is today's code's. A read begins
 * anew there: bytes moved before the lock was let go may be of a mapping that is gone. A write goes on with the page that
 * could not be had: each is written once, or what the process stores in between would be lost.
 * A page that is read is marked referenced, its pte is not marked young.
 * @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026, in reply to David
 * Hildenbrand; mm/gup.c, `gup_fast`
 */

import type { SchedPoint, Task } from '../../../base/task.ts';
import { FOLL_ANON, FOLL_FORCE, FOLL_GET, FOLL_REMOTE, FOLL_WRITE } from '../../gup/foll-flags.ts';
import { untaggedPageRemoteUnlocked } from '../../gup/get-user-pages-loop.ts';
import { FastWalk } from '../../gup/gup-fast-walk.ts';
import { markFolioDirtyLock } from '../../gup/pin.ts';
import { localIrqRestore, localIrqSave } from '../../lock/irq.ts';
import { rcuReadLock } from '../../lock/rcu.ts';
import { failureSeen, isLocked, notLocked } from '../../mm/lock-vma-under-rcu.ts';
import { countVmaLookup } from '../../mm/look-up-costs.ts';
import type { VmArea } from '../../mm/vma.ts';
import { countReader, countReaderOff } from '../../mm/vma-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { copyPart, copyPointOf, fallBack, stopReason } from './fast-pages.ts';
import { isInside, killRefusal, lockRefusal, readRefusal, remainder } from './lock-vma.ts';

const PAGE_SIZE = 4096;
/** Pages walked with interrupts off at one time. */
const BATCH = 16;

export const v5GupFast: RemoteAccessDesign = {
  name: 'v5',
  title: 'VMA lock for the checks, lockless walk of gup-fast',
  proposedBy: {
    author: 'David Hildenbrand, Rik van Riel',
    date: '26 June 2026',
    subject: 'Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock',
  },
  serves: {
    reads: true,
    writes: true,
    absentPages: false,
    stackGrowth: false,
    hugetlb: false,
    pfnmap: false,
    multiVma: false,
  },
  accessRemoteVm,
};

function accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
  const refused = refusalOutside(current, transfer.gupFlags);
  return refused === null ? accessOneVma(current, transfer) : fallBack(current, transfer, refused);
}

/**
 * The steps of `lockVmaUnderRcu` and `vmaEndRead` are written out: a point that comes from a task inside costs more than
 * what is done there, and these are four of thirteen.
 */
function* accessOneVma(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
  const { mm, gupFlags } = transfer;
  const { frames } = current.kernel;
  const first = untaggedPageRemoteUnlocked(current, mm, transfer.page);
  // Not before the task runs, whose time it is.
  countVmaLookup(current);
  rcuReadLock(current);
  yield mm.treeLoad;
  // None is a failure, too.
  const found = mm.vmas.lookup(first) as VmArea;
  let failure = failureSeen(mm, found);
  if (failure === null) yield found.startRead;
  failure ??= countReader(current, found);
  if (failure === null) yield found.recheck;
  const locked = isLocked(current, mm, found, first, failure);
  const vma = locked ? found : yield* notLocked(current, mm, found, first, failure);
  if (vma === null) return yield* fallBack(current, transfer, lockRefusal(mm));
  let failed = refusalInside(current, vma, transfer, first);
  const pages = [0];
  const walk = new FastWalk(current, mm, gupFlags | FOLL_GET | FOLL_REMOTE, pages);
  const end = first + Math.ceil((transfer.offset + transfer.length) / PAGE_SIZE);
  let page = first;
  for (; page < end && failed === null; page += walk.taken) {
    localIrqSave(current);
    let point: SchedPoint | null = walk.begin(page, Math.min(page + BATCH, end));
    for (; point !== null; point = walk.next()) yield point;
    localIrqRestore(current);
    for (let i = 0; i < walk.taken; i++) {
      const frame = pages[i] as number;
      yield copyPointOf(current, transfer, page + i - first, frame);
      copyPart(current, transfer, page + i - first, frame);
      if ((gupFlags & FOLL_WRITE) !== 0) yield* markFolioDirtyLock(current, frame);
      yield frames.refPoint(frame);
      frames.put(frame);
    }
    failed = refusalOfMore(current, walk, page + walk.taken < end);
  }
  yield vma.endRead;
  if (countReaderOff(current, vma)) yield* mm.vmaWriterWait.wakeUp(vma);
  return failed === null ? transfer.length : yield* finishByToday(current, transfer, page - first, failed);
}

/** Why there is no next batch, or null: the walk has stopped, or the reader was killed before all was read. */
function refusalOfMore(current: TaskStruct, walk: FastWalk, more: boolean): RemoteFallback | null {
  return stopReason(walk) ?? (more ? killRefusal(current) : null);
}

/** What is left after `pages` pages, by today's code: of a write what is not written, of a read all. */
function* finishByToday(
  current: TaskStruct,
  transfer: RemoteTransfer,
  pages: number,
  reason: RemoteFallback,
): Task<number> {
  const write = (transfer.gupFlags & FOLL_WRITE) !== 0;
  const moved = write ? Math.max(0, pages * PAGE_SIZE - transfer.offset) : 0;
  return moved + (yield* fallBack(current, remainder(transfer, moved), reason));
}

/** Why no VMA is even looked for, or null. */
function refusalOutside(current: TaskStruct, gupFlags: number): RemoteFallback | null {
  if ((gupFlags & ~(FOLL_FORCE | FOLL_ANON | FOLL_WRITE)) !== 0) return RemoteFallback.Flags;
  if (!current.kernel.config.perVmaLocks) return RemoteFallback.NoVmaLocks;
  return null;
}

/** Why the transfer is nothing for this VMA, or null. Needs its lock. */
function refusalInside(
  current: TaskStruct,
  vma: VmArea,
  transfer: RemoteTransfer,
  first: number,
): RemoteFallback | null {
  if (!isInside(vma, first, transfer)) return RemoteFallback.SeveralVmas;
  return readRefusal(current, vma, transfer.gupFlags) ?? killRefusal(current);
}
