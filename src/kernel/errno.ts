/**
 * Error numbers, positive. Kernel functions return them negated, as Linux does (`-EFAULT`). Those that no path returns
 * yet have a name for reports only and are not exported.
 * @see Linux include/uapi/asm-generic/errno-base.h and errno.h
 */

export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const E2BIG = 7;
const ENOEXEC = 8;
export const EBADF = 9;
export const ECHILD = 10;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
const ENOTDIR = 20;
const EISDIR = 21;
export const EINVAL = 22;
const ENFILE = 23;
const EMFILE = 24;
const ETXTBSY = 26;
export const EFBIG = 27;
export const ENOSPC = 28;
const ESPIPE = 29;
const EROFS = 30;
export const EMLINK = 31;
export const EPIPE = 32;
const ERANGE = 34;
const EDEADLK = 35;
const ENOSYS = 38;
const ELOOP = 40;
const ENODATA = 61;
export const EOVERFLOW = 75;
export const EOPNOTSUPP = 95;
export const ENOBUFS = 105;
export const EHWPOISON = 133;

/** Of the kernel's own, but it gets out: an operation that is not there. */
export const ENOTSUPP = 524;
/** Never seen by user space: a system call is to be restarted. */
export const ERESTARTSYS = 512;
/** It is always restarted when a handler returns. */
export const ERESTARTNOINTR = 513;

const names: ReadonlyMap<number, string> = new Map(
  Object.entries({
    EPERM,
    ENOENT,
    ESRCH,
    EINTR,
    EIO,
    ENXIO,
    E2BIG,
    ENOEXEC,
    EBADF,
    ECHILD,
    EAGAIN,
    ENOMEM,
    EACCES,
    EFAULT,
    EBUSY,
    EEXIST,
    ENODEV,
    ENOTDIR,
    EISDIR,
    EINVAL,
    ENFILE,
    EMFILE,
    ETXTBSY,
    EFBIG,
    ENOSPC,
    ESPIPE,
    EROFS,
    EMLINK,
    EPIPE,
    ERANGE,
    EDEADLK,
    ENOSYS,
    ELOOP,
    ENODATA,
    EOVERFLOW,
    EOPNOTSUPP,
    ENOBUFS,
    EHWPOISON,
    ENOTSUPP,
    ERESTARTSYS,
    ERESTARTNOINTR,
  }).map(([name, number]) => [number, name]),
);

/** `ENOMEM` for 12 or -12; `errno 4095` for a number without a name. */
export function errnoName(error: number): string {
  const number = Math.abs(error);
  return names.get(number) ?? `errno ${number}`;
}
