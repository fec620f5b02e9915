/**
 * The strings of execve: counted and measured in the caller's memory, copied to pages of the new address space, from
 * the top down. Those pages are faulted in from outside, as the caller still runs in the old one.
 * Left out: the pages counted for the caller meanwhile (`acct_arg_size`), strings of 32-bit programs.
 * @see Linux fs/exec.c, `copy_strings`, `get_arg_page`, `bprm_stack_limits`; mm/mmap.c, `mmap_read_lock_maybe_expand`
 */
import type { Task } from '../../base/task.ts';
import { E2BIG, EFAULT, EINTR } from '../errno.ts';
import { FOLL_WRITE } from '../gup/foll-flags.ts';
import { getUserPagesRemote } from '../gup/get-user-pages-remote.ts';
import {
  mmapReadLock,
  mmapReadUnlock,
  mmapWriteDowngrade,
  mmapWriteLock,
  mmapWriteUnlock,
} from '../lock/mmap-lock.ts';
import { expandDownwards } from '../mm/stack.ts';
import { copyFromUser } from '../mm/user-access.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';

/** One argument: the kernel's own text, or the address of a string in the caller's memory that ends with a zero byte. */
export type ArgumentString = string | bigint;

const PAGE_BYTES = 4096n;
/** MAX_ARG_STRLEN: 32 pages. */
const LONGEST_STRING = 131072;
/** ARG_MAX: so much is always allowed. */
const LEAST_LIMIT = 131072;
/** Three quarters of the usual stack limit of 8 MiB. */
const GREATEST_LIMIT = 6 << 20;
const POINTER_BYTES = 8;

/** The new stack while strings are put on it. */
export class ArgumentPages {
  readonly #current: TaskStruct;
  readonly #vma: VmArea;
  /** Address of the lowest byte used so far (`bprm->p`). */
  position: bigint;
  /** No string may begin below (`bprm->argmin`). */
  #lowest = 0n;
  /** The page that was written last, which is held: its number, its frame. */
  #page = -1;
  #frame = -1;

  constructor(current: TaskStruct, vma: VmArea) {
    this.#current = current;
    this.#vma = vma;
    this.position = (BigInt(vma.end) << 12n) - BigInt(POINTER_BYTES);
  }

