/**
 * The end of being traced: by detaching, or because the debugger or the traced task dies.
 * @see Linux kernel/ptrace.c, `__ptrace_unlink`, `exit_ptrace`
 */
import type { TaskStruct } from '../task-struct.ts';

/** The task runs on, and its debugger knows nothing of it any more. */
export function unlinkTracee(tracer: TaskStruct, task: TaskStruct): void {
  tracer.tracees.delete(task);
  task.ptrace = null;
  task.ptraceTrapPending = false;
  task.ptraceStopped = false;
}

/** A dying debugger lets all go; a dying tracee is let go. */
export function exitPtrace(current: TaskStruct): void {
  for (const tracee of [...current.tracees]) unlinkTracee(current, tracee);
  if (current.ptrace !== null) unlinkTracee(current.ptrace.tracer, current);
}
