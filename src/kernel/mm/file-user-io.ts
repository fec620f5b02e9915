/**
 * pread and pwrite of a tmpfs file with a buffer of the caller's memory. A write copies with page faults off while it
 * holds the file's page, and faults the buffer in only when nothing could be copied: so a call that fails may leave a
 * page in the file and a larger size.
 * Left out: other file systems, RLIMIT_FSIZE, large folios.
 * @see Linux fs/read_write.c, `ksys_pread64`, `ksys_pwrite64`; mm/shmem.c, `shmem_file_read_iter`, `shmem_write_begin`,
 * `shmem_write_end`; mm/filemap.c, `generic_perform_write`
 */
import type { Task } from '../../base/task.ts';
import { EBADF, EFAULT, EFBIG, EINTR, EINVAL } from '../errno.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MappedFile } from './mapped-file.ts';
import { MAX_FILE_BYTES, readPart } from './memfd.ts';
import { shmemWriteBegin, shmemWriteEnd } from './shmem-write.ts';
import { accessOk, copyFromUserInatomic, copyToUser, faultInReadable } from './user-access.ts';

const PAGE_BYTES = 4096;
/** The most bytes that one call moves (MAX_RW_COUNT). */
const MAX_RW_COUNT = 0x7fff_f000n;

/** What both calls check: 0 or an errno. Bytes, unsigned 64 bits. */
function refused(
  current: TaskStruct,
  allowed: boolean,
  address: bigint,
  length: bigint,
  offset: bigint,
): number {
  if (BigInt.asIntN(64, offset) < 0n) return -EINVAL;
  if (!allowed) return -EBADF;
  if (BigInt.asIntN(64, length) < 0n) return -EINVAL;
  return accessOk(current, address, length) ? 0 : -EFAULT;
}

const limited = (length: bigint): number => Number(length < MAX_RW_COUNT ? length : MAX_RW_COUNT);

/**
 * pread64: bytes read, up to the end of the file, or -EINVAL, -EBADF (not open for reading), -EFAULT (nothing could be
 * stored). Holes read as zeros and stay holes.
 */
export function* sysPread(
  current: TaskStruct,
  file: MappedFile,
  address: bigint,
  length: bigint,
  offset: bigint,
): Task<number> {
  const error = refused(current, file.readable, address, length, offset);
  if (error !== 0) return error;
  const { mapping } = file;
  if (mapping.secret !== null) return -EINVAL;
  const bounce = new Uint8Array(PAGE_BYTES);
  const wanted = limited(length);
  const start = Number(offset);
  let done = 0;
  while (done < wanted && start + done < mapping.sizeBytes) {
    const at = start + done;
    const count = Math.min(PAGE_BYTES - (at % PAGE_BYTES), wanted - done, mapping.sizeBytes - at);
    const part = bounce.subarray(0, count);
    yield* readPart(current, mapping, at, part);
    const missed = yield* copyToUser(current, address + BigInt(done), part);
    done += count - missed;
    if (missed > 0) return done === 0 ? -EFAULT : done;
  }
  return done;
}

/**
 * pwrite64: bytes written, or -EINVAL, -EBADF (not open for writing), -EFBIG, -EPERM (sealed), -EFAULT (nothing could be
 * read), -ENOMEM, -EINTR (killed).
 */
export function* sysPwrite(
  current: TaskStruct,
  file: MappedFile,
  address: bigint,
  length: bigint,
  offset: bigint,
): Task<number> {
  const error = refused(current, file.writable, address, length, offset);
  if (error !== 0) return error;
  if (file.mapping.huge !== null || file.mapping.secret !== null) return -EINVAL;
  if (length > 0n && offset + length > MAX_FILE_BYTES) return -EFBIG;
  const { iRwsem } = file.mapping;
  yield* iRwsem.downWrite(current);
  const wanted = limited(length);
  let done = 0;
  let status = 0;
  while (done < wanted && status >= 0) {
    const at = Number(offset) + done;
    const count = Math.min(PAGE_BYTES - (at % PAGE_BYTES), wanted - done);
    status = yield* writeChunk(current, file, at, address + BigInt(done), count);
    if (status > 0) done += status;
  }
  yield* iRwsem.upWrite(current);
  return done > 0 ? done : status;
}

/** One round of `generic_perform_write`: bytes copied, 0 where the buffer is there now and to be tried again, or -errno. */
function* writeChunk(
  current: TaskStruct,
  file: MappedFile,
  at: number,
  from: bigint,
  count: number,
): Task<number> {
  if (current.fatalSignalPending()) return -EINTR;
  const copied = yield* writePage(current, file, at, from, count);
  if (copied !== 0) return copied;
  return (yield* faultInReadable(current, from, count)) === count ? -EFAULT : 0;
}

/** At most up to the end of a page of the file: bytes copied, maybe 0, -EPERM (sealed) or -ENOMEM. */
function* writePage(
  current: TaskStruct,
  { mapping }: MappedFile,
  at: number,
  from: bigint,
  count: number,
): Task<number> {
  const frame = yield* shmemWriteBegin(current, mapping, at, count);
  if (frame < 0) return frame;
  const bytes = new Uint8Array(count);
  const copied = count - copyFromUserInatomic(current, bytes, from);
  current.kernel.machine.memory.writeBytes(frame, at % PAGE_BYTES, bytes.subarray(0, copied));
  // Even where nothing was copied.
  yield* shmemWriteEnd(current, mapping, frame, at, copied);
  return copied;
}
