/** The part of `User` about get_user_pages by the kernel itself: a driver that uses any entry, gup_test and its like. */
import type { Task } from '../base/task.ts';
import type { GupEntry } from '../kernel/consumers/gup-driver.ts';
import type { DumpedPage, GupTestCommand } from '../kernel/consumers/gup-test.ts';
import * as driver from './calls/gup-driver.ts';
import * as gupTest from './calls/gup-test.ts';
import * as pipes from './calls/pipe.ts';
import type { ProcessContext } from './calls/process-context.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';
import { MappingUser } from './user-mappings.ts';

/** Arguments of `User.gup`. */
export interface GupArguments {
  /** Which function of mm/gup.c: `get_user_pages`, `pin_user_pages_remote` … */
  readonly entry: GupEntry;
  /** A byte of the first page. */
  readonly address: bigint;
  /** How many pages. */
  readonly pages: Word;
  /** FOLL_ flags by name: `['FOLL_WRITE', 'FOLL_LONGTERM']`; also those that callers may not pass. */
  readonly flags?: readonly string[];
  /** Of the remote entries: whose memory; default the caller's own. */
  readonly pid?: number;
  /** Of the remote entries: `held` passes `locked` set to 1, `not held` 0 (a mistake, refused). Default: NULL. */
  readonly locked?: 'held' | 'not held';
  /** Pass NULL for the array of pages: they are only faulted in. */
  readonly noPages?: boolean;
}

/** What `User.gup` gives. */
export interface GupResult {
  /** A descriptor that keeps what was taken, until `gupRelease` or `close`; -1 when nothing was. */
  readonly fd: number;
  /** What the entry returned. */
  readonly pages: number;
  readonly frames: readonly number[];
  /** What `locked` said afterwards: false when mmap_lock was dropped. Null when it was not passed. */
  readonly locked: boolean | null;
}

/** Arguments of `User.memfdPinFolios`, in bytes of the file. */
export interface FolioPinArguments {
  readonly start: Word;
  /** The last byte, inclusive. */
  readonly end: Word;
  /** Room for so many folios; default 512. */
  readonly most?: Word;
}

/** What `User.memfdPinFolios` gives. */
export interface FolioPinResult {
  /** As of `GupResult`. */
  readonly fd: number;
  readonly folios: number;
  /** First frames of the folios. */
  readonly frames: readonly number[];
  /** Where `start` lies in the first folio, in bytes. */
  readonly offset: number;
}

/** Which function of the fault_in family. */
export type FaultInKind = 'readable' | 'writeable' | 'safe_writeable' | 'subpage_writeable';

/** Arguments of `User.fixupUserFault`. */
export interface FixupFaultArguments {
  readonly address: bigint;
  /** FAULT_FLAG_WRITE. */
  readonly write?: boolean;
  /** Whose memory; default the caller's own. */
  readonly pid?: number;
  /** `false` passes NULL for `unlocked`: the fault may not drop the lock. */
  readonly mayUnlock?: boolean;
}

/** What `User.pipe` gives: a descriptor for each end. */
export interface PipeEnds {
  readonly read: number;
  readonly write: number;
}

/** Arguments of `User.gupTest`: `struct gup_test`. */
export interface GupTestArguments {
  readonly address: bigint;
  /** A multiple of 4096. */
  readonly bytes: Word;
  /** Pages that each call of GUP asks for; default 1. */
  readonly pagesPerCall?: Word;
  /** FOLL_ flags by name. */
  readonly flags?: readonly string[];
  /** Of DUMP_USER_PAGES_TEST: pins the pages (GUP_TEST_FLAG_DUMP_PAGES_USE_PIN). */
  readonly dumpPin?: boolean;
  /** Of DUMP_USER_PAGES_TEST: up to 8 pages to show, counted from 1. */
  readonly whichPages?: readonly number[];
}

/** What `User.gupTest` gives. */
export interface GupTestFigures {
  /** Virtual cycles of taking the pages, and of giving them back. */
  readonly getCycles: number;
  readonly putCycles: number;
  /** Of the pages taken: fewer than asked for when one could not be had. */
  readonly bytes: number;
  readonly pages: number;
  /** Of DUMP_USER_PAGES_TEST: as given, with 0 for pages that were not taken. */
  readonly whichPages: readonly number[];
  readonly dumped: readonly DumpedPage[];
}

/** Arguments of `User.pinLongtermStart`: `struct pin_longterm_test`. */
export interface PinLongtermArguments {
  /** A multiple of 4096, as is `bytes`. */
  readonly address: bigint;
  readonly bytes: Word;
  /** Pins for writing. */
  readonly write?: boolean;
  /** By `pin_user_pages_fast`. */
  readonly fast?: boolean;
}

