/**
 * The arguments of a process for the kernel's own use (audit records, messages), by FOLL_FORCE: other than
 * /proc/PID/cmdline it reads whatever mapping the strings lie in.
 * @see Linux mm/util.c, `get_cmdline`
 */
import type { Task } from '../../base/task.ts';
import { FOLL_FORCE } from '../gup/foll-flags.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { getTaskMm } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accessProcessVm } from './access-remote-vm.ts';

/** Bytes in front of the first NUL of the first `length` (`strnlen`). */
function lengthOf(buffer: Uint8Array, length: number): number {
  const nul = buffer.subarray(0, length).indexOf(0);
  return nul < 0 ? length : nul;
}

/**
 * Bytes put into `buffer`, as many as fit and can be read: 0 without memory, or before execve is through. No NUL need be
 * at the end.
 */
export function* getCmdline(current: TaskStruct, task: TaskStruct, buffer: Uint8Array): Task<number> {
  const mm = yield* getTaskMm(current, task);
  if (mm === null) return 0;
  const read = mm.argEnd === 0n ? 0 : yield* readArguments(current, task, mm, buffer);
  yield* mmput(current, mm);
  return read;
}

function* readArguments(
  current: TaskStruct,
  task: TaskStruct,
  mm: MmStruct,
  buffer: Uint8Array,
): Task<number> {
  yield* mm.argLock.lock(current);
  const { argStart, argEnd, envStart, envEnd } = mm;
  yield* mm.argLock.unlock(current);

  const length = Math.min(Number(argEnd - argStart), buffer.length);
  // By the task again, not by the mm just held: after an exec in between this is another address space.
  const read = yield* accessProcessVm(current, task, argStart, buffer, length, FOLL_FORCE);
  // Without a NUL at the end setproctitle(3) has written over the arguments, and maybe on into the environment.
  if (read === 0 || buffer[read - 1] === 0 || length >= buffer.length) return read;
  const title = lengthOf(buffer, read);
  if (title < read) return title;
  const room = Math.min(Number(envEnd - envStart), buffer.length - read);
  const more = yield* accessProcessVm(current, task, envStart, buffer.subarray(read), room, FOLL_FORCE);
  return lengthOf(buffer, read + more);
}
