/**
 * ptrace as a debugger uses it on memory: attach (PTRACE_SEIZE), stop (PTRACE_INTERRUPT), read and write words
 * (PEEKDATA, POKEDATA), detach.
 * Left out: stops other than the one asked for, signal injection, registers, events, PTRACE_ATTACH with its SIGSTOP.
 * @see Linux kernel/ptrace.c; ptrace(2)
 */
import type { Task } from '../../base/task.ts';
import { PointKind, SchedPoint } from '../../base/task.ts';
import { TaskState } from '../../sched/task.ts';
import { EFAULT, EIO, EPERM, ERESTARTSYS, ESRCH } from '../errno.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../gup/foll-flags.ts';
import { type MmStruct, SUID_DUMP_USER } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import { CAP_SYS_PTRACE } from '../process/credentials.ts';
import { PTRACE_MODE_ATTACH_REALCREDS, ptraceMayAccess } from '../process/ptrace-access.ts';
import { unlinkTracee } from '../process/ptrace-link.ts';
import { findTaskByPid, getTaskMm } from '../process/task-mm.ts';
import { ExitState, type TaskStruct } from '../task-struct.ts';
import { accessRemoteVm } from './access-remote-vm.ts';
import { putToUser, type UserBuffer } from './user-buffer.ts';

/** Bytes that PEEK and POKE move. */
const WORD_SIZE = 8;

/**
 * PTRACE_SEIZE: attaches without stopping. 0, -ESRCH (no such pid) or -EPERM (oneself, not allowed, a zombie, traced
 * already).
 * @see Linux kernel/ptrace.c, `ptrace_attach`
 */
export function* ptraceSeize(current: TaskStruct, pid: number): Task<number> {
  const task = findTaskByPid(current, pid);
  if (task === null) return -ESRCH;
  if (task === current) return -EPERM;
  const refused = ptraceMayAccess(current, task, PTRACE_MODE_ATTACH_REALCREDS);
  if (refused !== 0) return refused;
  yield task.ptraceWrite;
  if (task.exitState !== ExitState.Running || task.ptrace !== null) return -EPERM;
  task.ptrace = { tracer: current, tracerCredentials: current.credentials };
  current.tracees.add(task);
  return 0;
}

/**
 * PTRACE_INTERRUPT: asks for a stop and waits for it. A task whose own code is not running stops at once, another one
 * at its next `ptraceStopPoint`. 0, -ESRCH (not ours), or -ERESTARTSYS when a signal ends the wait.
 */
export function* ptraceInterrupt(current: TaskStruct, pid: number): Task<number> {
  const task = findTaskByPid(current, pid);
  if (task === null || task.ptrace?.tracer !== current) return -ESRCH;
  yield task.ptraceWrite;
  if (task.state === TaskState.Idle) task.ptraceStopped = true;
  else task.ptraceTrapPending = true;
  yield new SchedPoint(PointKind.Wait, task.object, 'wait4', 0, () => {
    return task.ptraceStopped || task.state === TaskState.Idle || current.signalPending();
  });
  if (task.state === TaskState.Idle && task.exitState === ExitState.Running) task.ptraceStopped = true;
  if (task.ptraceStopped) return 0;
  return task.exitState === ExitState.Running ? -ERESTARTSYS : -ESRCH;
}

/** Where a task goes back to user mode: it stays here while its debugger holds it. SIGKILL ends the stop. */
export function* ptraceStopPoint(current: TaskStruct): Task<void> {
  if (!current.ptraceTrapPending) return;
  yield current.ptraceWrite;
  current.ptraceTrapPending = false;
  current.ptraceStopped = true;
  yield current.ptraceResumed;
  current.ptraceStopped = false;
}

/** The tracee to work on: traced by the caller and stopped, else null (-ESRCH). @see `ptrace_check_attach` */
export function stoppedTracee(current: TaskStruct, pid: number): TaskStruct | null {
  const task = findTaskByPid(current, pid);
  if (task === null || task.ptrace?.tracer !== current || !task.ptraceStopped) return null;
  return task;
}

/** PTRACE_DETACH: lets the task run. 0 or -ESRCH. */
export function* ptraceDetach(current: TaskStruct, pid: number): Task<number> {
  const task = stoppedTracee(current, pid);
  if (task === null) return -ESRCH;
  yield task.ptraceWrite;
  unlinkTracee(current, task);
  return 0;
}

/** May the tracer (still) get at the memory? @see `ptrace_access_vm`, arch/arm64/kernel/mte.c `access_remote_tags` */
export function tracerMayAccess(current: TaskStruct, task: TaskStruct, mm: MmStruct): boolean {
  const link = task.ptrace;
  const privileged = link?.tracerCredentials.capEffective.has(CAP_SYS_PTRACE) === true;
  return link?.tracer === current && (mm.dumpable === SUID_DUMP_USER || privileged);
}

/**
 * `ptrace_access_vm`: bytes moved, 0 where the tracer may not (any more).
 * @see Linux kernel/ptrace.c
 */
function* ptraceAccessVm(
  current: TaskStruct,
  task: TaskStruct,
  address: bigint,
  buffer: Uint8Array,
  length: number,
  gupFlags: number,
): Task<number> {
  const mm = yield* getTaskMm(current, task);
  if (mm === null) return 0;
  const moved = tracerMayAccess(current, task, mm)
    ? yield* accessRemoteVm(current, mm, address, buffer, length, gupFlags)
    : 0;
  yield* mmput(current, mm);
  return moved;
}

/**
 * PTRACE_PEEKDATA: fills the 8 bytes of `word`; 0, -ESRCH (not our stopped tracee), -EIO (not all 8 bytes) or -EFAULT
 * (the caller's own memory). @see Linux kernel/ptrace.c, `generic_ptrace_peekdata`
 */
export function* ptracePeekData(
  current: TaskStruct,
  pid: number,
  address: bigint,
  word: UserBuffer,
): Task<number> {
  const task = stoppedTracee(current, pid);
  if (task === null) return -ESRCH;
  const data = new Uint8Array(WORD_SIZE);
  const moved = yield* ptraceAccessVm(current, task, address, data, WORD_SIZE, FOLL_FORCE);
  if (moved !== WORD_SIZE) return -EIO;
  return (yield* putToUser(current, word, 0, data, WORD_SIZE)) === 0 ? 0 : -EFAULT;
}

/** PTRACE_POKEDATA. With -EIO the first part of the word may have been written. */
export function* ptracePokeData(
  current: TaskStruct,
  pid: number,
  address: bigint,
  word: Uint8Array,
): Task<number> {
  const task = stoppedTracee(current, pid);
  if (task === null) return -ESRCH;
  const moved = yield* ptraceAccessVm(current, task, address, word, WORD_SIZE, FOLL_FORCE | FOLL_WRITE);
  return moved === WORD_SIZE ? 0 : -EIO;
}
