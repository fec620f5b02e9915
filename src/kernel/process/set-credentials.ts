/**
 * setuid, and the prctl calls that decide who may look at a process.
 * @see Linux kernel/sys.c `__sys_setuid`, `prctl`, `prctl_set_mm_map`; kernel/cred.c `commit_creds`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL, EPERM } from '../errno.ts';
import { type MmStruct, SUID_DUMP_DISABLE, SUID_DUMP_USER } from '../mm/mm.ts';
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

/** The fields of `struct prctl_mm_map` that name addresses, in bytes. */
const MM_MAP_FIELDS = [
  'startCode',
  'endCode',
  'startData',
  'endData',
  'startBrk',
  'brk',
  'startStack',
  'argStart',
  'argEnd',
  'envStart',
  'envEnd',
] as const;
export type MmMap = { readonly [field in (typeof MM_MAP_FIELDS)[number]]?: bigint };

const MM_MAP_ORDER: readonly (readonly [keyof MmMap, keyof MmMap, allowEqual: boolean])[] = [
  ['startCode', 'endCode', false],
  ['startData', 'endData', true],
  ['startBrk', 'brk', true],
  ['argStart', 'argEnd', true],
  ['envStart', 'envEnd', true],
];

/** Is every given address inside user space? */
function areAddressesValid(current: TaskStruct, mm: MmStruct, map: MmMap): boolean {
  const lowest = BigInt(current.kernel.config.mmapMinPage) << 12n;
  const limit = BigInt(mm.taskSizePages) << 12n;
  return MM_MAP_FIELDS.every((field) => {
    const address = map[field];
    return address === undefined || (address >= lowest && address < limit);
  });
}

/** Is every pair of which a half is given in order? */
function arePairsOrdered(mm: MmStruct, map: MmMap): boolean {
  return MM_MAP_ORDER.every(([low, high, allowEqual]) => {
    if (map[low] === undefined && map[high] === undefined) return true;
    const from = map[low] ?? mm[low];
    const to = map[high] ?? mm[high];
    return from < to || (allowEqual && from === to);
  });
}

/**
 * prctl(PR_SET_MM, PR_SET_MM_MAP) for the fields given; those left out keep their value unchecked. 0 or -EINVAL.
 * @see Linux kernel/sys.c, `validate_prctl_map_addr`
 */
export function* sysPrctlSetMmMap(current: TaskStruct, map: MmMap): Task<number> {
  const { mm } = current;
  if (mm === null || !areAddressesValid(current, mm, map) || !arePairsOrdered(mm, map)) return -EINVAL;
  yield* mm.argLock.lock(current);
  for (const field of MM_MAP_FIELDS) {
    const address = map[field];
    if (address !== undefined) mm[field] = address;
  }
  yield* mm.argLock.unlock(current);
  return 0;
}
