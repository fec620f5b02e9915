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
import type { Task } from '../../../base/task.ts';
import { FOLL_ANON, FOLL_FORCE, FOLL_GET, FOLL_REMOTE, FOLL_WRITE } from '../../gup/foll-flags.ts';
import { untaggedPageRemote } from '../../gup/get-user-pages-loop.ts';
import { FastPosition } from '../../gup/gup-fast-position.ts';
import { gupFastWalk } from '../../gup/gup-fast-walk.ts';
import { markFolioDirtyLock } from '../../gup/pin.ts';
import { localIrqRestore, localIrqSave } from '../../lock/irq.ts';
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
  const { mm, gupFlags } = transfer;
  if ((gupFlags & ~(FOLL_FORCE | FOLL_ANON | FOLL_WRITE)) !== 0) return RemoteFallback.Flags;
  const first = untaggedPageRemote(current, mm, transfer.page);
  const vma = yield* lockRemoteVma(current, mm, first);
  if (typeof vma === 'string') return vma;
  let failed: RemoteFallback | null = RemoteFallback.SeveralVmas;
  if (isInside(vma, first, transfer)) {
    failed = readRefusal(current, vma, gupFlags) ?? (yield* movePages(current, transfer, first));
  }
  yield* vmaEndRead(current, vma);
  return failed;
}

/** In batches, so that interrupts are not off for long. Null when all of it is moved. */
function* movePages(
  current: TaskStruct,
  transfer: RemoteTransfer,
  first: number,
): Task<RemoteFallback | null> {
  const { mm, offset, length, gupFlags } = transfer;
  const { remoteCounters } = current.kernel;
  const flags = gupFlags | FOLL_GET | FOLL_REMOTE;
  const end = first + Math.ceil((offset + length) / PAGE_SIZE);
  const pages: number[] = [];
  for (let page = first; page < end; page += BATCH) {
    const at = new FastPosition(current, mm);
    const wanted = Math.min(end - page, BATCH);
    remoteCounters.walks++;
    localIrqSave(current);
    const taken = yield* gupFastWalk(at, page, page + wanted, flags, pages);
    localIrqRestore(current);
    yield* copyPages(current, transfer, page - first, pages, taken);
    if (taken < wanted) return at.isAbsent ? RemoteFallback.AbsentPage : RemoteFallback.FastWalk;
  }
  return null;
}

/** The first `count` of `pages`, which are the transfer's pages from `number` on; gives the references back. */
function* copyPages(
  current: TaskStruct,
  { offset, buffer, length, gupFlags }: RemoteTransfer,
  number: number,
  pages: readonly number[],
  count: number,
): Task<void> {
  const { frames } = current.kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  for (let i = 0; i < count; i++) {
    const frame = pages[i] as number;
    const skip = number + i === 0 ? offset : 0;
    const moved = number + i === 0 ? 0 : (number + i) * PAGE_SIZE - offset;
    const bytes = Math.min(length - moved, PAGE_SIZE - skip);
    copyRemotePage(current, frame, skip, buffer, moved, bytes, write);
    if (write) yield* markFolioDirtyLock(current, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
  }
}
