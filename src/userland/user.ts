/**
 * What a process may do: the calls of a program. Every call is a task (`yield* u.load(address)`) that comes back with
 * an `Outcome`: a value, an errno, or a signal. Addresses are bigints, lengths bytes.
 *
 * A signal without a handler kills the process, as the kernel's default action does: the call then never comes back.
 * `attempt` and `sigaction` let a program see the signal as a value instead, as if its handler left by `siglongjmp`.
 *
 * A call does nothing until `yield*` runs it. One that is made and not run before the next one is a mistake, and so is
 * an argument that a call does not have: both end the run with an `InputError`.
 *
 * Programs run as root with all capabilities until they call `setuid`; a child has its parent's credentials.
 */
import type { Task } from '../base/task.ts';
import * as memory from './calls/memory.ts';
import * as processCalls from './calls/process.ts';
import type { ProcessContext } from './calls/process-context.ts';
import { formatFailure, type Outcome } from './outcome.ts';
import type { Program } from './scenario.ts';
import type { Word } from './units.ts';
import type { HugePageSize } from './user-files.ts';
import { RemoteUser } from './user-remote.ts';

/** Arguments of `User.mmap`. */
export interface MmapArguments {
  /** A hint, or the place itself with `fixed`. Without it the kernel chooses, top-down. */
  readonly address?: bigint;
  /** Length in bytes; the kernel rounds it up to pages. */
  readonly bytes: Word;
  /** Letters of `rwx`, or `none`. On arm64 also `m` (PROT_MTE, memory tags) and `b` (PROT_BTI). */
  readonly prot: string;
  /** MAP_SHARED in place of MAP_PRIVATE. */
  readonly shared?: boolean;
  /** MAP_FIXED: what is mapped there goes away. */
  readonly fixed?: boolean;
  /** MAP_FIXED_NOREPLACE: EEXIST when something is mapped there. */
  readonly noreplace?: boolean;
  /** MAP_GROWSDOWN: a stack that grows on faults below it. */
  readonly growsDown?: boolean;
  /** MAP_POPULATE: faults the pages in before it returns. */
  readonly populate?: boolean;
  /** MAP_LOCKED: as `mlock`. */
  readonly locked?: boolean;
  /** MAP_NORESERVE: not counted as promised memory; no huge pages set aside. */
  readonly noreserve?: boolean;
  /** MAP_NONBLOCK: no faults for `populate`. */
  readonly nonblock?: boolean;
  /** MAP_STACK: never a huge page. */
  readonly stack?: boolean;
  /** MAP_SHARED_VALIDATE: shared, and EOPNOTSUPP for flags that the file does not know. */
  readonly validate?: boolean;
  /** MAP_SYNC: no file here has it (EOPNOTSUPP with `validate`, else ignored). */
  readonly sync?: boolean;
  /** MAP_DROPPABLE: private anonymous memory that reclaim drops rather than swaps. */
  readonly droppable?: boolean;
  /** MAP_HUGETLB, with MAP_HUGE_2MB or MAP_HUGE_1GB: pages of the pools (`hugepages` of the scenario). */
  readonly hugetlb?: HugePageSize;
  /** The file to map (`memfdCreate`, `open`); without it the memory is anonymous. */
  readonly fd?: number;
  /** Byte of the file that the mapping begins with, a multiple of 4096. */
  readonly offset?: Word;
}

/** Arguments of `User.execve`. */
export interface ExecArguments {
  /** What runs in this process from then on; its `u` is new, the pid and the descriptors stay. */
  readonly program: Program;
  /** The name of the file; no more than that. Default `/bin/program`. */
  readonly path?: string;
  /** Arguments, as texts or as addresses of texts in the caller's memory; default the path. */
  readonly argv?: readonly (string | bigint)[];
  /** The environment, likewise; default empty. */
  readonly envp?: readonly (string | bigint)[];
}

/** How `wait` describes a child that ended. */
export interface WaitResult {
  readonly pid: number;
  /** As `wait4` reports it: exit code << 8, or the number of the signal that killed it. */
  readonly status: number;
}

export type SignalName = 'SIGSEGV' | 'SIGBUS';

