/**
 * V2, the second version of the series: as the first, simplified to what callers ask for, at most a page, and with
 * interrupts disabled during the walk. The VMA's lock keeps the VMA, not the tables below it; who frees tables of a
 * collapsed range waits for CPUs with interrupts disabled (`tlb_remove_table_sync_one`).
 * Found here: it can wait for ever. The lock of the page table is spun for with interrupts disabled, while who holds it, for
 * instance a fault that copies the page, waits until each CPU that has the mm loaded has taken its interrupt and flushed
 * (x86-64; arm64 interrupts nobody for that). The reader's CPU is one of those where the reader is a thread of the target. Without interrupts disabled, as V1 has it, there is no such wait.
 * On PREEMPT_RT, which is not modelled, the lock of a page table sleeps and could not be taken like this.
 * @see Rik van Riel, "[PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 24 June 2026
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { RemoteFallback } from '../remote-counters.ts';
import { remainder } from './lock-vma.ts';
import { v0MmapLock } from './v0-mmap-lock.ts';
import { readPageByPage } from './v1-vma-lock-per-page.ts';

const PAGE_SIZE = 4096;

export const v2InterruptsOff: RemoteAccessDesign = {
  name: 'v2',
  title: 'VMA lock and a walk with interrupts off, reads of at most a page',
  proposedBy: {
    author: 'Rik van Riel',
    date: '24 June 2026',
    subject: '[PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock',
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
    if (transfer.length > PAGE_SIZE) {
      current.kernel.remoteCounters.noteFallback(RemoteFallback.MoreThanAPage);
      return yield* v0MmapLock.accessRemoteVm(current, transfer);
    }
    const moved = yield* readPageByPage(current, transfer, true);
    if (moved === transfer.length) return moved;
    return moved + (yield* v0MmapLock.accessRemoteVm(current, remainder(transfer, moved)));
  },
};
