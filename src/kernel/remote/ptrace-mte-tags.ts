/**
 * PTRACE_PEEKMTETAGS and PTRACE_POKEMTETAGS: the memory tags of a stopped tracee, one byte for each granule.
 * @see Linux arch/arm64/kernel/mte.c, `__access_remote_tags`, `access_remote_tags`, `mte_ptrace_copy_tags`;
 * Documentation/arch/arm64/memory-tagging-extension.rst
 */
import type { MemoryTags } from '../../arch/thread-state.ts';
import type { Task } from '../../base/task.ts';
import { EFAULT, EIO, EOPNOTSUPP, EPERM, ESRCH } from '../errno.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../gup/foll-flags.ts';
import { getUserPageVmaRemote, type UserPageAndVma } from '../gup/get-user-page-vma-remote.ts';
import { markFolioDirtyLock, putUserPage } from '../gup/pin.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { accessOk } from '../mm/user-access.ts';
import { getTaskMm } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { stoppedTracee, tracerMayAccess } from './ptrace.ts';
import { getFromUser, putToUser, type UserBuffer } from './user-buffer.ts';

const PAGE_SIZE = 4096;

/** How far a request came. */
export interface TagTransfer {
  /** 0; -ESRCH (not our stopped tracee), -EPERM, -EIO (the tracee's memory has no tags there), -EFAULT (our buffer). */
  readonly error: number;
  /** Tags moved, which the kernel writes back to `iov_len`. */
  readonly count: number;
}

const failed = (error: number): TagTransfer => ({ error, count: 0 });

/**
 * PTRACE_PEEKMTETAGS: reads `count` tags into `buffer`, one byte each.
 * @param address in the tracee, rounded down to a granule; tag bits are not removed
 */
export function ptracePeekMteTags(
  current: TaskStruct,
  pid: number,
  address: bigint,
  buffer: UserBuffer,
  count: number,
): Task<TagTransfer> {
  return copyTags(current, pid, address, buffer, count, FOLL_FORCE);
}

/** PTRACE_POKEMTETAGS: of each byte the low bits are the tag, the rest is ignored. */
export function ptracePokeMteTags(
  current: TaskStruct,
  pid: number,
  address: bigint,
  buffer: UserBuffer,
  count: number,
): Task<TagTransfer> {
  return copyTags(current, pid, address, buffer, count, FOLL_FORCE | FOLL_WRITE);
}

function* copyTags(
  current: TaskStruct,
  pid: number,
  address: bigint,
  buffer: UserBuffer,
  count: number,
  gupFlags: number,
): Task<TagTransfer> {
  const task = stoppedTracee(current, pid);
  if (task === null) return failed(-ESRCH);
  const tags = current.kernel.arch.memoryTags;
  if (tags === null) return failed(-EIO);
  const mm = yield* getTaskMm(current, task);
  if (mm === null) return failed(-EPERM);
  const start = address - (address % BigInt(tags.granuleBytes));
  const moved = tracerMayAccess(current, task, mm)
    ? yield* accessRemoteTags(current, mm, tags, { start, buffer, count, gupFlags })
    : failed(-EPERM);
  yield* mmput(current, mm);
  return moved;
}

/** What is to be moved. `start` is the byte address of a granule in the tracee. */
interface TagRequest {
  readonly start: bigint;
  readonly buffer: UserBuffer;
  readonly count: number;
  readonly gupFlags: number;
}

/** @see `__access_remote_tags` */
function* accessRemoteTags(
  current: TaskStruct,
  mm: MmStruct,
  tags: MemoryTags,
  request: TagRequest,
): Task<TagTransfer> {
  const { start, buffer, count } = request;
  if (typeof buffer === 'bigint' && !accessOk(current, buffer, BigInt(count))) return failed(-EFAULT);
  if ((yield* mmapReadLockKillable(current, mm)) !== 0) return failed(-EIO);
  let done = 0;
  let error = 0;
  while (done < count) {
    const address = start + BigInt(done * tags.granuleBytes);
    const moved = yield* accessTagsOfPage(current, mm, tags, request, address, done);
    if (moved < 0) error = moved;
    if (moved <= 0) break;
    done += moved;
  }
  yield* mmapReadUnlock(current, mm);
  if (done > 0) return { error: 0, count: done };
  return failed(error === 0 ? -EFAULT : -EIO);
}

/** The tags from `address` to the end of its page: how many were moved, 0 for our bad buffer, or -errno. */
function* accessTagsOfPage(
  current: TaskStruct,
  mm: MmStruct,
  tags: MemoryTags,
  { buffer, count, gupFlags }: TagRequest,
  address: bigint,
  done: number,
): Task<number> {
  const found: UserPageAndVma = { pages: [0], vma: null };
  const got = yield* getUserPageVmaRemote(current, mm, Number(address >> 12n), gupFlags, found);
  if (got !== 0) return got;
  const [frame] = found.pages;
  // Without VM_MTE the tags are not the program's: a later mprotect would clear them.
  if (((found.vma?.flagsHigh ?? 0) & tags.vmFlagHigh) === 0) {
    yield* putUserPage(current, frame);
    return -EOPNOTSUPP;
  }
  const { frames, pageTags, warnings, copyPoints } = current.kernel;
  if (pageTags?.isTagged(frame) === false && !frames.isZeroFrame(frame)) {
    warnings.once(
      current,
      '__access_remote_tags',
      'a page of a mapping with tags whose tags were never set up',
    );
  }
  const firstGranule = Number(address & 0xfffn) / tags.granuleBytes;
  const wanted = Math.min(count - done, PAGE_SIZE / tags.granuleBytes - firstGranule);
  const bytes = new Uint8Array(wanted);
  let moved: number;
  if ((gupFlags & FOLL_WRITE) !== 0) {
    moved = wanted - (yield* getFromUser(current, buffer, done, bytes, wanted));
    yield copyPoints.of(frame, moved, true);
    for (let i = 0; i < moved; i++) {
      tags.writeTag(frame, firstGranule + i, (bytes[i] as number) % tags.tagLimit);
    }
    yield* markFolioDirtyLock(current, frame);
  } else {
    yield copyPoints.of(frame, wanted, false);
    for (let i = 0; i < wanted; i++) bytes[i] = tags.readTag(frame, firstGranule + i);
    moved = wanted - (yield* putToUser(current, buffer, done, bytes, wanted));
  }
  yield* putUserPage(current, frame);
  return moved;
}
