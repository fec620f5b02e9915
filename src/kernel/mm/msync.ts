/**
 * msync. Every file here lives in memory, so that there is nothing to write back: what remains is what the call refuses.
 * @see Linux mm/msync.c
 */
import type { Task } from '../../base/task.ts';
import { EBUSY, EINVAL, ENOMEM } from '../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { fput, getFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';
import { VM_LOCKED, VM_SHARED } from './vma-flags.ts';

export const MS_ASYNC = 1;
export const MS_INVALIDATE = 2;
export const MS_SYNC = 4;

const U64 = 1n << 64n;

/** 0, or -EINVAL: unknown flags, an address inside a page, both ways at once. */
function refused(start: bigint, flags: number): number {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) !== 0) return -EINVAL;
  if ((start & 0xfffn) !== 0n) return -EINVAL;
  return (flags & MS_ASYNC) !== 0 && (flags & MS_SYNC) !== 0 ? -EINVAL : 0;
}

/**
 * The system call. `address` and `length` are bytes, unsigned 64 bits. 0, -EINVAL, -ENOMEM (a hole; with MS_ASYNC alone
 * it ends the call, else the rest is synchronised first) or -EBUSY (MS_INVALIDATE of locked memory).
 */
export function* sysMsync(current: TaskStruct, address: bigint, length: bigint, flags: number): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls msync without an address space`);
  const start = current.kernel.arch.untaggedAddress(current.cpu, address);
  const error = refused(start, flags);
  if (error !== 0) return error;
  const end = (start + ((length + 0xfffn) & ~0xfffn)) % U64;
  if (end < start) return -ENOMEM;
  if (end === start) return 0;
  yield* mmapReadLock(current, mm);
  const result = yield* syncRange(current, mm, Number(start >> 12n), Number(end >> 12n), flags);
  yield* mmapReadUnlock(current, mm);
  return result;
}

/** Needs mmap_lock for reading, which is let go while a file is written. */
function* syncRange(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  end: number,
  flags: number,
): Task<number> {
  let unmappedError = 0;
  for (let at = start; at < end; ) {
    const vma = mm.vmas.find(at);
    if (vma === null) return -ENOMEM;
    if (at < vma.start) {
      if (flags === MS_ASYNC || vma.start >= end) return -ENOMEM;
      unmappedError = -ENOMEM;
    }
    if ((flags & MS_INVALIDATE) !== 0 && (vma.flags & VM_LOCKED) !== 0) return -EBUSY;
    at = vma.end;
    const error = yield* syncFile(current, mm, vma, flags);
    if (error !== 0) return error;
  }
  return unmappedError;
}

/**
 * Of a file in memory, `vfs_fsync_range` does nothing and succeeds; the lock is not held for it. A device has no `fsync`, nor has secret memory:
 * -EINVAL.
 */
function* syncFile(current: TaskStruct, mm: MmStruct, vma: VmArea, flags: number): Task<number> {
  const { file } = vma;
  if ((flags & MS_SYNC) === 0 || file === null || (vma.flags & VM_SHARED) === 0) return 0;
  getFile(file);
  yield* mmapReadUnlock(current, mm);
  yield* fput(current.kernel.frames, file);
  yield* mmapReadLock(current, mm);
  return file.mmap === null && file.mapping.secret === null ? 0 : -EINVAL;
}
