/**
 * vfork: a child that runs in its parent's address space, while the parent sleeps until the child has done with it, by
 * exec or exit.
 * @see Linux kernel/fork.c, `kernel_clone`, `wait_for_vfork_done`, `complete_vfork_done`
 */
import type { Task } from '../../base/task.ts';
import { Completion } from '../lock/wait-queue.ts';
import { mmget } from '../mm/mm-lifetime.ts';
import type { TaskStruct } from '../task-struct.ts';
import { addChild } from './fork.ts';

/**
 * The child, after it has let go of the address space or a signal has killed the caller meanwhile; or -EAGAIN (no pid),
 * -EINTR (killed before the child was visible).
 * @param start makes the child run; userland knows what
 * @param cpu index of the CPU it starts on
 */
export function* sysVfork(
  current: TaskStruct,
  name: string,
  start: (child: TaskStruct) => void,
  cpu: number = current.cpu,
): Task<TaskStruct | number> {
  const { mm } = current;
  if (mm !== null) yield* mmget(mm);
  const child = yield* addChild(current, mm, name, cpu);
  if (typeof child === 'number') return child;
  const done = new Completion(`vfork_done of ${name}`);
  child.vforkDone = done;
  start(child);
  if ((yield* done.waitForCompletionKillable(current)) !== 0) {
    yield* child.allocLock.lock(current);
    child.vforkDone = null;
    yield* child.allocLock.unlock(current);
  }
  return child;
}

/** `current` no longer uses the address space it was given: a parent that waits for this wakes. @see `mm_release` */
export function* completeVforkDone(current: TaskStruct): Task<void> {
  if (current.vforkDone === null) return;
  yield* current.allocLock.lock(current);
  const done = current.vforkDone;
  current.vforkDone = null;
  if (done !== null) yield* done.complete();
  yield* current.allocLock.unlock(current);
}
