/**
 * wait4 for children that have ended.
 * Left out: stopped and continued children, process groups, resource usage, waiting for tracees.
 * @see Linux kernel/exit.c, `do_wait`, `wait_task_zombie`; wait4(2)
 */
import { PointKind, SchedPoint, type Task } from '../../base/task.ts';
import { ECHILD, EINVAL, ERESTARTSYS } from '../errno.ts';
import { ExitState, type TaskStruct } from '../task-struct.ts';
import { releaseTask } from './exit.ts';

export const WNOHANG = 1;

/** What `wait4` returns, and the status word it stores. */
export interface WaitResult {
  /** The child's pid, 0 with WNOHANG when none has ended, or -errno. */
  readonly pid: number;
  /** Exit code << 8, or the signal number. */
  readonly status: number;
}

/** The first zombie among the children that `pid` means: that one, or any for -1. */
function findZombie(current: TaskStruct, pid: number): TaskStruct | null {
  for (const child of current.children) {
    if ((pid === -1 || child.pid === pid) && child.exitState === ExitState.Zombie) return child;
  }
  return null;
}

/** Waits for a child, -1 for any. A signal ends the wait. */
export function* sysWait4(current: TaskStruct, pid: number, options: number): Task<WaitResult> {
  if ((options & ~WNOHANG) !== 0 || pid === 0 || pid < -1) return { pid: -EINVAL, status: 0 };
  yield current.familyWrite;
  for (;;) {
    const eligible = pid === -1 ? current.children.size > 0 : isChild(current, pid);
    if (!eligible) return { pid: -ECHILD, status: 0 };
    const zombie = findZombie(current, pid);
    if (zombie !== null) {
      const result = { pid: zombie.pid, status: zombie.exitStatus };
      releaseTask(zombie);
      return result;
    }
    if ((options & WNOHANG) !== 0) return { pid: 0, status: 0 };
    if (current.signalPending()) return { pid: -ERESTARTSYS, status: 0 };
    yield new SchedPoint(PointKind.Wait, current.object, 'wait4', 0, () => {
      return findZombie(current, pid) !== null || current.signalPending();
    });
  }
}

function isChild(current: TaskStruct, pid: number): boolean {
  for (const child of current.children) if (child.pid === pid) return true;
  return false;
}
