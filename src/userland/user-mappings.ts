/**
 * The part of `User` that changes, locks and asks about mappings: mremap, madvise, mlock and their like, protection keys,
 * limits.
 */
import type { Task } from '../base/task.ts';
import type { Resource } from '../kernel/mm/rlimit.ts';
import * as mappings from './calls/mappings.ts';
import type { ProcessContext } from './calls/process-context.ts';
import { userfaultfd as openUserfaultfd } from './calls/userfaultfd.ts';
import { type Outcome, success } from './outcome.ts';
import type { MemoryRange } from './ranges.ts';
import type { Word } from './units.ts';
import { FileUser } from './user-files.ts';
import { Userfaultfd, type UserfaultfdArguments } from './userfaultfd.ts';

/** Arguments of `User.mremap`. */
export interface MremapArguments {
  /** What is mapped now: bytes, and at least as `bytes` says; 0 bytes copies a shared mapping. */
  readonly address: bigint;
  readonly bytes: Word;
  readonly newBytes: Word;
  /** MREMAP_MAYMOVE. */
  readonly mayMove?: boolean;
  /** MREMAP_FIXED, which needs `mayMove` and `newAddress`: what is mapped there goes away. */
  readonly fixed?: boolean;
  /** MREMAP_DONTUNMAP, which needs `mayMove` and the same length: the old mapping stays, without its pages. */
  readonly dontUnmap?: boolean;
  /** The place with `fixed`, a hint with `dontUnmap`. */
  readonly newAddress?: bigint;
}

/** MADV_*, with or without the prefix. */
export type Advice =
  | 'NORMAL'
  | 'RANDOM'
  | 'SEQUENTIAL'
  | 'WILLNEED'
  | 'DONTNEED'
  | 'FREE'
  | 'REMOVE'
  | 'DONTFORK'
  | 'DOFORK'
  | 'MERGEABLE'
  | 'UNMERGEABLE'
  | 'HUGEPAGE'
  | 'NOHUGEPAGE'
  | 'DONTDUMP'
  | 'DODUMP'
  | 'WIPEONFORK'
  | 'KEEPONFORK'
  | 'COLD'
  | 'PAGEOUT'
  | 'POPULATE_READ'
  | 'POPULATE_WRITE'
  | 'DONTNEED_LOCKED'
  | 'COLLAPSE'
  | 'HWPOISON'
  | 'SOFT_OFFLINE'
  | 'GUARD_INSTALL'
  | 'GUARD_REMOVE';

/** MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT (which needs one of the others). */
export interface MlockallArguments {
  readonly current?: boolean;
  readonly future?: boolean;
  readonly onFault?: boolean;
}

/** MS_ASYNC, MS_INVALIDATE, MS_SYNC; not `async` and `sync` together. */
export interface MsyncArguments {
  readonly async?: boolean;
  readonly invalidate?: boolean;
  readonly sync?: boolean;
}

/** Arguments of `User.remapFilePages`. */
export interface RemapFilePagesArguments {
  readonly address: bigint;
  readonly bytes: Word;
  /** The page of the file that the range shows from then on. */
  readonly pageOffset: Word;
  /** Must be 0. */
  readonly prot?: Word;
  /** MAP_NONBLOCK, which is ignored. */
  readonly nonblock?: boolean;
}

/** What a protection key takes away from a thread: PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE. */
export interface KeyRights {
  readonly disableAccess?: boolean;
  readonly disableWrite?: boolean;
}

/** A limit in bytes; without `hard` that one stays. */
export interface LimitArguments {
  readonly soft: Word | 'unlimited';
  readonly hard?: Word | 'unlimited';
}

