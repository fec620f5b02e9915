/**
 * N1, wrong on purpose: the VMA is looked up and asked under RCU, and its lock is never taken. RCU keeps the object from going
 * back to the allocator; it does not keep it from being changed, taken out or made another VMA between the question and
 * the walk. A read may so succeed where mprotect has already returned.
 * What is right about it: the page table's lock, the reference, one page at a time, today's code for the rest.
 * @see Linux mm/mmap_lock.c, `vma_start_read`, for what is missing
 */

import type { Task } from '../../../../base/task.ts';
import { untaggedPageRemoteUnlocked } from '../../../gup/get-user-pages-loop.ts';
import { rcuReadLock, rcuReadUnlock } from '../../../lock/rcu.ts';
import { countVmaLookup } from '../../../mm/look-up-costs.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../../design.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { flagsRefusal, readRefusal, remainder } from '../lock-vma.ts';
import { v0MmapLock } from '../v0-mmap-lock.ts';
import { grabUnlocked, readGrabbed } from './unlocked-page.ts';

const PAGE_SIZE = 4096;

export const n1RcuLookup: RemoteAccessDesign = {
  name: 'n1',
  title: 'VMA looked up under RCU, its lock not taken',
  wrong: 'nothing keeps the VMA as it is between the look-up and the walk',
  proposedBy: { author: 'nobody', date: 'never', subject: 'what vma_start_read is for' },
  serves: {
    reads: true,
    writes: false,
    absentPages: false,
    stackGrowth: false,
    hugetlb: false,
    pfnmap: false,
    multiVma: true,
  },
  *accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
    const moved = yield* readPages(current, transfer);
    if (moved === transfer.length) return moved;
    return moved + (yield* v0MmapLock.accessRemoteVm(current, remainder(transfer, moved)));
  },
};

function* readPages(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
  const { length } = transfer;
  let failed = flagsRefusal(transfer.gupFlags);
  let page = untaggedPageRemoteUnlocked(current, transfer.mm, transfer.page);
  let { offset } = transfer;
  let moved = 0;
  while (moved < length && failed === null) {
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    failed = yield* readOnePage(current, transfer, page, offset, moved, bytes);
    if (failed !== null) break;
    moved += bytes;
    page += 1;
    offset = 0;
  }
  if (failed !== null) current.kernel.remoteCounters.noteFallback(failed);
  return moved;
}

function* readOnePage(
  current: TaskStruct,
  { mm, buffer, gupFlags }: RemoteTransfer,
  page: number,
  offset: number,
  at: number,
  bytes: number,
): Task<RemoteFallback | null> {
  rcuReadLock(current);
  yield mm.treeLoad;
  countVmaLookup(current);
  const vma = mm.vmas.lookup(page);
  const failed = vma === null ? RemoteFallback.Hole : readRefusal(current, vma, gupFlags);
  const frame = failed === null ? yield* grabUnlocked(current, mm, page) : null;
  rcuReadUnlock(current);
  if (failed !== null) return failed;
  if (frame === null) return RemoteFallback.AbsentPage;
  yield* readGrabbed(current, frame, offset, buffer, at, bytes);
  return null;
}
