/**
 * V5, an idea of the discussion: the lock of the one VMA that a transfer lies in, under which its permissions are
 * checked, and then, instead of GUP, the lockless walk of gup-fast through the other process' tables. No lock of a table
 * is taken, and the VMA's is held until all is copied. The walk has no VMA to ask: it takes pages that are present and
 * plain, and for a write only where the pte itself allows it. Whatever else comes up is today's code's, which begins
 * anew: bytes moved before the lock was let go may be of a mapping that is gone.
 * A page that is read is marked referenced, its pte is not marked young.
 * @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026, in reply to David
 * Hildenbrand; mm/gup.c, `gup_fast`
 */
import type { SchedPoint, Task } from '../../../base/task.ts';
import { FOLL_ANON, FOLL_FORCE, FOLL_GET, FOLL_REMOTE, FOLL_WRITE } from '../../gup/foll-flags.ts';
import { untaggedPageRemote } from '../../gup/get-user-pages-loop.ts';
import { FastWalk } from '../../gup/gup-fast-walk.ts';
import { markFolioDirtyLock } from '../../gup/pin.ts';
import { localIrqRestore, localIrqSave } from '../../lock/irq.ts';
import type { VmArea } from '../../mm/vma.ts';
import { vmaEndRead } from '../../mm/vma-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { copyRemotePage } from '../copy-remote-page.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { isInside, lockRemoteVma, readRefusal } from './lock-vma.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';

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
  *accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
    const failed = yield* moveInOneVma(current, transfer);
    if (failed === null) return transfer.length;
    current.kernel.remoteCounters.noteFallback(failed);
    return yield* v0MmapLock.accessRemoteVm(current, transfer);
  },
};

/** Null when all of it is moved. */
function* moveInOneVma(current: TaskStruct, transfer: RemoteTransfer): Task<RemoteFallback | null> {
  const { mm, gupFlags, offset, length } = transfer;
  const { remoteCounters } = current.kernel;
  if ((gupFlags & ~(FOLL_FORCE | FOLL_ANON | FOLL_WRITE)) !== 0) return RemoteFallback.Flags;
  const first = untaggedPageRemote(current, mm, transfer.page);
  const vma = yield* lockRemoteVma(current, mm, first);
  if (typeof vma === 'string') return vma;
  let failed = refusal(current, vma, transfer, first);
  const end = first + Math.ceil((offset + length) / PAGE_SIZE);
  const pages: number[] = [];
  const walk = new FastWalk(current, mm, gupFlags | FOLL_GET | FOLL_REMOTE, pages);
  for (let page = first; page < end && failed === null; page += BATCH) {
    const batchEnd = page + BATCH < end ? page + BATCH : end;
    remoteCounters.walks++;
    localIrqSave(current);
    let point: SchedPoint | null = walk.begin(page, batchEnd);
    for (; point !== null; point = walk.next()) yield point;
    localIrqRestore(current);
    for (let i = 0; i < walk.taken; i++)
      yield* copyPage(current, transfer, page + i - first, pages[i] as number);
    if (walk.taken < batchEnd - page)
      failed = walk.isAbsent ? RemoteFallback.AbsentPage : RemoteFallback.FastWalk;
  }
  yield* vmaEndRead(current, vma);
  return failed;
}

/** Why a transfer is nothing for this VMA, or null. */
function refusal(
  current: TaskStruct,
  vma: VmArea,
  transfer: RemoteTransfer,
  first: number,
): RemoteFallback | null {
  if (!isInside(vma, first, transfer)) return RemoteFallback.SeveralVmas;
  return readRefusal(current, vma, transfer.gupFlags);
}

/** The transfer's page `number`, from 0, which is `frame`; gives the reference back. */
function* copyPage(
  current: TaskStruct,
  { offset, buffer, length, gupFlags }: RemoteTransfer,
  number: number,
  frame: number,
): Task<void> {
  const { frames } = current.kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  const skip = number === 0 ? offset : 0;
  const moved = number === 0 ? 0 : number * PAGE_SIZE - offset;
  const bytes = Math.min(length - moved, PAGE_SIZE - skip);
  copyRemotePage(current, frame, skip, buffer, moved, bytes, write);
  if (write) yield* markFolioDirtyLock(current, frame);
  yield frames.refPoint(frame);
  frames.put(frame);
}
