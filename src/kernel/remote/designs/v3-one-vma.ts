/**
 * V3, what reviewers asked of the series: the short cut only for reads inside one VMA, whose lock is held from the first byte
 * to the last; anything else is today's code from the start. So a read shows one layout. If a page turns out to be absent
 * on the way, the read begins anew under mmap_lock: bytes read before the lock was let go may be of a mapping that is gone.
 * @see Suren Baghdasaryan, 17 June 2026, and Lorenzo Stoakes, 19 June 2026, "Re: [PATCH 3/3] mm: read remote memory
 * without the mmap lock where possible"
 */
import type { Task } from '../../../base/task.ts';
import { untaggedPageRemoteUnlocked } from '../../gup/get-user-pages-loop.ts';
import type { VmArea } from '../../mm/vma.ts';
import { vmaEndRead } from '../../mm/vma-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { flagsRefusal, isInside, killRefusal, lockRemoteVma, readRefusal } from './lock-vma.ts';
import { readPresentPage } from './present-page.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';

const PAGE_SIZE = 4096;

export const v3OneVma: RemoteAccessDesign = {
  name: 'v3',
  title: 'VMA lock over the whole read, inside one VMA only',
  proposedBy: {
    author: 'Suren Baghdasaryan, Lorenzo Stoakes',
    date: '17 and 19 June 2026',
    subject: 'Re: [PATCH 3/3] mm: read remote memory without the mmap lock where possible',
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

/** Null when all of it is read. */
function* readInOneVma(current: TaskStruct, transfer: RemoteTransfer): Task<RemoteFallback | null> {
  const refused = flagsRefusal(transfer.gupFlags);
  if (refused !== null) return refused;
  const first = untaggedPageRemoteUnlocked(current, transfer.mm, transfer.page);
  const vma = yield* lockRemoteVma(current, transfer.mm, first);
  if (typeof vma === 'string') return vma;
  let failed = isInside(vma, first, transfer)
    ? readRefusal(current, vma, transfer.gupFlags)
    : RemoteFallback.SeveralVmas;
  failed ??= yield* readPages(current, vma, first, transfer);
  yield* vmaEndRead(current, vma);
  return failed;
}

/** Reads a transfer that the VMA holds. Null when it is done, or what stops it: a page that is absent, a kill. */
export function* readPages(
  current: TaskStruct,
  vma: VmArea,
  first: number,
  { buffer, length, offset: firstOffset }: RemoteTransfer,
): Task<RemoteFallback | null> {
  let page = first;
  let offset = firstOffset;
  for (let moved = 0; moved < length; page++) {
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    const killed = killRefusal(current);
    if (killed !== null) return killed;
    if (!(yield* readPresentPage(current, vma, page, offset, buffer, moved, bytes))) {
      return RemoteFallback.AbsentPage;
    }
    moved += bytes;
    offset = 0;
  }
  return null;
}
