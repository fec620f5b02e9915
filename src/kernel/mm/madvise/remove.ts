/**
 * MADV_REMOVE: punches a hole into the object that the range maps, for everybody. mmap_lock is let go meanwhile.
 * @see Linux mm/madvise.c, `madvise_remove`
 */
import type { Task } from '../../../base/task.ts';
import { EACCES, EINVAL, ENODEV } from '../../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fileFallocate } from '../fallocate.ts';
import { isSharedMayWrite } from '../i-mmap.ts';
import { fput, getFile } from '../mapped-file.ts';
import { userfaultfdRemove } from '../userfaultfd/events.ts';
import { VM_LOCKED } from '../vma-flags.ts';
import type { MadviseState } from './madvise-state.ts';

/**
 * 0, -EINVAL (locked, or no file behind it), -EACCES (private, or never writable), or what fallocate says: -EPERM
 * (sealed), -ENODEV (a device) and others.
 */
export function* madviseRemove(current: TaskStruct, state: MadviseState): Task<number> {
  const { mm, vma, start, end } = state;
  state.lockDropped = true;
  const { file } = vma;
  if ((vma.flags & VM_LOCKED) !== 0 || file === null) return -EINVAL;
  if (!isSharedMayWrite(vma.flags)) return -EACCES;
  const offset = BigInt(vma.indexOf(start)) << 12n;
  // Without the lock the mapping may go, and with it the file.
  getFile(file);
  if (yield* userfaultfdRemove(current, vma, start, end)) yield* mmapReadUnlock(current, mm);
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const error =
    file.mmap === null
      ? yield* fileFallocate(current, file, mode, offset, BigInt(end - start) << 12n)
      : -ENODEV;
  yield* fput(current.kernel.frames, file);
  yield* mmapReadLock(current, mm);
  return error;
}