  /** How far down strings may go, after room for this many pointers. 0 or -E2BIG. @see `bprm_stack_limits` */
  limit(argc: number, envc: number): number {
    const quarter = Math.floor(this.#current.rlimits.stack.soft / 4);
    const bytes = Math.max(LEAST_LIMIT, Math.min(GREATEST_LIMIT, quarter));
    const pointers = (Math.max(argc, 1) + envc) * POINTER_BYTES;
    if (bytes <= pointers) return -E2BIG;
    this.#lowest = this.position - BigInt(bytes - pointers);
    return 0;
  }

  /** Puts strings on the stack, the last one first. 0, -E2BIG, -EFAULT or -EINTR (killed). */
  *pushAll(strings: readonly ArgumentString[]): Task<number> {
    for (let i = strings.length - 1; i >= 0; i--) {
      const error = yield* this.push(strings[i] as ArgumentString);
      if (error !== 0) return error;
    }
    return 0;
  }

  *push(string: ArgumentString): Task<number> {
    if (typeof string === 'bigint') return yield* this.#pushUser(string);
    const bytes = new TextEncoder().encode(`${string}\0`);
    if (bytes.length > LONGEST_STRING || !this.#make(bytes.length)) return -E2BIG;
    return yield* this.#write(bytes.length, bytes);
  }

  *#pushUser(address: bigint): Task<number> {
    const length = yield* this.#lengthOf(address);
    if (length === 0) return -EFAULT;
    if (length > LONGEST_STRING || !this.#make(length)) return -E2BIG;
    // Page by page from its end, and it may change meanwhile: what is copied is what counts, as in Linux.
    return yield* this.#write(length, address);
  }

  /** Bytes up to and with the zero, one more than the longest there may be if it is too long; 0: it cannot be read. */
  *#lengthOf(address: bigint): Task<number> {
    let length = 0;
    while (length <= LONGEST_STRING) {
      const at = address + BigInt(length);
      const chunk = new Uint8Array(Number(PAGE_BYTES - (at % PAGE_BYTES)));
      const read = chunk.length - (yield* copyFromUser(this.#current, chunk, at));
      const zero = chunk.subarray(0, read).indexOf(0);
      if (zero >= 0) return length + zero + 1;
      if (read < chunk.length) return 0;
      length += read;
    }
    return LONGEST_STRING + 1;
  }

  /** Room for so many bytes; false beyond the limit. */
  #make(length: number): boolean {
    this.position -= BigInt(length);
    return this.position >= this.#lowest;
  }

  /**
   * Writes `length` bytes at `position`, from the end, page by page: each page is there before its part of the string is
   * looked at. @see `copy_strings`
   */
  *#write(length: number, source: Uint8Array | bigint): Task<number> {
    const { memory } = this.#current.kernel.machine;
    let end = this.position + BigInt(length);
    while (end > this.position) {
      if (this.#current.fatalSignalPending()) return -EINTR;
      const pageStart = ((end - 1n) / PAGE_BYTES) * PAGE_BYTES;
      const from = pageStart > this.position ? pageStart : this.position;
      if (!(yield* this.#getArgPage(Number(pageStart / PAGE_BYTES)))) return -E2BIG;
      const part = yield* this.#partOf(source, Number(from - this.position), Number(end - this.position));
      if (part === null) return -EFAULT;
      if (!memory.writeBytes(this.#frame, Number(from % PAGE_BYTES), part)) {
        throw new Error(`frame 0x${this.#frame.toString(16)} of the allocator has no memory`);
      }
      end = from;
    }
    return 0;
  }

  /** Bytes [start, end) of a string; null: it cannot be read (any more). */
  *#partOf(source: Uint8Array | bigint, start: number, end: number): Task<Uint8Array | null> {
    if (typeof source !== 'bigint') return source.subarray(start, end);
    const part = new Uint8Array(end - start);
    return (yield* copyFromUser(this.#current, part, source + BigInt(start))) === 0 ? part : null;
  }

  /** The page of the new stack, with a reference; false when it cannot be had. @see `get_arg_page` */
  *#getArgPage(page: number): Task<boolean> {
    if (page === this.#page) return true;
    yield* this.release();
    const current = this.#current;
    const { mm } = this.#vma;
    if (!(yield* this.#lockAndExpand(page))) return false;
    const pages = [-1];
    const got = yield* getUserPagesRemote(current, mm, page, 1, FOLL_WRITE, pages, null);
    yield* mmapReadUnlock(current, mm);
    if (got <= 0) return false;
    this.#page = page;
    this.#frame = pages[0] as number;
    return true;
  }

  /** Takes mmap_lock for reading, the stack reaching down to `page`; false without it. */
  *#lockAndExpand(page: number): Task<boolean> {
    const { mm } = this.#vma;
    if (page >= this.#vma.start) {
      yield* mmapReadLock(this.#current, mm);
      return true;
    }
    yield* mmapWriteLock(this.#current, mm);
    if ((yield* expandDownwards(this.#current, this.#vma, page)) !== 0) {
      yield* mmapWriteUnlock(this.#current, mm);
      return false;
    }
    yield* mmapWriteDowngrade(this.#current, mm);
    return true;
  }

  /** Lets the page go that was written last. */
  *release(): Task<void> {
    if (this.#frame < 0) return;
    const { frames } = this.#current.kernel;
    yield frames.refPoint(this.#frame);
    frames.put(this.#frame);
    this.#frame = -1;
    this.#page = -1;
  }
}
