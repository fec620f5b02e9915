/**
 * The frame of the ioctls that fill pages in: checks, the filling, waking who waits, and what the caller's structure says
 * afterwards.
 * @see Linux fs/userfaultfd.c, `userfaultfd_copy`, `userfaultfd_zeropage`, `userfaultfd_continue`, `userfaultfd_poison`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EINVAL, ESRCH } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { mmgetNotZero, mmput } from '../mm-lifetime.ts';
import type { UserfaultfdContext } from './context.ts';
import type { FillOperation } from './fill-operation.ts';
import { mfillAtomic } from './mfill.ts';
import { UFFDIO_MODE_DONTWAKE } from './uffd-abi.ts';
import { validateRange } from './validate-range.ts';
import { type WakeRange, wakeUserfault } from './wake.ts';

/** How such an ioctl ended. */
export interface FilledRange {
  /**
   * 0; -EINVAL: bad range or mode, or not for this memory; -ENOENT: nothing is registered there, or not all of it in one
   * VMA; -EEXIST; -EFAULT; -ENOMEM; -ESRCH: the process is gone; -EAGAIN: mappings are changing, or only a part was filled.
   */
  readonly error: number;
  /**
   * The structure's last field (`copy`, `zeropage`, `mapped`, `updated`, `move`): bytes filled in or -errno; null: it is as
   * the caller left it.
   */
  readonly done: number | null;
}

const PAGE_BYTES = 4096;

/**
 * @param range bytes
 * @param badMode what is wrong with the other arguments, asked after the range: 0 or -errno
 */
export function* fillIoctl(
  current: TaskStruct,
  context: UserfaultfdContext,
  range: WakeRange,
  mode: bigint,
  badMode: () => number,
  operation: FillOperation,
): Task<FilledRange> {
  if (context.features === null) return { error: -EINVAL, done: null };
  yield context.peek;
  if (context.mmapChanging > 0) return { error: -EAGAIN, done: -EAGAIN };
  const { mm } = context;
  const invalid = validateRange(mm, range.start, range.length) || badMode();
  if (invalid !== 0) return { error: invalid, done: null };
  if (!(yield* mmgetNotZero(mm))) return { error: -ESRCH, done: null };
  const pages = Number(range.length >> 12n);
  const filled = yield* mfillAtomic(current, context, Number(range.start >> 12n), pages, operation);
  yield* mmput(current, mm);
  return yield* endIoctl(current, context, range, mode, filled);
}

/** @param filled pages, or -errno */
export function* endIoctl(
  current: TaskStruct,
  context: UserfaultfdContext,
  { start, length }: WakeRange,
  mode: bigint,
  filled: number,
): Task<FilledRange> {
  if (filled < 0) return { error: filled, done: filled };
  const done = filled * PAGE_BYTES;
  if ((mode & UFFDIO_MODE_DONTWAKE) === 0n) {
    yield* wakeUserfault(current, context, { start, length: BigInt(done) });
  }
  return { error: BigInt(done) === length ? 0 : -EAGAIN, done };
}
