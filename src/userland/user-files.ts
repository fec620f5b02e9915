/**
 * The part of `User` for open files: memory files (memfd), files by name, and what is done by a descriptor. Descriptors
 * are small numbers from 3 on; fork copies them, exec closes those made with `cloexec`.
 */
import type { Task } from '../base/task.ts';
import * as files from './calls/files.ts';
import type { ProcessContext } from './calls/process-context.ts';
import { memfdSecret } from './calls/secretmem.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';
import { TagUser } from './user-tags.ts';

/** `true`: the default size, 2 MiB. */
export type HugePageSize = boolean | '2MiB' | '1GiB';

/** Flags of `User.memfdCreate`. */
export interface MemfdArguments {
  /** MFD_CLOEXEC: exec closes it. */
  readonly cloexec?: boolean;
  /** MFD_ALLOW_SEALING: `addSeals` works. */
  readonly allowSealing?: boolean;
  /** MFD_HUGETLB, with MFD_HUGE_2MB or MFD_HUGE_1GB: of huge pages of the pools (`hugepages` of the scenario). */
  readonly hugetlb?: HugePageSize;
  /** MFD_NOEXEC_SEAL, MFD_EXEC: not together. */
  readonly noexecSeal?: boolean;
  readonly exec?: boolean;
}

/** Flags of `User.memfdSecret`. */
export interface MemfdSecretArguments {
  /** O_CLOEXEC: exec closes it. */
  readonly cloexec?: boolean;
}

/** How `User.open` opens. */
export interface OpenArguments {
  /** O_RDONLY, O_WRONLY, O_RDWR; default `rw`. */
  readonly mode?: 'r' | 'w' | 'rw';
  /** O_CREAT, O_EXCL, O_TRUNC. */
  readonly create?: boolean;
  readonly exclusive?: boolean;
  readonly truncate?: boolean;
}

/** Range and mode of `User.fallocate`; all modes false: allocate, and grow the file. */
export interface FallocateArguments {
  /** Bytes. */
  readonly offset: Word;
  readonly bytes: Word;
  /** FALLOC_FL_KEEP_SIZE. */
  readonly keepSize?: boolean;
  /** FALLOC_FL_PUNCH_HOLE, which needs `keepSize`. */
  readonly punchHole?: boolean;
  /** FALLOC_FL_COLLAPSE_RANGE, _ZERO_RANGE, _INSERT_RANGE, _UNSHARE_RANGE: tmpfs has none of them (EOPNOTSUPP). */
  readonly collapseRange?: boolean;
  readonly zeroRange?: boolean;
  readonly insertRange?: boolean;
  readonly unshareRange?: boolean;
}

/** F_SEAL_*, with or without the prefix. */
export type SealName = 'SEAL' | 'SHRINK' | 'GROW' | 'WRITE' | 'FUTURE_WRITE' | 'EXEC';

