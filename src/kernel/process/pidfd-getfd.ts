/**
 * pidfd_getfd: a descriptor for a file that another process has open, as a debugger or a monitor of userfaultfd gets it.
 * Left out: pidfds themselves (a caller names a pid: pidfd_open and pidfd_getfd in one).
 * @see Linux kernel/pid.c, `pidfd_getfd`, `__pidfd_fget`
 */
import type { Task } from '../../base/task.ts';
import { EBADF, EPERM, ESRCH } from '../errno.ts';
import { ExitState, type TaskStruct } from '../task-struct.ts';
import { PTRACE_MODE_ATTACH_REALCREDS, ptraceMayAccess } from './ptrace-access.ts';
import { findTaskByPid } from './task-mm.ts';

/** The new descriptor, closed on exec, or -ESRCH, -EPERM (as for attaching a debugger), -EBADF, -EINTR (killed). */
export function* pidfdGetfd(current: TaskStruct, pid: number, descriptor: number): Task<number> {
  const task = findTaskByPid(current, pid);
  if (task === null || task.exitState !== ExitState.Running) return -ESRCH;
  const killed = yield* task.execUpdateLock.downReadKillable(current);
  if (killed !== 0) return killed;
  const allowed = ptraceMayAccess(current, task, PTRACE_MODE_ATTACH_REALCREDS) === 0;
  const file = allowed ? task.files.get(descriptor) : undefined;
  yield* task.execUpdateLock.upRead(current);
  if (!allowed) return -EPERM;
  return file === undefined || file.count === 0 ? -EBADF : current.files.install(file, true);
}
