/**
 * V0, what Linux does today: mmap_lock held for reading over the whole transfer, one page at a time through GUP, which
 * may not drop the lock. A page that has to wait for userfaultfd therefore fails, and a fault that needs I/O sleeps
 * with the lock held.
 * Left out: `vm_ops->access` (device memory), which no modelled VMA has.
 * @see Linux mm/memory.c, `__access_remote_vm`
 */
import type { Task } from '../../../base/task.ts';
import { FOLL_WRITE } from '../../gup/foll-flags.ts';
import { getUserPageVmaRemote, type UserPageAndVma } from '../../gup/get-user-page-vma-remote.ts';
import { untaggedPageRemote } from '../../gup/get-user-pages-loop.ts';
import { markFolioDirtyLock, putUserPage } from '../../gup/pin.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import { expandStack } from '../../mm/stack.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { RemoteAccessDesign, RemoteTransfer } from '../design.ts';

const PAGE_SIZE = 4096;

export const v0MmapLock: RemoteAccessDesign = {
  name: 'v0',
  title: 'mmap_lock for everything',
  accessRemoteVm,
};

function* accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number> {
  const { mm, buffer, length, gupFlags } = transfer;
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return 0;
  let page = untaggedPageRemote(current, mm, transfer.page);
  let { offset } = transfer;
  // A failed expansion has dropped the lock.
  if (mm.vmas.lookup(page) === null && (yield* expandStack(current, mm, page)) === null) return 0;

  const { memory } = current.kernel.machine;
  const found: UserPageAndVma = { pages: [0], vma: null };
  let moved = 0;
  while (moved < length) {
    const failed = yield* getUserPageVmaRemote(current, mm, page, gupFlags, found);
    if (failed !== 0) {
      // Another thread may have unmapped the rest meanwhile, or the transfer reaches below the next stack.
      if (mm.vmas.lookup(page) !== null) break;
      if ((yield* expandStack(current, mm, page)) === null) return moved;
      continue;
    }
    const rest = PAGE_SIZE - offset;
    const bytes = length - moved < rest ? length - moved : rest;
    const part = buffer.subarray(moved, moved + bytes);
    const [frame] = found.pages;
    if ((gupFlags & FOLL_WRITE) !== 0) {
      memory.writeBytes(frame, offset, part);
      yield* markFolioDirtyLock(current, frame);
    } else memory.readBytes(frame, offset, part);
    yield* putUserPage(current, frame);
    moved += bytes;
    page += 1;
    offset = 0;
  }
  yield* mmapReadUnlock(current, mm);
  return moved;
}