export class FileUser extends TagUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * An empty file in memory without a name; gives its descriptor. It maps with `mmap({ fd, … })` as far as `ftruncate` made it.
   * @errors EINVAL (both `exec` and `noexecSeal`, no such huge pages). @see memfd_create(2); Linux mm/memfd.c
   */
  memfdCreate(name: string, args: MemfdArguments = {}): Task<Outcome<number>> {
    return this.#context.made('memfdCreate', files.memfdCreate(this.#context, name, args));
  }

  /**
   * An empty file of secret memory: gives its descriptor. `ftruncate` sets its size once (EINVAL afterwards). It maps shared only
   * (`mmap` with `shared`; private EINVAL, executable EPERM); each mapping counts as locked (EAGAIN over RLIMIT_MEMLOCK) and
   * stays so. The kernel has no mapping of its pages: no debugger, dump, pin or other path of GUP gets at them, with FOLL_FORCE
   * neither; system calls with its addresses as buffers work. `pread`, `pwrite` and `addSeals` are EINVAL, `fallocate` EOPNOTSUPP.
   * @see memfd_secret(2); Linux mm/secretmem.c
   */
  memfdSecret(args: MemfdSecretArguments = {}): Task<Outcome<number>> {
    return this.#context.made('memfdSecret', memfdSecret(this.#context, args));
  }

  /**
   * A tmpfs file by its path, `/dev/zero`, a file of /proc (read only, cannot be mapped), or `/proc/self/fd/N`, which opens
   * the file of an own descriptor once more. Paths are names: there are no directories.
   * @errors ENOENT, EEXIST, EACCES, EINVAL, ENXIO (the file of memfdSecret). @see open(2)
   */
  open(path: string, args: OpenArguments = {}): Task<Outcome<number>> {
    return this.#context.made('open', files.openByPath(this.#context, path, args));
  }

  /** Takes a name away; the file goes with its last descriptor and mapping. @errors ENOENT. @see unlink(2) */
  unlink(path: string): Task<Outcome<void>> {
    return this.#context.made('unlink', files.unlink(this.#context, path));
  }

  /** @errors EBADF. @see close(2). Mappings of the file stay. */
  close(descriptor: number): Task<Outcome<void>> {
    return this.#context.made('close', files.close(this.#context, descriptor));
  }

  /**
   * pidfd_open(2) and pidfd_getfd(2): a descriptor of this process for a file that another one has open, as a monitor
   * gets a userfaultfd.
   * @errors ESRCH, EPERM (as for ptrace), EBADF
   */
  pidfdGetfd(pid: number, descriptor: number): Task<Outcome<number>> {
    return this.#context.made('pidfdGetfd', files.pidfdGetfd(this.#context, pid, descriptor));
  }

  /**
   * Bytes of a file from `offset` on, up to its end. Holes read as zeros.
   * @errors EBADF, EINVAL (not a file of memory). @see pread(2); Linux mm/shmem.c, `shmem_file_read_iter`
   */
  pread(descriptor: number, bytes: Word, offset: Word = 0): Task<Outcome<Uint8Array>> {
    return this.#context.made('pread', files.pread(this.#context, descriptor, bytes, offset));
  }

  /** As `pread`, into memory of this process at `target`: how many bytes arrived. @errors also EFAULT */
  preadInto(descriptor: number, bytes: Word, offset: Word, target: bigint): Task<Outcome<number>> {
    return this.#context.made('preadInto', files.preadInto(this.#context, descriptor, bytes, offset, target));
  }

  /**
   * Writes to a file, which grows as needed; gives how many bytes.
   * @errors EBADF, EPERM (sealed), ENOMEM, EINVAL (of huge pages). @see pwrite(2)
   */
  pwrite(descriptor: number, data: Uint8Array, offset: Word = 0): Task<Outcome<number>> {
    return this.#context.made('pwrite', files.pwrite(this.#context, descriptor, data, offset));
  }

  /** As `pwrite`, from memory of this process at `source`. @errors also EFAULT, EFBIG */
  pwriteFrom(descriptor: number, bytes: Word, offset: Word, source: bigint): Task<Outcome<number>> {
    return this.#context.made(
      'pwriteFrom',
      files.pwriteFrom(this.#context, descriptor, bytes, offset, source),
    );
  }

  /**
   * Sets a file's size. Pages beyond it leave every mapping, private copies too; accesses there are SIGBUS.
   * @errors EINVAL, EPERM (sealed), EFBIG, EBADF. @see ftruncate(2); Linux mm/shmem.c, `shmem_setattr`
   */
  ftruncate(descriptor: number, bytes: Word): Task<Outcome<void>> {
    return this.#context.made('ftruncate', files.ftruncate(this.#context, descriptor, bytes));
  }

  /**
   * Allocates a range of a file, or punches a hole.
   * @errors EOPNOTSUPP, EINVAL, EPERM (sealed), ENOSPC, ENOMEM, EBADF. @see fallocate(2); Linux mm/shmem.c, `shmem_fallocate`
   */
  fallocate(descriptor: number, args: FallocateArguments): Task<Outcome<void>> {
    return this.#context.made('fallocate', files.fallocate(this.#context, descriptor, args));
  }

  /**
   * F_ADD_SEALS: `u.addSeals(fd, ['SHRINK', 'WRITE'])`.
   * @errors EPERM (not writable, or sealed against seals), EBUSY (WRITE with a writable shared mapping), EINVAL. @see fcntl(2)
   */
  addSeals(descriptor: number, names: readonly SealName[]): Task<Outcome<void>> {
    return this.#context.made('addSeals', files.addSeals(this.#context, descriptor, names));
  }

  /** F_GET_SEALS. @errors EBADF, EINVAL */
  getSeals(descriptor: number): Task<Outcome<SealName[]>> {
    return this.#context.made('getSeals', files.getSeals(this.#context, descriptor));
  }
}
