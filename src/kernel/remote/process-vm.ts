/**
 * process_vm_readv and process_vm_writev: pages of another process are pinned in chunks and copied to or from the
 * caller's buffers.
 * Left out: the 32-bit compatibility forms.
 * @see Linux mm/process_vm_access.c; process_vm_readv(2)
 */
import type { Task } from '../../base/task.ts';
import { EACCES, EFAULT, EINVAL, EPERM, ESRCH } from '../errno.ts';
import { FOLL_WRITE } from '../gup/foll-flags.ts';
import { unpinUserPagesDirtyLock } from '../gup/pin.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { mmAccess, PTRACE_MODE_ATTACH_REALCREDS } from '../process/ptrace-access.ts';
import { findTaskByPid } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { pinRemotePages } from './remote-lock.ts';
import { type IoVector, type IoVectorArray, IovIterator, iovecFromUser } from './user-buffer.ts';

const PAGE_SIZE = 4096;
/** Pages pinned at once: what two pages of pointers hold. */
export const PVM_MAX_USER_PAGES = (2 * PAGE_SIZE) / 8;
/** Pointers that fit the stack; more are allocated. */
const PVM_MAX_PP_ARRAY_COUNT = 16;

export interface ProcessVmArguments {
  readonly pid: number;
  /** The caller's buffers. */
  readonly local: IoVectorArray;
  readonly localCount: number;
  /** The target's ranges: `base` is an address there. */
  readonly remote: IoVectorArray;
  readonly remoteCount: number;
  /** Must be 0. */
  readonly flags: number;
}

/** Bytes copied, or -errno when none were. */
export function sysProcessVmReadv(current: TaskStruct, args: ProcessVmArguments): Task<number> {
  return processVmRw(current, args, false);
}

export function sysProcessVmWritev(current: TaskStruct, args: ProcessVmArguments): Task<number> {
  return processVmRw(current, args, true);
}

/** The order of checks: flags, local vector, nothing to copy, remote vector, pid, permission. */
function* processVmRw(current: TaskStruct, args: ProcessVmArguments, write: boolean): Task<number> {
  if (args.flags !== 0) return -EINVAL;
  const local = yield* iovecFromUser(current, args.local, args.localCount);
  if (typeof local === 'number') return local;
  const iterator = IovIterator.over(current, local);
  if (typeof iterator === 'number') return iterator;
  if (iterator.count === 0) return 0;
  const remote = yield* iovecFromUser(current, args.remote, args.remoteCount);
  if (typeof remote === 'number') return remote;
  return yield* processVmRwCore(current, args.pid, iterator, remote, write);
}

/** Address and length of a remote range, as page number, offset and number of pages. */
interface RemoteRange {
  readonly page: number;
  readonly offset: number;
  readonly bytes: number;
  readonly pages: number;
}

function remoteRange({ base, length }: IoVector): RemoteRange {
  const address = base as bigint;
  const offset = Number(address & 0xfffn);
  // A length beyond 2^53 is no range of any process: every page count that large ends at the first bad page.
  const bytes = Number(length);
  return {
    page: Number(address >> 12n),
    offset,
    bytes,
    pages: bytes === 0 ? 0 : Math.floor((offset + bytes - 1) / PAGE_SIZE) + 1,
  };
}

function* processVmRwCore(
  current: TaskStruct,
  pid: number,
  iterator: IovIterator,
  remote: readonly IoVector[],
  write: boolean,
): Task<number> {
  const ranges = remote.map(remoteRange);
  let longest = 0;
  for (const { pages } of ranges) if (pages > longest) longest = pages;
  if (longest === 0) return 0;
  const slots = Math.min(PVM_MAX_USER_PAGES, Math.max(longest, PVM_MAX_PP_ARRAY_COUNT));
  const task = findTaskByPid(current, pid);
  if (task === null) return -ESRCH;
  const mm = yield* mmAccess(current, task, PTRACE_MODE_ATTACH_REALCREDS);
  // "No permission for this process" is EPERM here, EACCES for files of /proc.
  if (typeof mm === 'number') return mm === -EACCES ? -EPERM : mm;

  const total = iterator.count;
  const pages = new Float64Array(slots);
  let error = 0;
  for (const range of ranges) {
    if (iterator.count === 0 || error !== 0) break;
    error = yield* processVmRwSingleVec(current, mm, range, iterator, pages, write);
  }
  yield* mmput(current, mm);
  const copied = total - iterator.count;
  return copied > 0 ? copied : error;
}

/**
 * One remote range. All pages of a chunk are pinned, even those beyond what the local side can take. 0 or -EFAULT.
 * @see Linux mm/process_vm_access.c, `process_vm_rw_single_vec`
 */
function* processVmRwSingleVec(
  current: TaskStruct,
  mm: MmStruct,
  range: RemoteRange,
  iterator: IovIterator,
  pages: Float64Array,
  write: boolean,
): Task<number> {
  let { page, offset, bytes, pages: left } = range;
  while (left > 0 && iterator.count > 0) {
    const wanted = Math.min(left, PVM_MAX_USER_PAGES);
    const pinned = yield* pinRemotePages(current, mm, page, wanted, write ? FOLL_WRITE : 0, pages);
    if (pinned <= 0) return -EFAULT;
    const chunk = Math.min(pinned * PAGE_SIZE - offset, bytes);
    const error = yield* copyPages(current, pages, offset, chunk, iterator, write);
    yield* unpinUserPagesDirtyLock(current, pages, pinned, write);
    if (error !== 0) return error;
    bytes -= chunk;
    offset = 0;
    left -= pinned;
    page += pinned;
  }
  return 0;
}

/**
 * Between pinned frames, read and written through the kernel's own mapping, and the caller's buffers.
 * @see Linux mm/process_vm_access.c, `process_vm_rw_pages`
 */
function* copyPages(
  current: TaskStruct,
  pages: Float64Array,
  firstOffset: number,
  length: number,
  iterator: IovIterator,
  write: boolean,
): Task<number> {
  const { machine, copyPoints, remoteCounters, watcher } = current.kernel;
  const { memory } = machine;
  const bounce = new Uint8Array(Math.min(PAGE_SIZE, length));
  let offset = firstOffset;
  let left = length;
  for (let slot = 0; left > 0 && iterator.count > 0; slot++) {
    const frame = pages[slot] as number;
    const part = bounce.subarray(0, Math.min(PAGE_SIZE - offset, left));
    let copied: number;
    if (write) {
      copied = yield* iterator.copyFrom(current, part);
      yield copyPoints.of(frame, copied, true);
      if (watcher !== null) watcher.copied(current, frame, offset, copied, true);
      memory.writeBytes(frame, offset, part.subarray(0, copied));
    } else {
      yield copyPoints.of(frame, part.length, false);
      if (watcher !== null) watcher.copied(current, frame, offset, part.length, false);
      memory.readBytes(frame, offset, part);
      copied = yield* iterator.copyTo(current, part);
    }
    left -= copied;
    remoteCounters.bytes += copied;
    if (copied < part.length && iterator.count > 0) return -EFAULT;
    offset = 0;
  }
  return 0;
}
