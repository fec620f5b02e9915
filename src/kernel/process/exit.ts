/**
 * The end of a process: its memory goes at once, its pid stays until somebody has waited for it.
 * Left out: thread groups, process groups, ignored SIGCHLD (which would reap at once), core dumps.
 * @see Linux kernel/exit.c, `do_exit`, `exit_mm`, `exit_files`, `exit_notify`, `release_task`
 */
import type { Task } from '../../base/task.ts';
import { exitLazyMm } from '../mm/context-switch.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { SIGCHLD } from '../signal.ts';
import { ExitState, type TaskStruct } from '../task-struct.ts';
import { notePid } from './pid-footprint.ts';
import { exitPtrace } from './ptrace-link.ts';
import { completeVforkDone } from './vfork.ts';

/**
 * Ends `current`. Afterwards it must not run.
 * @param status as `wait4` reports it: exit code << 8, or the number of the signal that ended it
 */
export function* doExit(current: TaskStruct, status: number): Task<void> {
  current.exitStatus = status;
  yield* exitMm(current);
  yield* current.files.closeAll(current);
  yield current.familyWrite;
  exitPtrace(current);
  forgetOriginalParent(current);
  current.exitState = ExitState.Zombie;
  const { parent } = current;
  // Nobody who could wait: nothing keeps the pid.
  if (parent === null) releaseTask(current);
  else parent.sendSignal({ signal: SIGCHLD, code: 0, address: 0n });
}

/**
 * Lets go of the address space; the last user tears it down (`exit_mmap`). The CPU runs on in it lazily, as a kernel
 * thread would, until it loads another.
 * @see Linux kernel/exit.c `exit_mm`
 */
function* exitMm(current: TaskStruct): Task<void> {
  const { mm } = current;
  yield* completeVforkDone(current);
  if (mm === null) return;
  yield* current.allocLock.lock(current);
  current.mm = null;
  yield* exitLazyMm(current);
  yield* current.allocLock.unlock(current);
  yield* mmput(current, mm);
}

/** Children go to init (pid 1), if there is one; else nobody waits for them, and dead ones go now. */
function forgetOriginalParent(current: TaskStruct): void {
  const init = current.kernel.tasks.get(1) ?? null;
  const reaper = init === current || init?.exitState !== ExitState.Running ? null : init;
  const { footprint } = current.kernel.machine;
  for (const child of current.children) {
    if (footprint.enabled) footprint.writeObject(child.object);
    child.parent = reaper;
    if (reaper !== null) reaper.children.add(child);
    else if (child.exitState === ExitState.Zombie) releaseTask(child);
  }
  current.children.clear();
}

/** The pid is free, the task is gone. @see Linux kernel/exit.c, `release_task` */
export function releaseTask(task: TaskStruct): void {
  task.exitState = ExitState.Dead;
  task.parent?.children.delete(task);
  task.parent = null;
  notePid(task.kernel, task.pid, true);
  task.kernel.tasks.delete(task.pid);
}
