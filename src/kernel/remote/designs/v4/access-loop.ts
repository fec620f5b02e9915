/**
 * Part 2 of V4: the inner loop, which only gets at pages and copies. No VMA is looked up in it and no stack grows; which lock is
 * held does not matter to it, but for memory of a device.
 * @see Rik van Riel, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 26 June 2026
 */
import type { Task } from '../../../../base/task.ts';
import { FOLL_WRITE } from '../../../gup/foll-flags.ts';
import { getUserPageOfVma } from '../../../gup/get-user-pages-of-vma.ts';
import { markFolioDirtyLock } from '../../../gup/pin.ts';
import type { TaskStruct } from '../../../task-struct.ts';
import { copyRemotePage } from '../../copy-remote-page.ts';
import type { RemoteTransfer } from '../../design.ts';
import { vmOpsAccess } from '../../vm-ops-access.ts';
import type { AccessLock } from './lock-for-access.ts';

const PAGE_SIZE = 4096;

/** Bytes moved. Fewer than all: something stopped it or, if `lock.held` is false now, a fault let the lock go. */
export function* accessPages(current: TaskStruct, transfer: RemoteTransfer, lock: AccessLock): Task<number> {
  const { buffer, length, gupFlags } = transfer;
  const { frames, copyPoints } = current.kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  const pages: [number] = [0];
  let { page } = lock;
  let { offset } = transfer;
  let moved = 0;
  while (moved < length) {
    // Part 5: the VMA goes along.
    const failed = yield* getUserPageOfVma(current, lock, page, gupFlags, pages);
    if (failed !== 0) {
      if (!lock.held || lock.ownLock) return moved;
      const rest = buffer.subarray(moved, length);
      const accessed = yield* vmOpsAccess(current, lock.vma, page, offset, rest, write);
      if (accessed <= 0) return moved;
      moved += accessed;
      page += Math.floor((offset + accessed) / PAGE_SIZE);
      offset = (offset + accessed) % PAGE_SIZE;
      continue;
    }
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    const [frame] = pages;
    yield copyPoints.of(frame, bytes, write);
    copyRemotePage(current, frame, offset, buffer, moved, bytes, write);
    if (write) yield* markFolioDirtyLock(current, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
    moved += bytes;
    page += 1;
    offset = 0;
  }
  return moved;
}
