/**
 * Getting hold of a task's address space, and of a task by its pid.
 * Left out: task reference counts. A `TaskStruct` stays readable after it was reaped.
 * @see Linux kernel/fork.c `get_task_mm`, include/linux/sched/mm.h `mmget_not_zero`
 */
import type { Task } from '../../base/task.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmget } from '../mm/mm-lifetime.ts';
import type { TaskStruct } from '../task-struct.ts';
import { notePid } from './pid-footprint.ts';

/** The task's mm with one more user, or null when it has none (kernel thread, exited). */
export function* getTaskMm(current: TaskStruct, task: TaskStruct): Task<MmStruct | null> {
  // `task_lock` keeps exit from taking the mm away between the look and the reference.
  yield* task.allocLock.lock(current);
  const { mm } = task;
  if (mm !== null) yield* mmget(mm);
  yield* task.allocLock.unlock(current);
  return mm;
}

/** `find_get_task_by_vpid`: null when no task has this pid (never had, or was reaped). Zombies are found. */
export function findTaskByPid(current: TaskStruct, pid: number): TaskStruct | null {
  notePid(current.kernel, pid, false);
  return current.kernel.tasks.get(pid) ?? null;
}
