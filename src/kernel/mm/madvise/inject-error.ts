/**
 * MADV_HWPOISON and MADV_SOFT_OFFLINE: pretend that memory is broken, or about to be. For tests of programs that handle
 * it, by privileged users only.
 * @see Linux mm/madvise.c, `madvise_inject_error`
 */
import type { Task } from '../../../base/task.ts';
import { EOPNOTSUPP, EPERM } from '../../errno.ts';
import { CAP_SYS_ADMIN } from '../../process/credentials.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { memoryFailure } from '../memory-failure.ts';
import { populateOperations } from '../populate.ts';
import { softOfflinePage } from '../soft-offline.ts';
import { MADV_SOFT_OFFLINE } from './advice.ts';

/**
 * Bytes, as given. No lock is held. Of a huge page one page is named, and the range goes on as far behind it as the huge
 * page is long. 0, -EPERM (no CAP_SYS_ADMIN), -EFAULT (a hole, or no access), -EBUSY (a page that the kernel needs, such as
 * the zero page, or that somebody holds on to), -EHWPOISON; of MADV_SOFT_OFFLINE also -EIO (the zero page) and -ENOMEM.
 */
export function* madviseInjectError(
  current: TaskStruct,
  advice: number,
  address: bigint,
  length: bigint,
): Task<number> {
  const { kernel } = current;
  if (!current.capable(CAP_SYS_ADMIN)) return -EPERM;
  const { getUserPage } = populateOperations(kernel);
  const start = Number(kernel.arch.untaggedAddress(current.cpu, address) >> 12n);
  const end = start + Number((length + 0xfffn) >> 12n);
  for (let page = start; page < end; ) {
    const frame = yield* getUserPage(current, page);
    if (frame < 0) return frame;
    // Looked at now: the page may not be part of a large one any more when it comes back.
    page += 2 ** kernel.frames.order(frame);
    const inject = advice === MADV_SOFT_OFFLINE ? softOfflinePage : memoryFailure;
    const error = yield* inject(current, frame);
    if (error !== 0 && !(advice !== MADV_SOFT_OFFLINE && error === -EOPNOTSUPP)) return error;
  }
  return 0;
}
