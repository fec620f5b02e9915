/**
 * /proc/PID/mem: an open file that keeps the address space's structure but not its memory.
 * Left out: the choice of path (a caller names a pid), mmap of the file, which Linux does not allow either.
 * @see Linux fs/proc/base.c, `mem_open`, `mem_rw`, `proc_mem_foll_force`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINVAL, EIO, ENOENT, ENOMEM } from '../errno.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../gup/foll-flags.ts';
import { freePage, getFreePage } from '../mm/kernel-page.ts';
import type { MmStruct } from '../mm/mm.ts';
import { mmdrop, mmgrab } from '../mm/mm-count.ts';
import { mmgetNotZero, mmput } from '../mm/mm-lifetime.ts';
import { accessOk } from '../mm/user-access.ts';
import { mmAccess, PTRACE_MODE_ATTACH, PTRACE_MODE_FSCREDS } from '../process/ptrace-access.ts';
import { findTaskByPid } from '../process/task-mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import { accessRemoteVm } from './access-remote-vm.ts';
import { getFromUser, MAX_RW_COUNT, putToUser, type UserBuffer } from './user-buffer.ts';

const PAGE_SIZE = 4096;

/** The open file. */
export interface ProcMemFile {
  readonly task: TaskStruct;
  /** Counted in `mmCount`: the structure stays, the memory may go. */
  readonly mm: MmStruct;
}

/**
 * The mm behind a file of /proc/PID, by its structure, or -ENOENT (no such pid), -ESRCH (no mm any more), -EACCES.
 * @see Linux fs/proc/base.c, `proc_mem_open`
 */
export function* procMemOpen(current: TaskStruct, pid: number, mode: number): Task<ProcMemFile | number> {
  const task = findTaskByPid(current, pid);
  if (task === null) return -ENOENT;
  const mm = yield* mmAccess(current, task, mode | PTRACE_MODE_FSCREDS);
  if (typeof mm === 'number') return mm;
  yield* mmgrab(mm);
  yield* mmput(current, mm);
  return { task, mm };
}

/** open("/proc/PID/mem"). */
export function openProcMem(current: TaskStruct, pid: number): Task<ProcMemFile | number> {
  return procMemOpen(current, pid, PTRACE_MODE_ATTACH);
}

/** close: the structure goes when nobody else holds it. */
export function* closeProcMem(file: ProcMemFile): Task<void> {
  yield* mmdrop(file.mm);
}

/** As the boot parameter proc_mem.force_override= has it, asked at each call. @see `proc_mem_foll_force` */
function forceFlags(current: TaskStruct, file: ProcMemFile): number {
  const { procMemForceOverride } = current.kernel.config;
  if (procMemForceOverride === 'never') return 0;
  if (procMemForceOverride === 'always') return FOLL_FORCE;
  const traced = file.task.ptrace?.tracer === current && file.task.mm === file.mm;
  return traced ? FOLL_FORCE : 0;
}

/** pread: bytes read, 0 when the memory is gone, or -errno. `offset` is the address, as the 64-bit word passed. */
export function* readProcMem(
  current: TaskStruct,
  file: ProcMemFile,
  offset: bigint,
  buffer: UserBuffer,
  length: bigint,
): Task<number> {
  return yield* memRw(current, file, offset, buffer, length, false);
}

/** pwrite. */
export function* writeProcMem(
  current: TaskStruct,
  file: ProcMemFile,
  offset: bigint,
  buffer: UserBuffer,
  length: bigint,
): Task<number> {
  return yield* memRw(current, file, offset, buffer, length, true);
}

/**
 * What the file system layer checks before the file sees the call.
 * @see Linux fs/read_write.c, `ksys_pread64`, `vfs_read`
 */
function refusedByVfs(current: TaskStruct, offset: bigint, buffer: UserBuffer, length: bigint): number {
  if (BigInt.asIntN(64, offset) < 0n || BigInt.asIntN(64, length) < 0n) return -EINVAL;
  if (typeof buffer === 'bigint' && !accessOk(current, buffer, length)) return -EFAULT;
  return 0;
}

function* memRw(
  current: TaskStruct,
  file: ProcMemFile,
  offset: bigint,
  buffer: UserBuffer,
  length: bigint,
  write: boolean,
): Task<number> {
  const refused = refusedByVfs(current, offset, buffer, length);
  if (refused !== 0) return refused;
  const page = yield* getFreePage(current);
  if (page === NO_FRAME) return -ENOMEM;
  let copied = 0;
  if (yield* mmgetNotZero(file.mm)) {
    copied = yield* copyChunks(current, file, offset, buffer, length, write);
    yield* mmput(current, file.mm);
  }
  freePage(current.kernel, page);
  return copied;
}

/** Page by page, through memory of the kernel's own. */
function* copyChunks(
  current: TaskStruct,
  file: ProcMemFile,
  offset: bigint,
  buffer: UserBuffer,
  length: bigint,
  write: boolean,
): Task<number> {
  const gupFlags = (write ? FOLL_WRITE : 0) | forceFlags(current, file);
  const total = Number(length < MAX_RW_COUNT ? length : MAX_RW_COUNT);
  const bounce = new Uint8Array(PAGE_SIZE);
  let copied = 0;
  while (copied < total) {
    const address = offset + BigInt(copied);
    const wanted = Math.min(total - copied, PAGE_SIZE);
    const moved = write
      ? yield* writeChunk(current, file, address, buffer, copied, wanted, gupFlags, bounce)
      : yield* readChunk(current, file, address, buffer, copied, wanted, gupFlags, bounce);
    // The caller's bad buffer is an error even after pages that went well: the count is lost.
    if (moved < 0) copied = moved;
    else if (moved === 0 && copied === 0) copied = -EIO;
    if (moved <= 0) break;
    copied += moved;
  }
  return copied;
}

/** At most a page from the target to the caller's buffer at `at`: bytes moved, or -EFAULT. */
function* readChunk(
  current: TaskStruct,
  file: ProcMemFile,
  address: bigint,
  buffer: UserBuffer,
  at: number,
  wanted: number,
  gupFlags: number,
  bounce: Uint8Array,
): Task<number> {
  const moved = yield* accessRemoteVm(current, file.mm, address, bounce, wanted, gupFlags);
  if (moved === 0) return 0;
  return (yield* putToUser(current, buffer, at, bounce, moved)) === 0 ? moved : -EFAULT;
}

/** At most a page from the caller's buffer at `at` to the target: bytes moved, or -EFAULT. */
function* writeChunk(
  current: TaskStruct,
  file: ProcMemFile,
  address: bigint,
  buffer: UserBuffer,
  at: number,
  wanted: number,
  gupFlags: number,
  bounce: Uint8Array,
): Task<number> {
  if ((yield* getFromUser(current, buffer, at, bounce, wanted)) !== 0) return -EFAULT;
  return yield* accessRemoteVm(current, file.mm, address, bounce, wanted, gupFlags);
}