export class GupUser extends MappingUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * A driver gets or pins pages, of this process or, by a remote entry, of another one, by one call of an entry of GUP. It
   * takes mmap_lock where the entry wants it held, and lets it go afterwards. A short count is a success.
   * @errors EFAULT, ENOMEM, EINVAL (bad arguments; slow pin entries give 0 pages then), EINTR, EAGAIN, EHWPOISON, EOPNOTSUPP,
   * EOVERFLOW, ESRCH (no such process). @see Linux mm/gup.c
   */
  gup(args: GupArguments): Task<Outcome<GupResult>> {
    return this.#context.made('gup', driver.gup(this.#context, args));
  }

  /** `memfd_pin_folios` of a file. @errors EINVAL (no memfd, empty, beyond its end), ENOMEM. @see Linux mm/gup.c */
  memfdPinFolios(descriptor: number, args: FolioPinArguments): Task<Outcome<FolioPinResult>> {
    return this.#context.made('memfdPinFolios', driver.memfdPinFolios(this.#context, descriptor, args));
  }

  /**
   * The device reads bytes of the `slot`-th page that a driver keeps, without page tables. All in one page.
   * @param offset in that page, in bytes
   * @errors EBADF (no such descriptor or slot)
   */
  gupRead(fd: number, slot: number, offset: number, bytes: number): Task<Outcome<Uint8Array>> {
    return this.#context.made('gupRead', driver.gupRead(this.#context, fd, slot, offset, bytes));
  }

  /** The device writes to such a page: no page table knows. @errors EBADF */
  gupWrite(fd: number, slot: number, offset: number, data: Uint8Array): Task<Outcome<void>> {
    return this.#context.made('gupWrite', driver.gupWrite(this.#context, fd, slot, offset, data));
  }

  /**
   * The driver gives its pages back, pins marked dirty first if `dirty` (`unpin_user_pages_dirty_lock`); the descriptor stays
   * open and keeps nothing. `close` gives back without.
   * @errors EBADF (no such descriptor, or it keeps nothing)
   */
  gupRelease(fd: number, options: { readonly dirty?: boolean } = {}): Task<Outcome<void>> {
    return this.#context.made('gupRelease', driver.gupRelease(this.#context, fd, options));
  }

  /**
   * `fault_in_readable` and its like of a buffer of this process: how many of its bytes could not be reached. `writeable` and
   * `subpage_writeable` write a zero byte to each page. @see Linux mm/gup.c, `fault_in_writeable`
   */
  faultIn(kind: FaultInKind, address: bigint, bytes: number): Task<Outcome<number>> {
    return this.#context.made('faultIn', driver.faultIn(this.#context, kind, address, bytes));
  }

  /**
   * `fixup_user_fault` of one page, under mmap_lock: `unlocked` says whether the lock was dropped meanwhile.
   * @errors EFAULT, ENOMEM, EINTR, ESRCH. @see Linux mm/gup.c
   */
  fixupUserFault(args: FixupFaultArguments): Task<Outcome<{ readonly unlocked: boolean }>> {
    return this.#context.made('fixupUserFault', driver.fixupFault(this.#context, args));
  }

  /** Opens /sys/kernel/debug/gup_test. @errors EACCES (not root). @see Linux mm/gup_test.c */
  gupTestOpen(): Task<Outcome<number>> {
    return this.#context.made('gupTestOpen', gupTest.gupTestOpen(this.#context));
  }

  /**
   * One of its tests on memory of this process: gets or pins pages in calls of `pagesPerCall`, checks that what is pinned says
   * so (else `world.warnings`), gives all back. Pages that could not be had make it short, not fail.
   * @errors EBADF, EINVAL (no bytes, no multiple of 4096, no pages per call, beyond the last address), EINTR
   */
  gupTest(
    descriptor: number,
    command: GupTestCommand,
    args: GupTestArguments,
  ): Task<Outcome<GupTestFigures>> {
    return this.#context.made('gupTest', gupTest.gupTest(this.#context, descriptor, command, args));
  }

  /**
   * PIN_LONGTERM_TEST_START: pins with FOLL_LONGTERM until `pinLongtermStop` or the file is closed.
   * @errors EBADF, EINVAL (pinned already, not aligned, nothing), EINTR, EFAULT, ENOMEM: then nothing is pinned
   */
  pinLongtermStart(descriptor: number, args: PinLongtermArguments): Task<Outcome<void>> {
    return this.#context.made('pinLongtermStart', gupTest.pinLongtermStart(this.#context, descriptor, args));
  }

  /** PIN_LONGTERM_TEST_STOP; nothing when nothing is pinned. @errors EBADF */
  pinLongtermStop(descriptor: number): Task<Outcome<void>> {
    return this.#context.made('pinLongtermStop', gupTest.pinLongtermStop(this.#context, descriptor));
  }

  /** PIN_LONGTERM_TEST_READ: copies the pinned pages to memory at `target`. @errors EBADF, EINVAL (none), EFAULT */
  pinLongtermRead(descriptor: number, target: bigint): Task<Outcome<void>> {
    return this.#context.made('pinLongtermRead', gupTest.pinLongtermRead(this.#context, descriptor, target));
  }

  /** A pipe of 16 pages, for `vmsplice`. @see pipe(2); Linux fs/pipe.c */
  pipe(): Task<Outcome<PipeEnds>> {
    return this.#context.made('pipe', pipes.pipe(this.#context));
  }

  /**
   * Puts pages of the own memory into a pipe: references to them, not copies. Waits while the pipe is full, unless `nonblock`.
   * Bytes, fewer when the pipe becomes full or a page cannot be had.
   * @errors EBADF (not the end that writes), EFAULT, EPIPE, EAGAIN. @see vmsplice(2); Linux fs/splice.c, `vmsplice_to_pipe`
   */
  vmsplice(
    fd: number,
    address: bigint,
    bytes: Word,
    options: { readonly nonblock?: boolean } = {},
  ): Task<Outcome<number>> {
    return this.#context.made('vmsplice', pipes.vmsplice(this.#context, fd, address, bytes, options));
  }

  /**
   * Reads up to `bytes` from a pipe: what its pages hold now. Waits while it is empty; none when nobody can write any more.
   * @errors EBADF (not the end that reads). @see read(2); Linux fs/pipe.c, `pipe_read`
   */
  pipeRead(fd: number, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('pipeRead', pipes.pipeRead(this.#context, fd, bytes));
  }
}
