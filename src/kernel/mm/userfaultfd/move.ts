/**
 * UFFDIO_MOVE: pages of private anonymous memory change their place without being copied.
 * Left out: moving a transparent huge page as a whole (it is split; a pinned one is -EBUSY at once), pages that are in the swap cache (-EBUSY).
 * @see Linux fs/userfaultfd.c, `userfaultfd_move`; mm/userfaultfd.c, `move_pages`, `move_pages_ptes`
 */
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EINTR, EINVAL, ESRCH } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { mmgetNotZero, mmput } from '../mm-lifetime.ts';
import type { UserfaultfdContext } from './context.ts';
import { endIoctl, type FilledRange } from './fill-ioctl.ts';
import { type MoveVmas, uffdMoveLock, uffdMoveUnlock, validateMoveAreas } from './move-lock.ts';
import { movePage } from './move-page.ts';
import { UFFDIO_MODE_DONTWAKE, UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES } from './uffd-abi.ts';
import { validateRange } from './validate-range.ts';

/**
 * Bytes. As of the other ioctls that fill pages in; also -EINVAL: not the caller's own memory, or memory that does not fit;
 * -ENOENT: nothing at a source page; -EBUSY: a source page that others have or hold.
 */
export function* userfaultfdMove(
  current: TaskStruct,
  context: UserfaultfdContext,
  target: bigint,
  source: bigint,
  length: bigint,
  mode: bigint,
): Task<FilledRange> {
  if (context.features === null) return { error: -EINVAL, done: null };
  yield context.peek;
  if (context.mmapChanging > 0) return { error: -EAGAIN, done: -EAGAIN };
  const { mm } = context;
  if (mm !== current.mm) return { error: -EINVAL, done: null };
  const invalid = validateRange(mm, target, length) || validateRange(mm, source, length);
  if (invalid !== 0) return { error: invalid, done: null };
  if ((mode & ~(UFFDIO_MODE_DONTWAKE | UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES)) !== 0n) {
    return { error: -EINVAL, done: null };
  }
  if (!(yield* mmgetNotZero(mm))) return { error: -ESRCH, done: null };
  const range = {
    target: Number(target >> 12n),
    source: Number(source >> 12n),
    pages: Number(length >> 12n),
  };
  const holes = (mode & UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES) !== 0n;
  const moved = yield* movePages(current, context, range, holes);
  yield* mmput(current, mm);
  return yield* endIoctl(current, context, { start: target, length }, mode, moved);
}

interface MoveRange {
  readonly target: number;
  readonly source: number;
  readonly pages: number;
}

/** Pages moved, or -errno when none was. @see `move_pages` */
function* movePages(
  current: TaskStruct,
  context: UserfaultfdContext,
  range: MoveRange,
  holes: boolean,
): Task<number> {
  const vmas = yield* uffdMoveLock(current, context.mm, range.target, range.source);
  if (typeof vmas === 'number') return vmas;
  yield* context.mapChangingLock.downRead(current);
  let result = context.mmapChanging > 0 ? -EAGAIN : unfit(context, vmas, range);
  if (result === 0) result = yield* moveLocked(current, vmas, range, holes);
  yield* context.mapChangingLock.upRead(current);
  yield* uffdMoveUnlock(current, vmas);
  return result;
}

function unfit(context: UserfaultfdContext, vmas: MoveVmas, { target, source, pages }: MoveRange): number {
  if (source + pages > vmas.source.end || target + pages > vmas.target.end) return -EINVAL;
  return validateMoveAreas(context, vmas);
}

function* moveLocked(
  current: TaskStruct,
  vmas: MoveVmas,
  { target, source, pages }: MoveRange,
  holes: boolean,
): Task<number> {
  let done = 0;
  while (done < pages) {
    const error = yield* movePage(current, vmas, target + done, source + done, holes);
    if (error === 0) done++;
    if (current.fatalSignalPending()) return done > 0 ? done : -EINTR;
    // Something changed while we looked: look again.
    if (error !== 0 && error !== -EAGAIN) return done > 0 ? done : error;
  }
  return done;
}
