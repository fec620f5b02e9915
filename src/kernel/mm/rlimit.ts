/**
 * Resource limits that memory management looks at. Values are bytes; no limit is `Infinity`.
 * @see Linux include/uapi/asm-generic/resource.h
 */
import { EINVAL, EPERM } from '../errno.ts';
import { CAP_SYS_RESOURCE } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';

/** One limit: the soft value is enforced, the hard one bounds what the process may set. */
export interface Rlimit {
  readonly soft: number;
  readonly hard: number;
}

/** A process' limits. Replaced as a whole when one changes; inherited over fork. */
export interface ResourceLimits {
  /** RLIMIT_AS: the address space. */
  readonly addressSpace: Rlimit;
  /** RLIMIT_DATA: private writable memory, brk included. */
  readonly data: Rlimit;
  /** RLIMIT_STACK: how far a stack may grow. */
  readonly stack: Rlimit;
  /** RLIMIT_MEMLOCK: locked memory. */
  readonly memlock: Rlimit;
}

const unlimited: Rlimit = { soft: Number.POSITIVE_INFINITY, hard: Number.POSITIVE_INFINITY };

/** What a process of a usual distribution starts with: an 8 MiB stack and 8 MiB of locked memory. */
export const defaultResourceLimits: ResourceLimits = {
  addressSpace: unlimited,
  data: unlimited,
  stack: { soft: 8 << 20, hard: Number.POSITIVE_INFINITY },
  memlock: { soft: 8 << 20, hard: 8 << 20 },
};

/** The limits by the names of this model. */
export type Resource = keyof ResourceLimits;

/**
 * setrlimit: 0, -EINVAL (soft above hard) or -EPERM (raising a hard limit without CAP_SYS_RESOURCE).
 * @see Linux kernel/sys.c, `do_prlimit`
 */
export function sysSetrlimit(current: TaskStruct, resource: Resource, limit: Rlimit): number {
  if (limit.soft > limit.hard) return -EINVAL;
  const old = current.rlimits[resource];
  if (limit.hard > old.hard && !current.capable(CAP_SYS_RESOURCE)) return -EPERM;
  current.rlimits = { ...current.rlimits, [resource]: limit };
  return 0;
}

/** A soft limit in whole pages, rounded down (`rlimit(x) >> PAGE_SHIFT`). */
export function limitPages(limit: Rlimit): number {
  return Math.floor(limit.soft / 4096);
}
