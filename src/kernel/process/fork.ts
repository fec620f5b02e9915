/**
 * fork: a second process with a copy of everything. The copy of the address space is `mm/fork.ts`.
 * Left out: threads and CLONE_ flags (vfork.ts has two of them), process groups, the rest of `copy_process` (signals, namespaces).
 * @see Linux kernel/fork.c, `copy_process`, `dup_mm`; kernel/pid.c, `alloc_pid`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EINTR } from '../errno.ts';
import type { Kernel } from '../kernel.ts';
import { dupMm } from '../mm/fork.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { TaskStruct } from '../task-struct.ts';
import type { Credentials } from './credentials.ts';
import { notePid } from './pid-footprint.ts';

/** `pid_max` of a 64-bit kernel. */
const PID_MAX = 4_194_304;

/** The next free pid, in order; -EAGAIN when there is none. */
function allocatePid(kernel: Kernel): number {
  for (let tried = 0; tried < PID_MAX; tried++) {
    kernel.lastPid = kernel.lastPid + 1 < PID_MAX ? kernel.lastPid + 1 : 1;
    if (!kernel.tasks.has(kernel.lastPid)) return kernel.lastPid;
  }
  return -EAGAIN;
}

/**
 * fork() up to the point where the child could run: the child, in the pid table and among the caller's children, or
 * -ENOMEM, -EINTR (killed while it waited for mmap_lock, or before the child was visible), -EAGAIN (no pid).
 * @param name of the child's task, in schedules and reports; what it runs is userland's business
 * @param cpu index of the CPU it starts on
 */
export function* sysFork(
  current: TaskStruct,
  name: string,
  cpu: number = current.cpu,
): Task<TaskStruct | number> {
  let mm: MmStruct | null = null;
  if (current.mm !== null) {
    const copied = yield* dupMm(current, current.mm, name);
    if (typeof copied === 'number') return copied;
    mm = copied;
  }
  return yield* addChild(current, mm, name, cpu);
}

/**
 * The end of `copy_process`: a child with `mm`, of which it gets one user that the caller has taken; that user is put
 * when there is no child: -EAGAIN (no pid), -EINTR (killed).
 */
export function* addChild(
  current: TaskStruct,
  mm: MmStruct | null,
  name: string,
  cpu: number,
): Task<TaskStruct | number> {
  // From here on the child is seen: `write_lock_irq(&tasklist_lock)`.
  yield current.familyWrite;
  const pid = current.fatalSignalPending() ? -EINTR : allocatePid(current.kernel);
  if (pid < 0) {
    if (mm !== null) yield* mmput(current, mm);
    return pid;
  }
  const { kernel, credentials } = current;
  const child = new TaskStruct({ kernel, pid, credentials, parent: current, mm, name, cpu });
  child.files = current.files.duplicate();
  notePid(kernel, pid, true);
  kernel.tasks.set(pid, child);
  current.children.add(child);
  return child;
}

/**
 * A process that nobody forked: the first one, a supervisor, a kernel thread (`mm` null). It is in the pid table.
 * @param credentials usually `rootCredentials()`
 */
export function createTask(
  kernel: Kernel,
  mm: MmStruct | null,
  credentials: Credentials,
  name: string,
  cpu: number,
): TaskStruct {
  const pid = allocatePid(kernel);
  const task = new TaskStruct({ kernel, pid, credentials, parent: null, mm, name, cpu });
  kernel.tasks.set(pid, task);
  return task;
}
