/**
 * V0, what Linux does today: mmap_lock held for reading over the whole transfer, one page at a time through GUP, which
 * may not drop the lock. A page that has to wait for userfaultfd therefore fails, and a fault that needs I/O sleeps
 * with the lock held.
 * @see Linux mm/memory.c, `__access_remote_vm`
 */
import type { Task } from '../../../base/task.ts';
import { FOLL_WRITE } from '../../gup/foll-flags.ts';
import { getUserPageVmaRemote, type UserPageAndVma } from '../../gup/get-user-page-vma-remote.ts';
import { untaggedPageRemote } from '../../gup/get-user-pages-loop.ts';
import { markFolioDirtyLock } from '../../gup/pin.ts';
import { expandStack } from '../../mm/stack.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { copyRemotePage } from '../copy-remote-page.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';
import { vmOpsAccess } from '../vm-ops-access.ts';

const PAGE_SIZE = 4096;

export const v0MmapLock: RemoteAccessDesign = {
  name: 'v0',
  title: 'mmap_lock for everything',
  proposedBy: { author: 'Linux', date: 'today', subject: 'mm/memory.c, __access_remote_vm' },
  serves: {
    reads: 'mmap_lock',
    writes: 'mmap_lock',
    absentPages: 'mmap_lock',
    stackGrowth: 'mmap_lock',
    hugetlb: 'mmap_lock',
    pfnmap: 'mmap_lock',
    multiVma: 'mmap_lock',
  },
  accessRemoteVm,
};

function* accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
  const { mm, buffer, length, gupFlags } = transfer;
  if ((yield* mm.mmapLock.downReadKillable(current)) !== 0) return 0;
  let page = untaggedPageRemote(current, mm, transfer.page);
  let { offset } = transfer;
  // A failed expansion has dropped the lock.
  if (mm.vmas.lookup(page) === null && (yield* expandStack(current, mm, page)) === null) return 0;

  const { frames } = current.kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  const found: UserPageAndVma = { pages: [0], vma: null };
  let moved = 0;
  while (moved < length) {
    const failed = yield* getUserPageVmaRemote(current, mm, page, gupFlags, found);
    if (failed !== 0) {
      // Another thread may have unmapped the rest meanwhile, or the transfer reaches below the next stack.
      const vma = mm.vmas.lookup(page);
      if (vma === null) {
        if ((yield* expandStack(current, mm, page)) === null) return moved;
        continue;
      }
      // Whatever GUP refused: memory of a device may be had in another way, and all that is left of it at once.
      const rest = buffer.subarray(moved, length);
      const accessed = yield* vmOpsAccess(current, vma, page, offset, rest, write);
      if (accessed <= 0) break;
      moved += accessed;
      page += Math.floor((offset + accessed) / PAGE_SIZE);
      offset = (offset + accessed) % PAGE_SIZE;
      continue;
    }
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    const [frame] = found.pages;
    copyRemotePage(current, frame, offset, buffer, moved, bytes, write);
    if (write) yield* markFolioDirtyLock(current, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
    moved += bytes;
    page += 1;
    offset = 0;
  }
  yield* mm.mmapLock.upRead(current);
  return moved;
}
