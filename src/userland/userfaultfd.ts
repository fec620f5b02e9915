/**
 * A userfaultfd as a program uses it: `const uffd = yield* u.must(u.userfaultfd())`. Faults in the ranges that are
 * registered wait until somebody resolves them: the process itself, a child that inherited the descriptor
 * (`child.uffd(uffd.fd)`), or any other process that may trace this one (`u.pidfdGetfd(pid, fd)`, then `u.uffd(own)`).
 * @see userfaultfd(2), ioctl_userfaultfd(2); Linux fs/userfaultfd.c, mm/userfaultfd.c
 */
import type { Task } from '../base/task.ts';
import type { ProcessContext } from './calls/process-context.ts';
import * as calls from './calls/userfaultfd.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';

/** UFFD_FEATURE_*, with or without the prefix. */
export type UffdFeature =
  | 'PAGEFAULT_FLAG_WP'
  | 'EVENT_FORK'
  | 'EVENT_REMAP'
  | 'EVENT_REMOVE'
  | 'MISSING_HUGETLBFS'
  | 'MISSING_SHMEM'
  | 'EVENT_UNMAP'
  | 'SIGBUS'
  | 'THREAD_ID'
  | 'MINOR_HUGETLBFS'
  | 'MINOR_SHMEM'
  | 'EXACT_ADDRESS'
  | 'WP_HUGETLBFS_SHMEM'
  | 'WP_UNPOPULATED'
  | 'POISON'
  | 'WP_ASYNC'
  | 'MOVE';

/** How `User.userfaultfd` opens one. */
export interface UserfaultfdArguments {
  /** What UFFDIO_API asks for, default nothing; null leaves UFFDIO_API to `api`. */
  readonly features?: readonly UffdFeature[] | null;
  /** UFFD_USER_MODE_ONLY: faults of the kernel's own copies are SIGBUS, that is EFAULT. */
  readonly userModeOnly?: boolean;
  /** O_NONBLOCK: `read` does not wait (EAGAIN), and `poll` works. */
  readonly nonblock?: boolean;
  /** O_CLOEXEC. */
  readonly cloexec?: boolean;
}

/** Whole pages of the address space that the userfaultfd is of; bytes. */
export interface UffdRange {
  readonly address: bigint;
  readonly bytes: Word;
}

/** UFFDIO_REGISTER_MODE_MISSING, _WP, _MINOR: at least one. */
export interface UffdRegisterArguments extends UffdRange {
  readonly missing?: boolean;
  readonly writeProtect?: boolean;
  /** Of shared memory and huge pages: the page is there, but not in this page table. */
  readonly minor?: boolean;
}

/** What pages are filled with, and how. */
export interface UffdFillArguments extends UffdRange {
  /** UFFDIO_*_MODE_DONTWAKE: who waits for the range goes on sleeping until `wake`. */
  readonly dontWake?: boolean;
  /** UFFDIO_*_MODE_WP, of `copy` and `continue`: a write to the page is a fault again. */
  readonly writeProtect?: boolean;
}

export interface UffdCopyArguments extends UffdFillArguments {
  /** Memory of the process that calls, or bytes outside any address space. */
  readonly from: bigint | Uint8Array;
}

export interface UffdMoveArguments extends UffdRange {
  /** Pages of the same address space, which must be the caller's: they are there no more afterwards. */
  readonly from: bigint;
  readonly dontWake?: boolean;
  /** UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES. */
  readonly allowHoles?: boolean;
}

export interface UffdWriteProtectArguments extends UffdRange {
  /** UFFDIO_WRITEPROTECT_MODE_WP; without it the protection is taken off and who waits is woken. */
  readonly protect?: boolean;
  /** UFFDIO_WRITEPROTECT_MODE_DONTWAKE, not together with `protect`. */
  readonly dontWake?: boolean;
}

/** What `read` gives. */
export type UffdEvent =
  | {
      readonly event: 'pagefault';
      /** The first byte of the page; with EXACT_ADDRESS the byte that was touched. */
      readonly address: bigint;
      readonly reason: 'missing' | 'write-protect' | 'minor';
      /** UFFD_PAGEFAULT_FLAG_WRITE. */
      readonly write: boolean;
      /** With THREAD_ID the pid; else 0. */
      readonly threadId: number;
    }
  /** The child's userfaultfd is a descriptor of the reader: `u.uffd(fd)`. */
  | { readonly event: 'fork'; readonly fd: number }
  | { readonly event: 'remap'; readonly from: bigint; readonly to: bigint; readonly bytes: bigint }
  | { readonly event: 'remove' | 'unmap'; readonly address: bigint; readonly bytes: bigint };

