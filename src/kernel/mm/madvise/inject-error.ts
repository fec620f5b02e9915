/**
 * MADV_HWPOISON and MADV_SOFT_OFFLINE: pretend that memory is broken, or about to be. For tests of programs that handle
 * it, by privileged users only.
 * Left out: MADV_SOFT_OFFLINE, which would move the data to another page.
 * @see Linux mm/madvise.c, `madvise_inject_error`
 */
import type { Task } from '../../../base/task.ts';
import { EOPNOTSUPP, EPERM } from '../../errno.ts';
import { CAP_SYS_ADMIN } from '../../process/credentials.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { Unsupported } from '../../unsupported.ts';
import { memoryFailure } from '../memory-failure.ts';
import { populateOperations } from '../populate.ts';
import { MADV_SOFT_OFFLINE } from './advice.ts';

/**
 * Bytes, as given. No lock is held. 0, -EPERM (no CAP_SYS_ADMIN), -EFAULT (a hole, or no access), -EBUSY (a page that
 * the kernel needs, such as the zero page), -EHWPOISON.
 */
export function* madviseInjectError(
  current: TaskStruct,
  advice: number,
  address: bigint,
  length: bigint,
): Task<number> {
  const { kernel } = current;
  if (!current.capable(CAP_SYS_ADMIN)) return -EPERM;
  if (advice === MADV_SOFT_OFFLINE) throw new Unsupported('MADV_SOFT_OFFLINE');
  const { getUserPage } = populateOperations(kernel);
  const start = Number(kernel.arch.untaggedAddress(current.cpu, address) >> 12n);
  const end = start + Number((length + 0xfffn) >> 12n);
  for (let page = start; page < end; page++) {
    const frame = yield* getUserPage(current, page);
    if (frame < 0) return frame;
    const error = yield* memoryFailure(current, frame);
    if (error !== 0 && error !== -EOPNOTSUPP) return error;
  }
  return 0;
}
