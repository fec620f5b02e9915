/**
 * /proc/PID/cmdline and /proc/PID/environ: the argument and environment strings in the target's own memory, read
 * without FOLL_FORCE and from anonymous mappings only.
 * @see Linux fs/proc/base.c, `get_mm_cmdline`, `get_mm_proctitle`, `environ_read`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, ENOENT, ENOMEM } from '../errno.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FOLL_ANON } from '../gup/foll-flags.ts';
import { freePage, getFreePage } from '../mm/kernel-page.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import { PTRACE_MODE_READ } from '../process/ptrace-access.ts';
import { findTaskByPid, getTaskMm } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accessRemoteVm } from './access-remote-vm.ts';
import { closeProcMem, type ProcMemFile, procMemOpen } from './proc-pid-mem.ts';
import { putToUser, type UserBuffer } from './user-buffer.ts';

const PAGE_SIZE = 4096;

/** Where the strings are, copied under `arg_lock` in one step. Byte addresses. */
interface StringBounds {
  readonly argStart: bigint;
  readonly argEnd: bigint;
  readonly envStart: bigint;
  readonly envEnd: bigint;
}

function* stringBounds(current: TaskStruct, mm: MmStruct): Task<StringBounds> {
  yield* mm.argLock.lock(current);
  const { argStart, argEnd, envStart, envEnd } = mm;
  yield* mm.argLock.unlock(current);
  return { argStart, argEnd, envStart, envEnd };
}

/**
 * open and one read of /proc/PID/cmdline. Bytes read, 0 for a process without memory, -ENOENT without the process.
 * @param position the file offset, in bytes
 */
export function* readProcCmdline(
  current: TaskStruct,
  pid: number,
  position: number,
  buffer: UserBuffer,
  length: number,
): Task<number> {
  const task = findTaskByPid(current, pid);
  if (task === null) return -ENOENT;
  const mm = yield* getTaskMm(current, task);
  if (mm === null) return 0;
  const read = yield* getMmCmdline(current, mm, position, buffer, length);
  yield* mmput(current, mm);
  return read;
}

function* getMmCmdline(
  current: TaskStruct,
  mm: MmStruct,
  position: number,
  buffer: UserBuffer,
  length: number,
): Task<number> {
  // Not far enough in execve to have strings.
  if (mm.envEnd === 0n) return 0;
  const bounds = yield* stringBounds(current, mm);
  const { argStart, argEnd } = bounds;
  if (argStart >= argEnd) return 0;
  // setproctitle may write over the arguments and into the environment, but only where one follows the other.
  const joined = bounds.envStart === argEnd && bounds.envEnd >= bounds.envStart;
  const whole = Number((joined ? bounds.envEnd : argEnd) - argStart);
  if (position >= whole) return 0;
  const wanted = Math.min(length, whole - position);
  if (wanted === 0) return 0;
  const last = new Uint8Array(1);
  const end = yield* accessRemoteVm(current, mm, argEnd - 1n, last, 1, FOLL_ANON);
  if (end === 1 && last[0] !== 0)
    return yield* getMmProctitle(current, mm, position, buffer, wanted, argStart);
  const arguments_ = Number(argEnd - argStart);
  if (position >= arguments_) return 0;
  const size = Math.min(wanted, arguments_ - position);
  return yield* withFreePage(current, copyStrings(current, mm, argStart + BigInt(position), buffer, size));
}

/** What copies through a page of the kernel's own: -ENOMEM without one. */
function* withFreePage(current: TaskStruct, copy: Task<number>): Task<number> {
  const page = yield* getFreePage(current);
  if (page === NO_FRAME) return -ENOMEM;
  const result = yield* copy;
  freePage(current.kernel, page);
  return result;
}