/** POLLIN, and POLLERR: it is not non-blocking, or UFFDIO_API was not called. */
export interface UffdPoll {
  readonly in: boolean;
  readonly error: boolean;
}

/** One descriptor in the hands of one process; each call is a task, as those of `User`. */
export class Userfaultfd {
  /** Of the process that this belongs to. */
  readonly fd: number;
  readonly #context: ProcessContext;

  constructor(context: ProcessContext, fd: number) {
    this.#context = context;
    this.fd = fd;
  }

  /** UFFDIO_API, once: the features that there are. @errors EINVAL, EPERM (EVENT_FORK without CAP_SYS_PTRACE) */
  api(features: readonly UffdFeature[] = []): Task<Outcome<UffdFeature[]>> {
    return this.#context.made('uffd.api', calls.api(this.#context, this.fd, features));
  }

  /**
   * UFFDIO_REGISTER: faults of these kinds wait from now on. Gives the ioctls that work on the range, a bit each.
   * @errors EINVAL (no mode, bad range, nothing mapped, memory that cannot have it), EBUSY, EPERM, ENOMEM
   */
  register(args: UffdRegisterArguments): Task<Outcome<bigint>> {
    return this.#context.made('uffd.register', calls.register(this.#context, this.fd, args));
  }

  /** UFFDIO_UNREGISTER: who waits in the range goes on. @errors EINVAL, ENOMEM */
  unregister(args: UffdRange): Task<Outcome<void>> {
    return this.#context.made('uffd.unregister', calls.unregister(this.#context, this.fd, args));
  }

  /**
   * read(2) of one message: the oldest fault that nobody has read, else the oldest event. Waits for one, unless `nonblock`.
   * @errors EAGAIN (nonblock), EINVAL (before UFFDIO_API)
   */
  read(): Task<Outcome<UffdEvent>> {
    return this.#context.made('uffd.read', calls.read(this.#context, this.fd));
  }

  /** poll(2): now, or with `wait` as soon as there is something. Only a descriptor with `nonblock` can be polled. */
  poll(args: { readonly wait?: boolean } = {}): Task<Outcome<UffdPoll>> {
    return this.#context.made('uffd.poll', calls.poll(this.#context, this.fd, args));
  }

  /**
   * UFFDIO_COPY: pages with these bytes, where nothing is yet. Gives the bytes that were filled; a failure after a part has
   * `done`.
   * @errors EEXIST, ENOENT (not registered), EAGAIN (mappings change, or only a part), EFAULT (source), EINVAL, ENOMEM, ESRCH
   */
  copy(args: UffdCopyArguments): Task<Outcome<number>> {
    return this.#context.made('uffd.copy', calls.copy(this.#context, this.fd, args));
  }

  /** UFFDIO_ZEROPAGE: the zero page, read-only. @errors as `copy`; EINVAL for huge pages */
  zeropage(args: UffdFillArguments): Task<Outcome<number>> {
    return this.#context.made('uffd.zeropage', calls.fill(this.#context, this.fd, 'zeropage', args));
  }

  /** UFFDIO_CONTINUE: after a minor fault, maps the page that the file has. @errors as `copy`; EFAULT (the file has none) */
  continue(args: UffdFillArguments): Task<Outcome<number>> {
    return this.#context.made('uffd.continue', calls.fill(this.#context, this.fd, 'continue', args));
  }

  /** UFFDIO_POISON: accesses are SIGBUS from then on. @errors as `copy` */
  poison(args: UffdFillArguments): Task<Outcome<number>> {
    return this.#context.made('uffd.poison', calls.fill(this.#context, this.fd, 'poison', args));
  }

  /** UFFDIO_WRITEPROTECT: protects, or takes the protection off. @errors ENOENT, EAGAIN, EINVAL, ESRCH */
  writeProtect(args: UffdWriteProtectArguments): Task<Outcome<void>> {
    return this.#context.made('uffd.writeProtect', calls.writeProtect(this.#context, this.fd, args));
  }

  /** UFFDIO_MOVE: pages change their place without a copy. @errors ENOENT (a hole), EEXIST, EBUSY, EAGAIN, EINVAL, ESRCH */
  move(args: UffdMoveArguments): Task<Outcome<number>> {
    return this.#context.made('uffd.move', calls.move(this.#context, this.fd, args));
  }

  /** UFFDIO_WAKE: who waits in the range looks again. @errors EINVAL */
  wake(args: UffdRange): Task<Outcome<void>> {
    return this.#context.made('uffd.wake', calls.wake(this.#context, this.fd, args));
  }
}