export class User extends RemoteUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /** The process number. @see getpid(2) */
  get pid(): number {
    return this.#context.task.pid;
  }

  /** The name of the program, as in the scenario. */
  get name(): string {
    return this.#context.task.name;
  }

  /**
   * The process number of another program of the scenario, or of a process that `fork` named.
   * @throws InputError when there is none of that name (yet)
   */
  pidOf(name: string): number {
    return this.#context.pidOf(name);
  }

  /** The clock of this process' CPU: virtual time in cycles, as RDTSC and CNTVCT_EL0 would tell it. No task. */
  now(): number {
    const { task, run } = this.#context;
    return run.system.machine.cpu(task.cpu).time;
  }

  /**
   * Runs calls whose signals come back as values: `const r = yield* u.attempt(u.load(0n))`.
   * As if a handler for SIGSEGV and SIGBUS had been set around it that leaves with `siglongjmp`.
   */
  attempt<T>(call: Task<Outcome<T>>): Task<Outcome<T>> {
    return this.#context.madeAround('attempt', this.#attempt(call));
  }

  *#attempt<T>(call: Task<Outcome<T>>): Task<Outcome<T>> {
    this.#context.attempts++;
    const outcome = yield* call;
    this.#context.attempts--;
    return outcome;
  }

  /**
   * The value of a call that must succeed: `const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }))`.
   * Otherwise the run ends as `assertion failed`, with the errno or signal.
   */
  must<T>(call: Task<Outcome<T>>): Task<T> {
    return this.#context.madeAround('must', this.#must(call));
  }

  *#must<T>(call: Task<Outcome<T>>): Task<T> {
    this.#context.attempts++;
    const outcome = yield* call;
    this.#context.attempts--;
    if (outcome.ok) return outcome.value;
    return yield* this.#context.fail(`a call that must succeed gave ${formatFailure(outcome)}`);
  }

  /** Ends the run as `assertion failed` with this text unless `condition` holds. */
  check(condition: boolean, text: string): Task<void> {
    return this.#context.made('check', this.#check(condition, text));
  }

  *#check(condition: boolean, text: string): Task<void> {
    if (!condition) yield* this.#context.fail(text);
  }

  /**
   * What SIGSEGV or SIGBUS does: `default` kills the process, `return` gives the signal to the call that raised it.
   * Unlike sigaction(2) there is no handler to name: the program is its own.
   * @param exposeTagBits SA_EXPOSE_TAGBITS: the address of the signal keeps the tag bits it had, as far as the kernel
   * knows them
   */
  sigaction(signal: SignalName, action: 'default' | 'return', exposeTagBits = false): void {
    this.#context.handleSignal(signal, action === 'return', exposeTagBits);
  }

  /** Works for `cycles` cycles of virtual time without touching memory. */
  compute(cycles: number): Task<void> {
    return this.#context.made('compute', processCalls.compute(this.#context, cycles));
  }

  /**
   * Maps anonymous memory, or with `fd` a file, and gives the address of its first byte.
   * @errors EINVAL, ENOMEM, EEXIST (noreplace), EBADF, EACCES, EPERM (sealed), EOVERFLOW, EAGAIN (locked), ENODEV, EOPNOTSUPP @see mmap(2); Linux mm/mmap.c, `do_mmap`
   */
  mmap(args: MmapArguments): Task<Outcome<bigint>> {
    return this.#context.made('mmap', memory.mmap(this.#context, args));
  }

  /** Unmaps every page that the range touches. @errors EINVAL, ENOMEM. @see munmap(2) */
  munmap(address: bigint, bytes: Word): Task<Outcome<void>> {
    return this.#context.made('munmap', memory.munmap(this.#context, address, bytes));
  }

  /**
   * Changes the protection of whole pages.
   * @param prot as in `mmap`; without `m` memory keeps its tags. `d` is PROT_GROWSDOWN: down to the start of a growing
   * mapping
   * @errors EINVAL, ENOMEM (a hole; what lies before it has changed), EACCES. @see mprotect(2)
   */
  mprotect(address: bigint, bytes: Word, prot: string): Task<Outcome<void>> {
    return this.#context.made('mprotect', memory.mprotect(this.#context, address, bytes, prot));
  }

  /** Moves the end of the heap; gives the new end, which is the old one where it could not move. @see brk(2) */
  brk(address: bigint): Task<Outcome<bigint>> {
    return this.#context.made('brk', memory.brk(this.#context, address));
  }

  /**
   * Loads a little-endian number of 1, 2, 4 or 8 bytes, at any alignment.
   * @signals SIGSEGV, SIGBUS
   */
  load(address: bigint, bytes: 1 | 2 | 4 | 8 = 8): Task<Outcome<bigint>> {
    return this.#context.made('load', memory.load(this.#context, address, bytes));
  }

  /**
   * Stores a number of 1, 2, 4 or 8 bytes, little-endian, at any alignment: all of it or, on a fault, nothing.
   * @signals SIGSEGV, SIGBUS
   */
  store(address: bigint, value: Word, bytes: 1 | 2 | 4 | 8 = 8): Task<Outcome<void>> {
    return this.#context.made('store', memory.store(this.#context, address, value, bytes));
  }

  /**
   * Adds to 8 bytes and gives what they held before, in one access (LDADD; LOCK XADD).
   * @signals SIGSEGV; SIGBUS (arm64: BUS_ADRALN, not within 16 aligned bytes)
   */
  fetchAdd(address: bigint, value: Word): Task<Outcome<bigint>> {
    return this.#context.made('fetchAdd', memory.fetchAdd(this.#context, address, value));
  }

  /** As `fetchAdd`: puts `value` in the place of the old one (SWP; XCHG). */
  swap(address: bigint, value: Word): Task<Outcome<bigint>> {
    return this.#context.made('swap', memory.swap(this.#context, address, value));
  }

  /**
   * As `fetchAdd`: puts `value` there if the old one is `expected` (CAS; LOCK CMPXCHG). Memory must be writable, and is
   * dirty afterwards, in any case.
   */
  compareAndSwap(address: bigint, expected: Word, value: Word): Task<Outcome<bigint>> {
    const call = memory.compareAndSwap(this.#context, address, expected, value);
    return this.#context.made('compareAndSwap', call);
  }

  /** Loads any number of bytes in ascending order, page by page, as a string instruction does. */
  loadBytes(address: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('loadBytes', memory.loadBytes(this.#context, address, bytes));
  }

  /**
   * Stores bytes in ascending order, page by page: a fault in the second page leaves the first one stored, a tag that
   * does not match what lies before its granule.
   */
  storeBytes(address: bigint, data: Uint8Array): Task<Outcome<void>> {
    return this.#context.made('storeBytes', memory.storeBytes(this.#context, address, data));
  }

  /**
   * Fetches an instruction at `address`; what the bytes would do is not modelled, except that where uprobes are a breakpoint
   * of one tells its listeners, and one of the program's own is a SIGTRAP.
   * @signals SIGSEGV, SIGBUS, SIGTRAP
   */
  fetch(address: bigint): Task<Outcome<void>> {
    return this.#context.made('fetch', memory.fetch(this.#context, address));
  }

  /**
   * Makes a copy of this process that runs `program`, and gives its pid. The copy starts on the same CPU.
   * @param name of the child, for `pidOf` and reports; default: `NAME child`
   * @errors ENOMEM, EINTR. @see fork(2); Linux kernel/fork.c, `dup_mmap`
   */
  fork(program: Program, name?: string): Task<Outcome<number>> {
    return this.#context.made('fork', processCalls.fork(this.#context, program, name));
  }

  /**
   * clone(2) with CLONE_VM: as `fork`, but both run in the same address space, as threads do. Each has its own pid, registers
   * and copy of the descriptors.
   * @errors EAGAIN (no pid), EINTR. @see clone(2); Linux kernel/fork.c, `copy_mm`
   */
  cloneVm(program: Program, name?: string): Task<Outcome<number>> {
    return this.#context.made('cloneVm', processCalls.cloneVm(this.#context, program, name));
  }

  /**
   * As `fork`, but the child runs in this process' address space, and this process sleeps until the child has called
   * `execve` or ended.
   * @errors EAGAIN (no pid), EINTR. @see vfork(2); Linux kernel/fork.c, `wait_for_vfork_done`
   */
  vfork(program: Program, name?: string): Task<Outcome<number>> {
    return this.#context.made('vfork', processCalls.vfork(this.#context, program, name));
  }

  /**
   * A new address space with a stack that holds arguments and environment, and another program. Comes back only when it
   * failed. Signals get their default action, descriptors with `cloexec` are closed.
   * @errors E2BIG (strings), EFAULT (a string that cannot be read), ENOMEM, EINTR; later errors kill (SIGSEGV)
   * @see execve(2); Linux fs/exec.c
   */
  execve(args: ExecArguments): Task<Outcome<never>> {
    return this.#context.made('execve', processCalls.execve(this.#context, args));
  }

  /** Where the stack pointer was when the program began: after `execve` argc is there, then the addresses of the arguments. */
  get initialStackPointer(): bigint {
    return this.#context.task.mm?.startStack ?? 0n;
  }

  /** Ends the process. It does not come back. @param status 0…255. @see _exit(2) */
  exit(status = 0): Task<Outcome<never>> {
    return this.#context.made('exit', processCalls.exit(this.#context, status));
  }

  /** Waits until a child (or the one named) ends, and reaps it. @errors ECHILD. @see wait4(2) */
  wait(pid?: number): Task<Outcome<WaitResult>> {
    return this.#context.made('wait', processCalls.wait(this.#context, pid));
  }

  /** Sends SIGKILL. The target ends at its next return to user mode, or out of a killable wait. @errors ESRCH, EPERM */
  kill(pid: number, signal: 'SIGKILL'): Task<Outcome<void>> {
    return this.#context.made('kill', processCalls.kill(this.#context, pid, signal));
  }

  /** Takes another user id, which clears dumpability. @errors EPERM. @see setuid(2) */
  setuid(uid: number): Task<Outcome<void>> {
    return this.#context.made('setuid', processCalls.setuid(this.#context, uid));
  }

  /** PR_SET_DUMPABLE: may processes of the same user look into this one? @errors EINVAL. @see prctl(2) */
  setDumpable(dumpable: boolean): Task<Outcome<void>> {
    return this.#context.made('setDumpable', processCalls.setDumpable(this.#context, dumpable));
  }

  /**
   * PR_SET_MM_MAP: the strings that /proc/PID/cmdline shows are at `address`; the environment follows them, empty by default.
   * @errors EINVAL (no address of user space, tag bits included). @see prctl(2)
   */
  setArguments(address: bigint, bytes: Word, environmentBytes: Word = 0): Task<Outcome<void>> {
    return this.#context.made(
      'setArguments',
      processCalls.setArguments(this.#context, address, bytes, environmentBytes),
    );
  }
}
