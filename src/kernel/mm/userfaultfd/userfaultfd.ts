/**
 * userfaultfd(2) and UFFDIO_API: a new userfaultfd for the caller's own memory, and what it is to do.
 * Left out: /dev/userfaultfd, O_CLOEXEC's effect (descriptors are userland's).
 * @see Linux fs/userfaultfd.c, `new_userfaultfd`, `userfaultfd_api`; userfaultfd(2), ioctl_userfaultfd(2)
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL, EPERM } from '../../errno.ts';
import { CAP_SYS_PTRACE } from '../../process/credentials.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { mmgrab } from '../mm-count.ts';
import { UserfaultfdContext } from './context.ts';
import {
  O_CLOEXEC,
  O_NONBLOCK,
  UFFD_API,
  UFFD_API_FEATURES,
  UFFD_API_IOCTLS,
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_WP_ASYNC,
  UFFD_FEATURE_WP_UNPOPULATED,
  UFFD_USER_MODE_ONLY,
} from './uffd-abi.ts';

/**
 * A userfaultfd of the caller's address space, with its descriptor's reference; -EINVAL for unknown flags, -EPERM when
 * it could stop the kernel's own accesses and the caller lacks CAP_SYS_PTRACE (`vm.unprivileged_userfaultfd` is 0).
 */
export function* sysUserfaultfd(current: TaskStruct, flags: number): Task<UserfaultfdContext | number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls userfaultfd without an address space`);
  if ((flags & UFFD_USER_MODE_ONLY) === 0 && !current.capable(CAP_SYS_PTRACE)) return -EPERM;
  if ((flags & ~(UFFD_USER_MODE_ONLY | O_NONBLOCK | O_CLOEXEC)) !== 0) return -EINVAL;
  yield* mmgrab(mm);
  return new UserfaultfdContext(mm, flags);
}

/** What UFFDIO_API leaves in its structure: zeros after an error. */
export interface UffdApiAnswer {
  /** 0 or -errno. */
  readonly error: number;
  readonly features: bigint;
  readonly ioctls: bigint;
}

const refused = (error: number): UffdApiAnswer => ({ error, features: 0n, ioctls: 0n });

/**
 * Enables `features` (64 bits), once. -EINVAL: another `api` than UFFD_API; -EPERM: fork events without
 * CAP_SYS_PTRACE; -EINVAL: an unknown feature, or the second call. On success it reports all that there is.
 */
export function* userfaultfdApi(
  current: TaskStruct,
  context: UserfaultfdContext,
  api: bigint,
  features: bigint,
): Task<UffdApiAnswer> {
  if (api !== UFFD_API) return refused(-EINVAL);
  // The right comes first: who lacks it is not told which features there are.
  const forkEvents = (features & BigInt(UFFD_FEATURE_EVENT_FORK)) !== 0n;
  if (forkEvents && !current.capable(CAP_SYS_PTRACE)) return refused(-EPERM);
  if ((features & ~BigInt(UFFD_API_FEATURES)) !== 0n) return refused(-EINVAL);
  let enabled = Number(features);
  // What is never written to may not be left out where nobody is asked before a write.
  if ((enabled & UFFD_FEATURE_WP_ASYNC) !== 0) enabled |= UFFD_FEATURE_WP_UNPOPULATED;
  yield context.change;
  if (context.features !== null) return refused(-EINVAL);
  context.features = enabled;
  return { error: 0, features: BigInt(UFFD_API_FEATURES), ioctls: UFFD_API_IOCTLS };
}
