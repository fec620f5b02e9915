/**
 * Opening files by name: a flat tmpfs, whose names are paths, and two files that are no memory of their own: /dev/zero,
 * which maps as anonymous memory, and files of /proc, which cannot be mapped.
 * Left out: directories, owners and modes, every flag of open that is not about creation or truncation.
 * @see Linux fs/open.c, `do_sys_openat2`; drivers/char/mem.c, `mmap_zero`; mm/shmem.c, `shmem_create`, `shmem_unlink`
 */
import type { Task } from '../../base/task.ts';
import { EACCES, EEXIST, EINVAL, ENOENT } from '../errno.ts';
import { AddressSpace } from '../frame/address-space.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import { fileTruncate } from './ftruncate.ts';
import { MappedFile } from './mapped-file.ts';
import { shmemEvictSwap } from './shmem-swap.ts';

/** @see include/uapi/asm-generic/fcntl.h */
const O_ACCMODE = 0o3;
export const O_RDONLY = 0o0;
export const O_WRONLY = 0o1;
export const O_RDWR = 0o2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;

/** The object with this name, made if `flags` say so; a negative errno. */
function lookup(kernel: Kernel, path: string, flags: number): AddressSpace | number {
  const found = kernel.namedFiles.get(path);
  const exclusive = O_CREAT | O_EXCL;
  if (found !== undefined) return (flags & exclusive) === exclusive ? -EEXIST : found;
  if ((flags & O_CREAT) === 0) return -ENOENT;
  const made = new AddressSpace(`i_pages ${path}`, 0, true);
  made.links = 1;
  made.internalMount = false;
  kernel.namedFiles.set(path, made);
  return made;
}

/** A file that has no pages of its own. */
function special(kernel: Kernel, path: string): AddressSpace {
  const known = kernel.namedFiles.get(path);
  if (known !== undefined) return known;
  const made = new AddressSpace(`i_pages ${path}`, 0, false);
  made.links = 1;
  kernel.namedFiles.set(path, made);
  return made;
}

/**
 * The file of this name, with one reference, or -ENOENT, -EEXIST, -EACCES (writing a file of /proc), -EINVAL.
 * @param flags O_*
 */
export function* openPath(current: TaskStruct, path: string, flags: number): Task<MappedFile | number> {
  const { kernel } = current;
  const mode = flags & O_ACCMODE;
  if (mode === O_ACCMODE) return -EINVAL;
  const init = { name: path, readable: mode !== O_WRONLY, writable: mode !== O_RDONLY };
  if (path === '/dev/zero') {
    return new MappedFile({ ...init, mapping: special(kernel, path), kind: 'shmem', mappedAs: 'anonymous' });
  }
  if (path.startsWith('/proc/')) {
    if (init.writable) return -EACCES;
    return new MappedFile({ ...init, mapping: special(kernel, path), kind: path, mappedAs: 'nothing' });
  }
  const mapping = lookup(kernel, path, flags);
  if (typeof mapping === 'number') return mapping;
  const file = new MappedFile({ ...init, mapping, kind: path });
  if ((flags & O_TRUNC) !== 0 && init.writable) yield* fileTruncate(current, file, 0n);
  return file;
}

/** Takes the name away; the object goes with its last open file. 0 or -ENOENT. @see fs/namei.c, `do_unlinkat` */
export function* unlinkPath(current: TaskStruct, path: string): Task<number> {
  const { kernel } = current;
  const mapping = kernel.namedFiles.get(path);
  if (mapping === undefined) return -ENOENT;
  yield mapping.change;
  kernel.namedFiles.delete(path);
  mapping.links = 0;
  if (mapping.openFiles === 0 && mapping.shmem) {
    yield* shmemEvictSwap(kernel.frames, mapping);
    mapping.truncate(kernel.frames, 0);
  }
  return 0;
}
