/**
 * N4, wrong on purpose: as V3, but what cannot be read under the VMA's lock is given to today's code with that lock still held. A
 * writer that holds mmap_lock waits for the readers of a VMA, so whoever waits for mmap_lock as such a reader may wait for
 * ever. BPF programs that an iterator ran under a VMA's lock did this in January 2026.
 * @see kernel-patches/bpf, pull requests 10633 and 10634, Puranjay Mohan
 */
import type { Task } from '../../../../base/task.ts';
import { untaggedPageRemoteUnlocked } from '../../../gup/get-user-pages-loop.ts';
import type { VmArea } from '../../../mm/vma.ts';
import { vmaEndRead } from '../../../mm/vma-lock.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../../design.ts';
import { RemoteFallback } from '../../remote-counters.ts';
import { flagsRefusal, isInside, lockRemoteVma, readRefusal } from '../lock-vma.ts';
import { v0MmapLock } from '../v0-mmap-lock.ts';
import { readPages } from '../v3-one-vma.ts';

export const n4MmapLockInside: RemoteAccessDesign = {
  name: 'n4',
  title: 'VMA lock, mmap_lock taken while it is held',
  wrong:
    'mmap_lock is waited for while the lock of a VMA is held, whose readers a writer of mmap_lock waits for',
  proposedBy: {
    author: 'nobody; Puranjay Mohan found it in BPF',
    date: 'January 2026',
    subject: 'kernel-patches/bpf 10633',
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
    const { mm, gupFlags } = transfer;
    const first = untaggedPageRemoteUnlocked(current, mm, transfer.page);
    const vma = flagsRefusal(gupFlags) ?? (yield* lockRemoteVma(current, mm, first));
    if (typeof vma === 'string') {
      current.kernel.remoteCounters.noteFallback(vma);
      return yield* v0MmapLock.accessRemoteVm(current, transfer);
    }
    const moved = yield* readInside(current, vma, first, transfer);
    yield* vmaEndRead(current, vma);
    return moved;
  },
};

function* readInside(
  current: TaskStruct,
  vma: VmArea,
  first: number,
  transfer: RemoteTransfer,
): Task<number> {
  let failed = isInside(vma, first, transfer)
    ? readRefusal(current, vma, transfer.gupFlags)
    : RemoteFallback.SeveralVmas;
  failed ??= yield* readPages(current, vma, first, transfer);
  if (failed === null) return transfer.length;
  current.kernel.remoteCounters.noteFallback(failed);
  return yield* v0MmapLock.accessRemoteVm(current, transfer);
}
