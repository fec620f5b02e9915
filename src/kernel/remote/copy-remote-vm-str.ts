/**
 * A string of another process, up to its NUL: what BPF programs read file names and arguments with. Unlike
 * `access_remote_vm` it never lets a stack grow, never asks a driver for device memory, and one page that cannot be had
 * makes the whole call fail.
 * @see Linux mm/memory.c, `copy_remote_vm_str` and `__copy_remote_vm_str`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT } from '../errno.ts';
import { getUserPageVmaRemote, type UserPageAndVma } from '../gup/get-user-page-vma-remote.ts';
import { untaggedPageRemote } from '../gup/get-user-pages-loop.ts';
import { putUserPage } from '../gup/pin.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { getTaskMm } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';

const PAGE_SIZE = 4096;

/**
 * Copies the string at `address` of `task`, at most `length` bytes with its NUL, which is always there.
 * @param address a byte address; tag bits are removed
 * @param buffer in the kernel; of `length` bytes at least
 * @param gupFlags FOLL_ flags
 * @returns bytes without the NUL (`length` - 1 of a string that is too long); 0 for no length; -EFAULT for no memory of
 *   that process, a page that cannot be had, or a kill while it waited for mmap_lock
 */
export function* copyRemoteVmStr(
  current: TaskStruct,
  task: TaskStruct,
  address: bigint,
  buffer: Uint8Array,
  length: number,
  gupFlags: number,
): Task<number> {
  if (length === 0) return 0;
  current.kernel.remoteCounters.calls++;
  const mm = yield* getTaskMm(current, task);
  if (mm === null) {
    buffer[0] = 0;
    return -EFAULT;
  }
  const copied = yield* copyFromMm(current, mm, address, buffer, length, gupFlags);
  yield* mmput(current, mm);
  return copied;
}

/** @see `__copy_remote_vm_str` */
function* copyFromMm(
  current: TaskStruct,
  mm: MmStruct,
  address: bigint,
  buffer: Uint8Array,
  length: number,
  gupFlags: number,
): Task<number> {
  buffer[0] = 0;
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return -EFAULT;
  const page = untaggedPageRemote(current, mm, Number(address >> 12n));
  const copied =
    mm.vmas.lookup(page) === null
      ? -EFAULT
      : yield* copyPages(current, mm, page, Number(address & 0xfffn), buffer, length, gupFlags);
  yield* mmapReadUnlock(current, mm);
  return copied;
}

/** Under mmap_lock, which is never dropped on the way: a page that has to wait fails. */
function* copyPages(
  current: TaskStruct,
  mm: MmStruct,
  firstPage: number,
  firstOffset: number,
  buffer: Uint8Array,
  length: number,
  gupFlags: number,
): Task<number> {
  const found: UserPageAndVma = { pages: [0], vma: null };
  let page = firstPage;
  let offset = firstOffset;
  let copied = 0;
  for (let left = length; left > 0; ) {
    if ((yield* getUserPageVmaRemote(current, mm, page, gupFlags, found)) !== 0) {
      // What pages before it gave stays in front of it.
      buffer[copied] = 0;
      return -EFAULT;
    }
    const bytes = Math.min(left, PAGE_SIZE - offset);
    const [frame] = found.pages;
    yield current.kernel.copyPoints.of(frame, bytes, false);
    const end = copyPart(current, frame, offset, buffer, copied, bytes, bytes === left);
    yield* putUserPage(current, frame);
    copied += end < 0 ? bytes : end;
    current.kernel.remoteCounters.bytes += end < 0 ? bytes : end + 1;
    if (end >= 0) break;
    left -= bytes;
    page += 1;
    offset = 0;
  }
  return copied;
}

/**
 * The part of one page. `strscpy` puts a NUL into the last place of whatever room it has; where a further page follows,
 * the page's own last byte goes there after it.
 * @returns how far the string goes in `buffer` from `at`, where it ends here; else -1: a further page follows
 */
function copyPart(
  current: TaskStruct,
  frame: number,
  offset: number,
  buffer: Uint8Array,
  at: number,
  bytes: number,
  isLast: boolean,
): number {
  const part = new Uint8Array(bytes);
  if (!current.kernel.machine.memory.readBytes(frame, offset, part)) {
    throw new Error(`frame 0x${frame.toString(16)} of the allocator has no memory`);
  }
  const nul = part.indexOf(0);
  if (nul >= 0) {
    buffer.set(part.subarray(0, nul + 1), at);
    return nul;
  }
  buffer.set(part, at);
  if (!isLast) return -1;
  buffer[at + bytes - 1] = 0;
  return bytes - 1;
}
