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
import { lockVmaUnderRcu } from '../../mm/lock-vma-under-rcu.ts';
import { countVmaLookup } from '../../mm/look-up-costs.ts';
import type { VmArea } from '../../mm/vma.ts';
import { vmaEndRead } from '../../mm/vma-lock.ts';
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

function* accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
  const { mm, offset, length, gupFlags } = transfer;
  const { frames } = current.kernel;
  const first = untaggedPageRemoteUnlocked(current, mm, transfer.page);
  let failed = refusalOutside(current, gupFlags);
  const vma = failed === null ? yield* lockVmaUnderRcu(current, mm, first) : null;
  if (vma === null) return yield* fallBack(current, transfer, failed ?? lockRefusal(mm));
  failed = refusalInside(current, vma, transfer, first);
  const pages = [0];
  const walk = new FastWalk(current, mm, gupFlags | FOLL_GET | FOLL_REMOTE, pages);
  const end = first + Math.ceil((offset + length) / PAGE_SIZE);
  let page = first;
  for (; page < end && failed === null; page += walk.taken) {
    failed = killRefusal(current);
    if (failed !== null) break;
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
    failed = stopReason(walk);
  }
  yield* vmaEndRead(current, vma);
  if (failed === null) return length;
  const moved = (gupFlags & FOLL_WRITE) === 0 ? 0 : Math.max(0, (page - first) * PAGE_SIZE - offset);
  return moved + (yield* fallBack(current, remainder(transfer, moved), failed));
}

/** Why no VMA is even looked for, or null. */
function refusalOutside(current: TaskStruct, gupFlags: number): RemoteFallback | null {
  if ((gupFlags & ~(FOLL_FORCE | FOLL_ANON | FOLL_WRITE)) !== 0) return RemoteFallback.Flags;
  if (!current.kernel.config.perVmaLocks) return RemoteFallback.NoVmaLocks;
  countVmaLookup(current);
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
  return readRefusal(current, vma, transfer.gupFlags);
}