export class MappingUser extends FileUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * Shrinks, grows or moves a mapping; gives its address.
   * @errors EINVAL, EFAULT (nothing mapped, or several mappings), ENOMEM (no room, or limits), EAGAIN (RLIMIT_MEMLOCK), EPERM (sealed)
   * @see mremap(2); Linux mm/mremap.c
   */
  mremap(args: MremapArguments): Task<Outcome<bigint>> {
    return this.#context.made('mremap', mappings.mremap(this.#context, args));
  }

  /**
   * Says how memory will be used, or what is to become of it: `u.madvise(page, 4096, 'DONTNEED')`. Whole pages; the length
   * is rounded up. A number is passed as it is.
   * @errors EINVAL, ENOMEM (a hole), EAGAIN, EBUSY, EACCES, EFAULT, EHWPOISON, EPERM (sealed), as the advice says
   * @see madvise(2); Linux mm/madvise.c
   */
  madvise(address: bigint, bytes: Word, advice: Advice | number): Task<Outcome<void>> {
    return this.#context.made('madvise', mappings.madvise(this.#context, address, bytes, advice));
  }

  /**
   * madvise for another process: COLD, PAGEOUT, WILLNEED, COLLAPSE. Gives how many bytes were advised.
   * @errors ESRCH, EPERM, EACCES, EINVAL, ENOMEM. @see process_madvise(2)
   */
  processMadvise(
    pid: number,
    ranges: readonly MemoryRange[],
    advice: Advice | number,
  ): Task<Outcome<number>> {
    return this.#context.made('processMadvise', mappings.processMadvise(this.#context, pid, ranges, advice));
  }

  /**
   * Locks whole pages into memory and faults them in; with `onFault` (mlock2) only those that are there, others as they come.
   * @errors ENOMEM (a hole, or more than RLIMIT_MEMLOCK), EPERM (the limit is 0), EAGAIN, EINVAL. @see mlock(2); Linux mm/mlock.c
   */
  mlock(address: bigint, bytes: Word, args: { readonly onFault?: boolean } = {}): Task<Outcome<void>> {
    return this.#context.made('mlock', mappings.mlock(this.#context, address, bytes, args));
  }

  /** @errors ENOMEM (a hole), EINVAL. @see munlock(2) */
  munlock(address: bigint, bytes: Word): Task<Outcome<void>> {
    return this.#context.made('munlock', mappings.munlock(this.#context, address, bytes));
  }

  /** Locks all mappings, future ones, or both. @errors EINVAL, ENOMEM, EPERM. @see mlockall(2) */
  mlockall(args: MlockallArguments): Task<Outcome<void>> {
    return this.#context.made('mlockall', mappings.mlockall(this.#context, args));
  }

  /** @see munlockall(2) */
  munlockall(): Task<Outcome<void>> {
    return this.#context.made('munlockall', mappings.munlockall(this.#context));
  }

  /**
   * One byte for each page of a range, of at most 64 GiB: 1 when an access would need no input. A page that only the zero
   * page or nothing stands for is 0 in anonymous memory.
   * @errors EINVAL, ENOMEM (a hole), EFAULT. @see mincore(2); Linux mm/mincore.c
   */
  mincore(address: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('mincore', mappings.mincore(this.#context, address, bytes));
  }

  /**
   * Marks what the range has of pages for NUMA balancing, as its scan of this task's memory does when its time has come: the
   * next access to each page is a fault, which gives the rights back. Gives how many pages were marked: not those without a page,
   * zero pages, pages that are pinned, shared by copies on write, or dirty and a file's; none while a writer has mmap_lock. There
   * are no nodes: nothing moves. `address` and `bytes` are widened to pages. `world.counter` has `numa-pte-updates` and
   * `numa-hint-faults`. @see Linux kernel/sched/fair.c, `task_numa_work`; mm/mempolicy.c, `change_prot_numa`
   */
  changeProtNuma(address: bigint, bytes: Word): Task<Outcome<number>> {
    return this.#context.made('changeProtNuma', mappings.changeProtNuma(this.#context, address, bytes));
  }

  /** Files are in memory here: checks its arguments. @errors EINVAL, ENOMEM (a hole), EBUSY (invalidate, locked). @see msync(2) */
  msync(address: bigint, bytes: Word, args: MsyncArguments): Task<Outcome<void>> {
    return this.#context.made('msync', mappings.msync(this.#context, address, bytes, args));
  }

  /**
   * Forbids to unmap, move, change or discard a range for good.
   * @param flags must be 0. @errors EINVAL, ENOMEM (a hole). @see mseal(2); Linux mm/mseal.c
   */
  mseal(address: bigint, bytes: Word, flags: Word = 0): Task<Outcome<void>> {
    return this.#context.made('mseal', mappings.mseal(this.#context, address, bytes, flags));
  }

  /** Lets a part of a shared mapping show other pages of its file. @errors EINVAL, ENOMEM. @see remap_file_pages(2) */
  remapFilePages(args: RemapFilePagesArguments): Task<Outcome<void>> {
    return this.#context.made('remapFilePages', mappings.remapFilePages(this.#context, args));
  }

  /**
   * A protection key for this address space, with what it takes away from this process from now on.
   * @errors ENOSPC (no key left; arm64 without keys), EINVAL (x86-64 without keys). @see pkey_alloc(2); Linux mm/mprotect.c
   */
  pkeyAlloc(rights: KeyRights = {}): Task<Outcome<number>> {
    return this.#context.made('pkeyAlloc', mappings.pkeyAlloc(this.#context, rights));
  }

  /** Gives a key back; mappings keep their mark. @errors EINVAL. @see pkey_free(2) */
  pkeyFree(key: number): Task<Outcome<void>> {
    return this.#context.made('pkeyFree', mappings.pkeyFree(this.#context, key));
  }

  /**
   * mprotect, and marks the pages with a key; −1 is plain mprotect.
   * @errors EINVAL (no such key), and those of mprotect. @see pkey_mprotect(2)
   */
  pkeyMprotect(address: bigint, bytes: Word, prot: string, key: number): Task<Outcome<void>> {
    return this.#context.made(
      'pkeyMprotect',
      mappings.pkeyMprotect(this.#context, address, bytes, prot, key),
    );
  }

  /** RDPKRU: what a key takes away from this process. A mistake where the processor has no keys. @see pkey_get(3) */
  pkeyGet(key: number): Task<KeyRights> {
    return this.#context.made('pkeyGet', mappings.pkeyGet(this.#context, key));
  }

  /** WRPKRU: changes that, without the kernel. @see pkey_set(3) */
  pkeySet(key: number, rights: KeyRights): Task<void> {
    return this.#context.made('pkeySet', mappings.pkeySet(this.#context, key, rights));
  }

  /**
   * RLIMIT_AS (`addressSpace`), RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK, in bytes.
   * @errors EINVAL (soft above hard), EPERM. @see setrlimit(2)
   */
  setrlimit(resource: Resource, limit: LimitArguments): Task<Outcome<void>> {
    return this.#context.made('setrlimit', mappings.setrlimit(this.#context, resource, limit));
  }

  /**
   * userfaultfd(2) and UFFDIO_API: faults of this address space that somebody resolves, see `Userfaultfd`. Closed by
   * `u.close(uffd.fd)`; the last close unregisters everything.
   * @errors EPERM (not `userModeOnly`, without CAP_SYS_PTRACE), EINVAL. @see userfaultfd(2); Linux fs/userfaultfd.c
   */
  userfaultfd(args: UserfaultfdArguments = {}): Task<Outcome<Userfaultfd>> {
    return this.#context.made('userfaultfd', this.#userfaultfd(args));
  }

  *#userfaultfd(args: UserfaultfdArguments): Task<Outcome<Userfaultfd>> {
    const opened = yield* openUserfaultfd(this.#context, args);
    return opened.ok ? success(this.uffd(opened.value)) : opened;
  }

  /**
   * The userfaultfd behind a descriptor of this process: one inherited by fork, got by `pidfdGetfd`, or of a fork event.
   * No call: what is wrong with the number shows in what is done with it (EBADF).
   */
  uffd(descriptor: number): Userfaultfd {
    return new Userfaultfd(this.#context, descriptor);
  }
}
