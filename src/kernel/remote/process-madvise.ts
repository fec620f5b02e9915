/**
 * process_madvise: one advice for several ranges of a process. Of another process only hints are allowed, nothing that
 * throws data away.
 * Left out: pidfds (a pid stands for one).
 * @see Linux mm/madvise.c, `process_madvise`, `vector_madvise`
 */
import type { Task } from '../../base/task.ts';
import { EINTR, EINVAL, EPERM, ERESTARTNOINTR, ESRCH } from '../errno.ts';
import { adviceValidForOthers } from '../mm/madvise/advice.ts';
import { madviseDoBehavior, madviseLock, madviseShouldSkip, madviseUnlock } from '../mm/madvise/madvise.ts';
import { MadviseState } from '../mm/madvise/madvise-state.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { CAP_SYS_NICE } from '../process/credentials.ts';
import { mmAccess, PTRACE_MODE_FSCREDS, PTRACE_MODE_READ } from '../process/ptrace-access.ts';
import { findTaskByPid } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  type IoVector,
  type IoVectorArray,
  IovIterator,
  iovecFromUser,
  MAX_RW_COUNT,
} from './user-buffer.ts';

/** The ranges as `__import_iovec` leaves them: cut at the most bytes that one call handles. */
function limited(vectors: readonly IoVector[]): IoVector[] {
  let left = MAX_RW_COUNT;
  return vectors.map(({ base, length }) => {
    const cut = length < left ? length : left;
    left -= cut;
    return { base, length: cut };
  });
}

/**
 * The system call. `ranges` are of the target, bytes. Bytes advised: short when a later range failed; or a negative
 * errno when the first did: -EINVAL (flags, advice, alignment), -EFAULT (an address that no process of ours can have),
 * -ESRCH, -EACCES or -EPERM (not allowed), -ENOMEM (a hole), -EINTR, and those of the advice.
 */
export function* sysProcessMadvise(
  current: TaskStruct,
  pid: number,
  ranges: IoVectorArray,
  rangeCount: number,
  advice: number,
  flags: number,
): Task<number> {
  if (flags !== 0) return -EINVAL;
  const vectors = yield* iovecFromUser(current, ranges, rangeCount);
  if (typeof vectors === 'number') return vectors;
  const iterator = IovIterator.over(current, vectors);
  if (typeof iterator === 'number') return iterator;
  const task = findTaskByPid(current, pid);
  if (task === null) return -ESRCH;
  const mm = yield* mmAccess(current, task, PTRACE_MODE_READ | PTRACE_MODE_FSCREDS);
  if (typeof mm === 'number') return mm;
  let result = 0;
  if (mm !== current.mm && !adviceValidForOthers(advice)) result = -EINVAL;
  else if (mm !== current.mm && !current.capable(CAP_SYS_NICE)) result = -EPERM;
  else result = yield* vectorMadvise(current, mm, limited(vectors), advice);
  yield* mmput(current, mm);
  return result;
}

/** The locks are held over all ranges. */
function* vectorMadvise(
  current: TaskStruct,
  mm: MmStruct,
  ranges: readonly IoVector[],
  advice: number,
): Task<number> {
  const state = new MadviseState(mm, advice);
  let error = yield* madviseLock(current, state);
  if (error !== 0) return error;
  let done = 0n;
  for (const { base, length } of ranges) {
    if (length === 0n) continue;
    error = yield* adviseRange(current, state, base as bigint, length);
    if (error < 0) break;
    done += length;
  }
  yield* madviseUnlock(current, state);
  return done > 0n ? Number(done) : error;
}

/** One range, however often it has to be started again: 0 or a negative errno. */
function* adviseRange(
  current: TaskStruct,
  state: MadviseState,
  address: bigint,
  length: bigint,
): Task<number> {
  for (;;) {
    const skip = madviseShouldSkip(state, address, length);
    if (skip !== null) return skip;
    const error = yield* madviseDoBehavior(current, state, address, length);
    if (error !== -ERESTARTNOINTR) return error;
    if (current.fatalSignalPending()) return -EINTR;
    // Let whoever was faster come to an end.
    yield* madviseUnlock(current, state);
    const killed = yield* madviseLock(current, state);
    if (killed !== 0) return killed;
  }
}
