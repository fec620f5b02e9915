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
import { countVmaLookup } from '../../mm/look-up-costs.ts';
import type { MmStruct } from '../../mm/mm.ts';
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
  countVmaLookup(current);
  if (mm.vmas.lookup(page) === null && (yield* expandStack(current, mm, page)) === null) return 0;

  const { frames, copyPoints } = current.kernel;
  const write = (gupFlags & FOLL_WRITE) !== 0;
  const found: UserPageAndVma = { pages: [0], vma: null };
  let moved = 0;
  while (moved < length) {
    const failed = yield* getUserPageVmaRemote(current, mm, page, gupFlags, found);
    if (failed !== 0) {
      const other = yield* withoutPage(current, mm, page, offset, buffer.subarray(moved, length), write);
      if (other === LOCK_LOST) return moved;
      if (other < 0) break;
      moved += other;
      page += Math.floor((offset + other) / PAGE_SIZE);
      offset = (offset + other) % PAGE_SIZE;
      continue;
    }
    const bytes = Math.min(length - moved, PAGE_SIZE - offset);
    const [frame] = found.pages;
    yield copyPoints.of(frame, bytes, write);
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

const STOP = -1;
const LOCK_LOST = -2;

/**
 * Where GUP has no page. 0: the stack has grown, the same page is to be tried again; above: that many bytes of memory of a
 * device were moved, maybe more than a page. STOP, or LOCK_LOST: the stack could not grow.
 */
function* withoutPage(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  offset: number,
  rest: Uint8Array,
  write: boolean,
): Task<number> {
  const vma = mm.vmas.lookup(page);
  if (vma !== null) {
    const accessed = yield* vmOpsAccess(current, vma, page, offset, rest, write);
    return accessed > 0 ? accessed : STOP;
  }
  // Another thread may have unmapped the rest meanwhile, or the transfer reaches below the next stack.
  return (yield* expandStack(current, mm, page)) === null ? LOCK_LOST : 0;
}