/** Page by page until the target's memory or the caller's buffer ends; -EFAULT only when not one byte arrived. */
function* copyStrings(
  current: TaskStruct,
  mm: MmStruct,
  address: bigint,
  buffer: UserBuffer,
  length: number,
): Task<number> {
  const bounce = new Uint8Array(PAGE_SIZE);
  let copied = 0;
  while (copied < length) {
    const size = Math.min(PAGE_SIZE, length - copied);
    const moved = yield* accessRemoteVm(current, mm, address + BigInt(copied), bounce, size, FOLL_ANON);
    if (moved <= 0) break;
    const arrived = moved - (yield* putToUser(current, buffer, copied, bounce, moved));
    if (arrived === 0) return copied === 0 ? -EFAULT : copied;
    copied += arrived;
  }
  return copied;
}

/**
 * The arguments were overwritten by the process: what stands there up to the first NUL, one page at most.
 * @see Linux fs/proc/base.c, `get_mm_proctitle`
 */
function* getMmProctitle(
  current: TaskStruct,
  mm: MmStruct,
  position: number,
  buffer: UserBuffer,
  length: number,
  argStart: bigint,
): Task<number> {
  // Before there is a page for it: no -ENOMEM here.
  if (position >= PAGE_SIZE) return 0;
  return yield* withFreePage(current, copyTitle(current, mm, position, buffer, length, argStart));
}

function* copyTitle(
  current: TaskStruct,
  mm: MmStruct,
  position: number,
  buffer: UserBuffer,
  length: number,
  argStart: bigint,
): Task<number> {
  const bounce = new Uint8Array(PAGE_SIZE);
  const moved = yield* accessRemoteVm(current, mm, argStart, bounce, PAGE_SIZE, FOLL_ANON);
  if (moved <= 0) return 0;
  const nul = bounce.subarray(0, moved).indexOf(0);
  const title = nul < 0 ? moved : nul + 1;
  if (title <= position) return 0;
  const size = Math.min(title - position, length);
  const arrived = size - (yield* putToUser(current, buffer, 0, bounce.subarray(position), size));
  return arrived === 0 ? -EFAULT : arrived;
}

/** open("/proc/PID/environ"): -ENOENT, -ESRCH (no memory any more) or -EACCES, as for mem but for reading only. */
export function* openProcEnviron(current: TaskStruct, pid: number): Task<ProcMemFile | number> {
  return yield* procMemOpen(current, pid, PTRACE_MODE_READ);
}

/** Bytes read. A page that cannot be read gives 0 even after pages that could. */
function* readProcEnvironFile(
  current: TaskStruct,
  file: ProcMemFile,
  position: number,
  buffer: UserBuffer,
  length: number,
): Task<number> {
  const { mm } = file;
  if (mm.envEnd === 0n) return 0;
  return yield* withFreePage(current, copyEnviron(current, mm, position, buffer, length));
}

function* copyEnviron(
  current: TaskStruct,
  mm: MmStruct,
  position: number,
  buffer: UserBuffer,
  length: number,
): Task<number> {
  if (!(yield* mmgetNotZero(mm))) return 0;
  const { envStart, envEnd } = yield* stringBounds(current, mm);
  const whole = Number(envEnd - envStart);
  const bounce = new Uint8Array(PAGE_SIZE);
  let copied = 0;
  while (copied < length && position + copied < whole) {
    const size = Math.min(PAGE_SIZE, length - copied, whole - position - copied);
    const address = envStart + BigInt(position + copied);
    const moved = yield* accessRemoteVm(current, mm, address, bounce, size, FOLL_ANON);
    if (moved <= 0) {
      copied = moved;
      break;
    }
    if ((yield* putToUser(current, buffer, copied, bounce, moved)) !== 0) {
      copied = -EFAULT;
      break;
    }
    copied += moved;
  }
  yield* mmput(current, mm);
  return copied;
}

/** open, one read from the start, close. */
export function* readProcEnviron(
  current: TaskStruct,
  pid: number,
  buffer: UserBuffer,
  length: number,
): Task<number> {
  const file = yield* openProcEnviron(current, pid);
  if (typeof file === 'number') return file;
  const read = yield* readProcEnvironFile(current, file, 0, buffer, length);
  yield* closeProcMem(file);
  return read;
}
