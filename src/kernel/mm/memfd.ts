/**
 * memfd: a tmpfs file without a name. Creating it, opening it again, and reading and writing it from kernel memory.
 * Mappings of it are `mmap.ts` and `fault/file.ts`, reads and writes with the caller's memory `file-user-io.ts`, its
 * size `ftruncate.ts` and `fallocate.ts`, seals `seals.ts`.
 * Left out: descriptors, checks of the name.
 * @see Linux mm/memfd.c, `memfd_create`; mm/shmem.c, `shmem_file_read_iter`, `shmem_file_write_iter`
 */
import type { Task } from '../../base/task.ts';
import { EBADF, EINVAL } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioUnlock } from './fault/folio-lock.ts';
import { hugetlbReadPart } from './hugetlb/file-pages.ts';
import { hugetlbInodeOf } from './hugetlb/hugetlb-inode.ts';
import { MappedFile } from './mapped-file.ts';
import { setMemfdSeals } from './memfd-flags.ts';
import { Sgp, shmemGetFolio } from './shmem-get-folio.ts';
import { shmemWriteBegin, shmemWriteEnd } from './shmem-write.ts';

const PAGE_BYTES = 4096;
/** The largest size the model counts exactly; Linux allows 2^63 - 1 bytes. */
export const MAX_FILE_BYTES = 2n ** 52n;

/**
 * memfd_create of small pages: an empty file with one reference, for its descriptor, which may read and write.
 * @param flags MFD_*, a combination that is allowed; MFD_HUGETLB is not for this one
 */
export function memfdCreate(kernel: Kernel, name: string, flags = 0): MappedFile {
  const serial = kernel.nextSerial('memfd');
  const mapping = new AddressSpace(`i_pages memfd:${name} ${serial}`, 0, true);
  setMemfdSeals(mapping, flags);
  return new MappedFile({
    name: `memfd:${name} ${serial}`,
    mapping,
    readable: true,
    writable: true,
    kind: `memfd:${name}`,
  });
}

/** The same object opened once more (/proc/self/fd), with rights of its own. */
export function openAgain(file: MappedFile, readable: boolean, writable: boolean): MappedFile {
  const { name, mapping, kind, mappedAs, mmap } = file;
  const device = mmap === null ? {} : { mmap };
  return new MappedFile({ name: `${name} again`, mapping, readable, writable, kind, mappedAs, ...device });
}

/**
 * pwrite from kernel memory: the bytes written, -EBADF (not open for writing), -EPERM (sealed) or -ENOMEM. The object
 * grows as needed.
 * @param offset in bytes
 */
export function* fileWrite(
  current: TaskStruct,
  file: MappedFile,
  offset: number,
  bytes: Uint8Array,
): Task<number> {
  if (!file.writable) return -EBADF;
  const { mapping } = file;
  // A file of huge pages, or of secret memory, has no such operation.
  if (mapping.huge !== null || mapping.secret !== null) return -EINVAL;
  yield* mapping.iRwsem.downWrite(current);
  let done = 0;
  let error = 0;
  while (done < bytes.length && error >= 0) {
    const at = offset + done;
    const count = Math.min(PAGE_BYTES - (at % PAGE_BYTES), bytes.length - done);
    error = yield* writePart(current, mapping, at, bytes.subarray(done, done + count));
    if (error >= 0) done += count;
  }
  yield* mapping.iRwsem.upWrite(current);
  return done > 0 ? done : error;
}

/** Writes a part of one page: 0 or a negative errno. */
function* writePart(current: TaskStruct, mapping: AddressSpace, at: number, part: Uint8Array): Task<number> {
  const frame = yield* shmemWriteBegin(current, mapping, at, part.length);
  if (frame < 0) return frame;
  current.kernel.machine.memory.writeBytes(frame, at % PAGE_BYTES, part);
  yield* shmemWriteEnd(current, mapping, frame, at, part.length);
  return 0;
}

/**
 * pread into kernel memory: the bytes read, up to the end of the object; -EBADF when it is not open for reading, -EINVAL
 * when it cannot be read (secret memory). Holes
 * read as zeros and stay holes.
 */
export function* fileRead(
  current: TaskStruct,
  file: MappedFile,
  offset: number,
  target: Uint8Array,
): Task<number> {
  if (!file.readable) return -EBADF;
  const { mapping } = file;
  if (mapping.secret !== null) return -EINVAL;
  const total = Math.max(0, Math.min(target.length, mapping.sizeBytes - offset));
  for (let done = 0; done < total; ) {
    const count = Math.min(PAGE_BYTES - ((offset + done) % PAGE_BYTES), total - done);
    yield* readPart(current, mapping, offset + done, target.subarray(done, done + count));
    done += count;
  }
  return total;
}

/** Reads a part of one page of the object; a hole, and what only fallocate has touched, as zeros. */
export function* readPart(
  current: TaskStruct,
  mapping: AddressSpace,
  at: number,
  part: Uint8Array,
): Task<void> {
  const { frames, machine } = current.kernel;
  const inode = hugetlbInodeOf(mapping);
  if (inode !== null) return yield* hugetlbReadPart(current, inode, at, part);
  const frame = yield* shmemGetFolio(current, mapping, Math.floor(at / PAGE_BYTES), Sgp.Read);
  if (frame < 0) {
    part.fill(0);
    return;
  }
  yield* folioUnlock(current, frame);
  machine.memory.readBytes(frame, at % PAGE_BYTES, part);
  yield frames.refPoint(frame);
  frames.put(frame);
}
