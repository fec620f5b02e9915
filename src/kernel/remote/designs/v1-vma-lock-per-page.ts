/**
 * V1, the first version of the series: a short cut for reads, page by page. Each page is looked up anew, read under the lock
 * of its VMA and let go; what is not plainly there goes to today's code, with all that comes after it. A read over
 * several VMAs may so show bytes of mappings that were never there at the same time.
 * @see Rik van Riel, "[PATCH 3/3] mm: read remote memory without the mmap lock where possible", 16 June 2026
 */
import type { Task } from '../../../base/task.ts';
import { untaggedPageRemoteUnlocked } from '../../gup/get-user-pages-loop.ts';
import { vmaEndRead } from '../../mm/vma-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { flagsRefusal, killRefusal, lockRemoteVma, readRefusal, remainder } from './lock-vma.ts';
import { readPresentPage } from './present-page.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';

const PAGE_SIZE = 4096;

export const v1VmaLockPerPage: RemoteAccessDesign = {
  name: 'v1',
  title: 'VMA lock and a walk for each page, reads only',
  proposedBy: {
    author: 'Rik van Riel',
    date: '16 June 2026',
    subject: '[PATCH 3/3] mm: read remote memory without the mmap lock where possible',
  },
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
    const moved = yield* readPageByPage(current, transfer, false);
    if (moved === transfer.length) return moved;
    return moved + (yield* v0MmapLock.accessRemoteVm(current, remainder(transfer, moved)));
  },
};

/** Bytes read before the first page that was not to be had; why it was not is noted. */
export function* readPageByPage(
  current: TaskStruct,
  transfer: RemoteTransfer,
  interruptsOff: boolean,
): Task<number> {
  const { mm, length, gupFlags } = transfer;
  const { remoteCounters } = current.kernel;
  let failed = flagsRefusal(gupFlags);
  // The mask of the tag bits never changes once an mm is used: it may be read without any lock.
  let page = untaggedPageRemoteUnlocked(current, mm, transfer.page);
  let { offset } = transfer;
  let moved = 0;
  while (moved < length && failed === null) {
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    failed = yield* readOnePage(current, transfer, page, offset, moved, bytes, interruptsOff);
    if (failed !== null) break;
    moved += bytes;
    page += 1;
    offset = 0;
  }
  if (failed !== null) remoteCounters.noteFallback(failed);
  return moved;
}

/** Null when the bytes are read. */
function* readOnePage(
  current: TaskStruct,
  { mm, buffer, gupFlags }: RemoteTransfer,
  page: number,
  offset: number,
  at: number,
  bytes: number,
  interruptsOff: boolean,
): Task<RemoteFallback | null> {
  const vma = yield* lockRemoteVma(current, mm, page);
  if (typeof vma === 'string') return vma;
  let failed = readRefusal(current, vma, gupFlags) ?? killRefusal(current);
  if (
    failed === null &&
    !(yield* readPresentPage(current, vma, page, offset, buffer, at, bytes, interruptsOff))
  ) {
    failed = RemoteFallback.AbsentPage;
  }
  yield* vmaEndRead(current, vma);
  return failed;
}
