/**
 * setuid, and the prctl calls that decide who may look at a process.
 * @see Linux kernel/sys.c `__sys_setuid`, `prctl`; kernel/cred.c `commit_creds`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL, EPERM } from '../errno.ts';
import { SUID_DUMP_DISABLE, SUID_DUMP_USER } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { type Credentials, clearsDumpable, credentialsAfterSetuid } from './credentials.ts';

/** Publishes new credentials. Other ids, or more rights than before, make the process non-dumpable. */
function commitCredentials(current: TaskStruct, after: Credentials): void {
  // `sysctl fs.suid_dumpable` is 0.
  if (clearsDumpable(current.credentials, after) && current.mm !== null)
    current.mm.dumpable = SUID_DUMP_DISABLE;
  current.credentials = after;
}

/** 0, -EINVAL (no such id) or -EPERM. */
export function* sysSetuid(current: TaskStruct, uid: number): Task<number> {
  // (uid_t) -1 is no id.
  if (!Number.isInteger(uid) || uid < 0 || uid >= 0xffff_ffff) return -EINVAL;
  const after = credentialsAfterSetuid(current.credentials, uid);
  if (after === null) return -EPERM;
  yield current.credentialsWrite;
  commitCredentials(current, after);
  return 0;
}

/** prctl(PR_SET_DUMPABLE): 0 or 1, else -EINVAL. */
export function* sysPrctlSetDumpable(current: TaskStruct, value: number): Task<number> {
  if (value !== SUID_DUMP_DISABLE && value !== SUID_DUMP_USER) return -EINVAL;
  yield current.credentialsWrite;
  if (current.mm !== null) current.mm.dumpable = value;
  return 0;
}

/** prctl(PR_GET_DUMPABLE). */
export function sysPrctlGetDumpable(current: TaskStruct): number {
  return current.mm?.dumpable ?? SUID_DUMP_DISABLE;
}
