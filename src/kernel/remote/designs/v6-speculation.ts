/**
 * V6, for comparison, which nobody has proposed: no lock at all. The sequence number of mmap_lock says whether a writer ran; the
 * VMA is looked at under RCU, the pages are taken by the lockless walk of gup-fast and copied aside. If the number is the
 * same afterwards, no writer ran from the look-up to the end of the copy, and the bytes are the caller's; else they are
 * thrown away and today's code reads again.
 * What keeps each thing in place: the reference to the mm's users keeps its page tables, interrupts that are off each
 * table, a reference each page while it is copied, the entries seen again that it was mapped. The VMA is not kept: its
 * object may be another VMA at any time, of any process, so what was read of it is only used once the number has said
 * that it was this one.
 * Reads only: what was written could not be taken back.
 * @see Linux include/linux/mmap_lock.h, `mmap_lock_speculate_try_begin`, `mmap_lock_speculate_retry`; the same way of
 * looking is taken in kernel/events/uprobes.c, `find_active_uprobe_speculative`
 */

import type { SchedPoint, Task } from '../../../base/task.ts';
import { FOLL_GET, FOLL_REMOTE } from '../../gup/foll-flags.ts';
import { untaggedPageRemoteUnlocked } from '../../gup/get-user-pages-loop.ts';
import { FastWalk } from '../../gup/gup-fast-walk.ts';
import { localIrqRestore, localIrqSave } from '../../lock/irq.ts';
import { mmapLockSpeculateRetry, mmapLockSpeculateTryBegin } from '../../lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../../lock/rcu.ts';
import { countVmaLookup } from '../../mm/look-up-costs.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { copyPart, copyPointOf, fallBack, stopReason } from './fast-pages.ts';
import { flagsRefusal, isInside, killRefusal, readRefusal } from './lock-vma.ts';

const PAGE_SIZE = 4096;
/** Pages walked with interrupts off at one time. */
const BATCH = 16;

export const v6Speculation: RemoteAccessDesign = {
  name: 'v6',
  title: 'no lock: the sequence of mmap_lock, lockless walk of gup-fast',
  proposedBy: {
    author: 'nobody',
    date: 'a reference for the others',
    subject: 'include/linux/mmap_lock.h, mmap_lock_speculate_try_begin',
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
    const { mm, length, buffer, gupFlags } = transfer;
    const refused =
      flagsRefusal(gupFlags) ?? (current.kernel.config.perVmaLocks ? null : RemoteFallback.NoVmaLocks);
    if (refused !== null) return yield* fallBack(current, transfer, refused);
    yield mm.mmapLock.speculate;
    const sequence = mmapLockSpeculateTryBegin(mm);
    if (sequence === null) return yield* fallBack(current, transfer, RemoteFallback.WriterHolds);
    const bounce = { ...transfer, buffer: new Uint8Array(length) };
    let failed = yield* lookAtVma(current, bounce, sequence);
    failed ??= yield* readPages(current, bounce);
    yield mm.mmapLock.speculate;
    if (mmapLockSpeculateRetry(mm, sequence)) failed = RemoteFallback.WriterRan;
    if (failed !== null) return yield* fallBack(current, transfer, failed);
    buffer.set(bounce.buffer);
    return length;
  },
};

/** Why the VMA of the first page is not one for this transfer, or null. */
function* lookAtVma(
  current: TaskStruct,
  transfer: RemoteTransfer,
  sequence: number,
): Task<RemoteFallback | null> {
  const { mm, gupFlags } = transfer;
  const first = untaggedPageRemoteUnlocked(current, mm, transfer.page);
  countVmaLookup(current);
  rcuReadLock(current);
  yield mm.treeLoad;
  const vma = mm.vmas.lookup(first);
  let failed: RemoteFallback | null = RemoteFallback.Hole;
  if (vma !== null) {
    yield vma.recheck;
    // It may be any VMA by now; what this gives is nothing until the number has been looked at.
    failed = isInside(vma, first, transfer)
      ? readRefusal(current, vma, gupFlags)
      : RemoteFallback.SeveralVmas;
  }
  rcuReadUnlock(current);
  yield mm.mmapLock.speculate;
  return mmapLockSpeculateRetry(mm, sequence) ? RemoteFallback.WriterRan : failed;
}

/** Null when all pages are read into the transfer's buffer. */
function* readPages(current: TaskStruct, transfer: RemoteTransfer): Task<RemoteFallback | null> {
  const { mm, offset, length, gupFlags } = transfer;
  const { frames } = current.kernel;
  const first = untaggedPageRemoteUnlocked(current, mm, transfer.page);
  const end = first + Math.ceil((offset + length) / PAGE_SIZE);
  const pages = [0];
  const walk = new FastWalk(current, mm, gupFlags | FOLL_GET | FOLL_REMOTE, pages);
  let failed: RemoteFallback | null = null;
  for (let page = first; page < end && failed === null; page += walk.taken) {
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
      yield frames.refPoint(frame);
      frames.put(frame);
    }
    failed = stopReason(walk);
  }
  return failed;
}
