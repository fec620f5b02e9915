/**
 * memfd: a tmpfs file without a name. Creating it, opening it again, its size, and reading and writing it from kernel
 * memory. Mappings of it are `mmap.ts` and `fault/file.ts`, reads and writes with the caller's memory `file-user-io.ts`.
 * Left out: seals, hugetlb, fallocate, and the list of mappings of an object: truncating one looks
 * through the VMAs of every process instead.
 * @see Linux mm/memfd.c, `memfd_create`; mm/shmem.c, `shmem_setattr`, `shmem_truncate_range`, `shmem_file_read_iter`
 */
import type { Task } from '../../base/task.ts';
import { EBADF, EFBIG, EINVAL, ENOMEM } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { getFolio } from './fault/file.ts';
import { folioUnlock } from './fault/folio-lock.ts';
import { MappedFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import type { VmArea } from './vma.ts';
import { zapPageRangeSingle } from './zap-range.ts';

const PAGE_BYTES = 4096;
/** The largest size the model counts exactly; Linux allows 2^63 - 1 bytes. */
export const MAX_FILE_BYTES = 2n ** 52n;

/** An empty file with one reference, for its descriptor, which may read and write. */
export function memfdCreate(kernel: Kernel, name: string): MappedFile {
  const serial = kernel.nextSerial('memfd');
  return new MappedFile({
    name: `memfd:${name} ${serial}`,
    mapping: new AddressSpace(`i_pages memfd:${name} ${serial}`, 0, true),
    readable: true,
    writable: true,
    kind: `memfd:${name}`,
  });
}

/** The same object opened once more (/proc/self/fd), with rights of its own. */
export function openAgain(file: MappedFile, readable: boolean, writable: boolean): MappedFile {
  const { name, mapping, kind } = file;
  return new MappedFile({ name: `${name} again`, mapping, readable, writable, kind });
}

/** The address spaces of all processes. */
function addressSpaces(kernel: Kernel): Set<MmStruct> {
  const found = new Set<MmStruct>();
  for (const { mm } of kernel.tasks.values()) if (mm !== null) found.add(mm);
  return found;
}

/** Unmaps every page of the object from index `first` on, private copies too. @see mm/memory.c, `unmap_mapping_range` */
function* unmapMapping(current: TaskStruct, mapping: AddressSpace, first: number): Task<void> {
  for (const mm of addressSpaces(current.kernel)) {
    const maps = (vma: VmArea): boolean => vma.file?.mapping === mapping;
    for (const vma of [...mm.vmas].filter(maps)) {
      const start = vma.start + Math.max(0, first - vma.pgoff);
      if (start < vma.end) yield* zapPageRangeSingle(current, vma, start, vma.end);
    }
  }
}

/** The rest of the last page reads as zeros when the object grows again. */
function* zeroTail(current: TaskStruct, mapping: AddressSpace, bytes: number): Task<void> {
  const { frames, machine } = current.kernel;
  const inPage = bytes % PAGE_BYTES;
  const index = Math.floor(bytes / PAGE_BYTES);
  if (inPage === 0 || mapping.frameAt(index) === -1) return;
  const frame = yield* getFolio(current, mapping, index);
  machine.memory.writeBytes(frame, inPage, new Uint8Array(PAGE_BYTES - inPage));
  yield* folioUnlock(frames, frame);
  frames.put(frame);
}

/**
 * ftruncate. `length` is in bytes, unsigned 64 bits. 0, -EINVAL (negative, or not open for writing) or -EFBIG.
 * @see mm/shmem.c, `shmem_setattr`
 */
export function* fileTruncate(current: TaskStruct, file: MappedFile, length: bigint): Task<number> {
  if (length >= 2n ** 63n || !file.writable) return -EINVAL;
  if (length > MAX_FILE_BYTES) return -EFBIG;
  const { mapping } = file;
  const size = Number(length);
  const shrinks = size <= mapping.sizeBytes;
  yield mapping.change;
  mapping.sizeBytes = size;
  if (!shrinks) return 0;
  const first = mapping.sizePages;
  yield* unmapMapping(current, mapping, first);
  yield* zeroTail(current, mapping, size);
  yield mapping.change;
  mapping.truncate(current.kernel.frames, first);
  // A private mapping may have copied a page meanwhile.
  yield* unmapMapping(current, mapping, first);
  return 0;
}

/**
 * pwrite from kernel memory: the bytes written, -EBADF (not open for writing) or -ENOMEM. The object grows as needed.
 * @param offset in bytes
 */
export function* fileWrite(
  current: TaskStruct,
  file: MappedFile,
  offset: number,
  bytes: Uint8Array,
): Task<number> {
  if (!file.writable) return -EBADF;
  const { frames, machine } = current.kernel;
  const { mapping } = file;
  for (let done = 0; done < bytes.length; ) {
    const at = offset + done;
    const inPage = at % PAGE_BYTES;
    const count = Math.min(PAGE_BYTES - inPage, bytes.length - done);
    const frame = yield* getFolio(current, mapping, Math.floor(at / PAGE_BYTES));
    if (frame === -1) return done > 0 ? done : -ENOMEM;
    machine.memory.writeBytes(frame, inPage, bytes.subarray(done, done + count));
    frames.setFlags(frame, FrameFlag.Dirty);
    if (at + count > mapping.sizeBytes) mapping.sizeBytes = at + count;
    yield* folioUnlock(frames, frame);
    frames.put(frame);
    done += count;
  }
  return bytes.length;
}

/**
 * pread into kernel memory: the bytes read, up to the end of the object; -EBADF when it is not open for reading. Holes
 * read as zeros and stay holes.
 */
export function* fileRead(
  current: TaskStruct,
  file: MappedFile,
  offset: number,
  target: Uint8Array,
): Task<number> {
  if (!file.readable) return -EBADF;
  const { memory } = current.kernel.machine;
  const { mapping } = file;
  const total = Math.max(0, Math.min(target.length, mapping.sizeBytes - offset));
  for (let done = 0; done < total; ) {
    const inPage = (offset + done) % PAGE_BYTES;
    const count = Math.min(PAGE_BYTES - inPage, total - done);
    const part = target.subarray(done, done + count);
    yield mapping.change;
    const frame = mapping.frameAt(Math.floor((offset + done) / PAGE_BYTES));
    if (frame === -1) part.fill(0);
    else memory.readBytes(frame, inPage, part);
    done += count;
  }
  return total;
}
