/**
 * clone(CLONE_VM): a child that shares the caller's address space for good, as threads of a process do, while both run.
 * Left out: CLONE_THREAD (it is a process of its own, with a pid to wait for), CLONE_FILES (descriptors are copied), a stack
 * of its own.
 * @see Linux kernel/fork.c, `copy_mm`
 */
import type { Task } from '../../base/task.ts';
import { mmget } from '../mm/mm-lifetime.ts';
import type { TaskStruct } from '../task-struct.ts';
import { addChild } from './fork.ts';

/** The child, or -EAGAIN (no pid), -EINTR (killed). @param cpu index of the CPU it starts on */
export function* sysCloneVm(
  current: TaskStruct,
  name: string,
  cpu: number = current.cpu,
): Task<TaskStruct | number> {
  const { mm } = current;
  if (mm !== null) yield* mmget(mm);
  return yield* addChild(current, mm, name, cpu);
}
