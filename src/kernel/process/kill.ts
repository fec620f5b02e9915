/**
 * kill: a signal from one process to another.
 * Left out: process groups (pid 0 and below), sessions, what a signal does on delivery (userland's way back to user
 * mode looks at it).
 * @see Linux kernel/signal.c, `kill_something_info`, `check_kill_permission`; kill(2)
 */
import type { Task } from '../../base/task.ts';
import { EINVAL, EPERM, ESRCH } from '../errno.ts';
import { ExitState, type TaskStruct } from '../task-struct.ts';
import { CAP_KILL } from './credentials.ts';
import { findTaskByPid } from './task-mm.ts';

/** Highest signal number, SIGRTMAX. */
const SIGNAL_MAX = 64;
/** si_code of a signal that a process sent. */
const SI_USER = 0;

/** 0, -EINVAL (no such signal), -ESRCH, -EPERM. Signal 0 only asks. A zombie takes every signal without effect. */
export function* sysKill(current: TaskStruct, pid: number, signal: number): Task<number> {
  if (!Number.isInteger(signal) || signal < 0 || signal > SIGNAL_MAX) return -EINVAL;
  const task = findTaskByPid(current, pid);
  if (task === null) return -ESRCH;
  if (!mayKill(current, task)) return -EPERM;
  if (signal === 0) return 0;
  yield task.signalWrite;
  if (task.exitState === ExitState.Running) task.sendSignal({ signal, code: SI_USER, address: 0n });
  return 0;
}

/** Real or effective id of the sender against real or saved id of the target. @see `kill_ok_by_cred` */
function mayKill(current: TaskStruct, task: TaskStruct): boolean {
  const { uid, euid } = current.credentials;
  const target = task.credentials;
  if (task === current || current.capable(CAP_KILL)) return true;
  return [target.uid, target.suid].some((id) => id === uid || id === euid);
}
