/**
 * May one process look into another? The check behind ptrace, process_vm_* and the mem, environ and similar files of
 * /proc, and the function that returns the target's address space once it has passed.
 * Left out: user namespaces, LSMs other than commoncap (Yama), audit.
 * @see Linux kernel/ptrace.c `__ptrace_may_access`, kernel/fork.c `mm_access`, security/commoncap.c
 */
import type { Task } from '../../base/task.ts';
import { EACCES, EPERM, ESRCH } from '../errno.ts';
import { type MmStruct, SUID_DUMP_USER } from '../mm/mm.ts';
import { mmput } from '../mm/mm-lifetime.ts';
import type { TaskStruct } from '../task-struct.ts';
import { CAP_SYS_PTRACE, type Credentials, isCapabilitySubset } from './credentials.ts';
import { getTaskMm } from './task-mm.ts';

/** Looking only. */
export const PTRACE_MODE_READ = 0x01;
/** Changing. */
export const PTRACE_MODE_ATTACH = 0x02;
/** Judged by the ids that file access uses: for files of /proc. */
export const PTRACE_MODE_FSCREDS = 0x08;
/** Judged by the real ids: for system calls that name a process. */
export const PTRACE_MODE_REALCREDS = 0x10;
export const PTRACE_MODE_ATTACH_REALCREDS = PTRACE_MODE_ATTACH | PTRACE_MODE_REALCREDS;

/** The five comparisons of user and group ids: equal to all of the target's, not only to one. */
function idsMatch(caller: Credentials, target: Credentials, mode: number): boolean {
  const fileCredentials = (mode & PTRACE_MODE_FSCREDS) !== 0;
  const uid = fileCredentials ? caller.fsuid : caller.uid;
  const gid = fileCredentials ? caller.fsgid : caller.gid;
  return (
    uid === target.euid &&
    uid === target.suid &&
    uid === target.uid &&
    gid === target.egid &&
    gid === target.sgid &&
    gid === target.gid
  );
}

/** @see Linux security/commoncap.c, `cap_ptrace_access_check` */
function commoncapAllows(caller: Credentials, target: Credentials, mode: number): boolean {
  const callerCaps = (mode & PTRACE_MODE_FSCREDS) !== 0 ? caller.capEffective : caller.capPermitted;
  return isCapabilitySubset(target.capPermitted, callerCaps) || caller.capEffective.has(CAP_SYS_PTRACE);
}

/**
 * 0 or -EPERM. A process may always look at itself.
 * @param mode READ or ATTACH with exactly one of FSCREDS and REALCREDS
 */
export function ptraceMayAccess(current: TaskStruct, task: TaskStruct, mode: number): number {
  if (((mode & PTRACE_MODE_FSCREDS) === 0) === ((mode & PTRACE_MODE_REALCREDS) === 0)) return -EPERM;
  if (task === current) return 0;
  const caller = current.credentials;
  const target = task.credentials;
  const privileged = caller.capEffective.has(CAP_SYS_PTRACE);
  if (!idsMatch(caller, target, mode) && !privileged) return -EPERM;
  // A process that changed its ids may still hold secrets of the old ones.
  const { mm } = task;
  if (mm !== null && mm.dumpable !== SUID_DUMP_USER && !privileged) return -EPERM;
  return commoncapAllows(caller, target, mode) ? 0 : -EPERM;
}

/**
 * The target's mm with a reference to its users, or -ESRCH (no mm: kernel thread, exiting, zombie), -EACCES (not
 * allowed), -EINTR.
 */
export function* mmAccess(current: TaskStruct, task: TaskStruct, mode: number): Task<MmStruct | number> {
  // execve changes credentials and mm together under this lock: we must not see one old and one new.
  const killed = yield* task.execUpdateLock.downReadKillable(current);
  if (killed !== 0) return killed;
  const mm = yield* getTaskMm(current, task);
  let result: MmStruct | number = -ESRCH;
  if (mm !== null) {
    if (mm === current.mm || ptraceMayAccess(current, task, mode) === 0) result = mm;
    else {
      yield* mmput(current, mm);
      result = -EACCES;
    }
  }
  yield* task.execUpdateLock.upRead(current);
  return result;
}
