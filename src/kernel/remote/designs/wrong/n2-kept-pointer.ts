/**
 * N2, wrong on purpose: the VMA is looked up, locked and asked for the first page, its lock is let go after that page, and the
 * pointer is used for the pages that follow. It is the mistake that the `vmas` array of get_user_pages invited: a pointer is
 * good only as long as the lock under which it was found. The mapping may be another one by then, or the object a VMA of
 * another process.
 * @see Lorenzo Stoakes, "remove the vmas parameter from GUP APIs", April 2023
 */
import type { Task } from '../../../../base/task.ts';
import { untaggedPageRemoteUnlocked } from '../../../gup/get-user-pages-loop.ts';
import type { VmArea } from '../../../mm/vma.ts';
import { vmaEndRead } from '../../../mm/vma-lock.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../../design.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { flagsRefusal, lockRemoteVma, readRefusal, remainder } from '../lock-vma.ts';
import { readPresentPage } from '../present-page.ts';
import { v0MmapLock } from '../v0-mmap-lock.ts';
import { grabUnlocked, readGrabbed } from './unlocked-page.ts';

const PAGE_SIZE = 4096;

export const n2KeptPointer: RemoteAccessDesign = {
  name: 'n2',
  title: 'VMA lock let go between pages, the pointer kept',
  wrong: 'after the first page of a VMA its lock is not held, and the pointer to it is still used',
  proposedBy: { author: 'nobody', date: 'never', subject: 'what the vmas array of GUP invited' },
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
  const { mm, length, buffer, gupFlags } = transfer;
  let failed = flagsRefusal(gupFlags);
  let page = untaggedPageRemoteUnlocked(current, mm, transfer.page);
  let { offset } = transfer;
  let moved = 0;
  let kept: VmArea | null = null;
  while (moved < length && failed === null) {
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    if (kept !== null && page < kept.end) {
      const frame = yield* grabUnlocked(current, mm, page);
      if (frame === null) failed = RemoteFallback.AbsentPage;
      else yield* readGrabbed(current, frame, offset, buffer, moved, bytes);
    } else {
      const first = yield* readFirstPage(current, transfer, page, offset, moved, bytes);
      if (typeof first === 'string') failed = first;
      else kept = first;
    }
    if (failed !== null) break;
    moved += bytes;
    page += 1;
    offset = 0;
  }
  if (failed !== null) current.kernel.remoteCounters.noteFallback(failed);
  return moved;
}

/** The VMA, no longer locked. */
function* readFirstPage(
  current: TaskStruct,
  { mm, buffer, gupFlags }: RemoteTransfer,
  page: number,
  offset: number,
  at: number,
  bytes: number,
): Task<VmArea | RemoteFallback> {
  const vma = yield* lockRemoteVma(current, mm, page);
  if (typeof vma === 'string') return vma;
  let failed = readRefusal(current, vma, gupFlags);
  if (failed === null && !(yield* readPresentPage(current, vma, page, offset, buffer, at, bytes))) {
    failed = RemoteFallback.AbsentPage;
  }
  yield* vmaEndRead(current, vma);
  return failed ?? vma;
}
