/**
 * execve: a new address space whose stack holds the arguments and the environment, in place of the old one. The strings
 * are copied first, while everything can still fail without harm; from the change of address space on, an error kills.
 * Left out: the file itself (the program is addresses only, as `setProgramLayout` says), set-user-id files, other
 * threads, signal handlers, random places, and of the auxiliary vector all but the page size.
 * @see Linux fs/exec.c, `do_execveat_common`, `exec_mmap`, `begin_new_exec`, `setup_new_exec`; fs/binfmt_elf.c,
 * `create_elf_tables`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINTR, ENOMEM } from '../errno.ts';
import {
  mmapReadLockKillable,
  mmapReadUnlock,
  mmapWriteLockKillable,
  mmapWriteUnlock,
} from '../lock/mmap-lock.ts';
import { mmapBasePage, setProgramLayout } from '../mm/address-space-layout.ts';
import { activateMm } from '../mm/context-switch.ts';
import { createInitStackVma, setupArgPages } from '../mm/exec-stack.ts';
import { type MmStruct, SUID_DUMP_DISABLE, SUID_DUMP_USER } from '../mm/mm.ts';
import { mmAlloc, mmput } from '../mm/mm-lifetime.ts';
import { expandDownwards } from '../mm/stack.ts';
import { copyFromUser, copyToUser } from '../mm/user-access.ts';
import type { VmArea } from '../mm/vma.ts';
import { SI_KERNEL, SIGSEGV } from '../signal.ts';
import type { TaskStruct } from '../task-struct.ts';
import { ArgumentPages, type ArgumentString } from './exec-arguments.ts';
import { completeVforkDone } from './vfork.ts';

/** What execve is called with. */
export interface ExecRequest {
  readonly filename: string;
  readonly argv: readonly ArgumentString[];
  readonly envp: readonly ArgumentString[];
  /** A security module's look at the new address space with its strings (`bprm_check_security`): 0, or a negative errno. */
  readonly check?: (mm: MmStruct, lowestString: bigint) => Task<number>;
  /** The page after the stack, where a kernel with random places would choose one; default: the highest there may be. */
  readonly stackTopPage?: number;
}

/** The address space that is being made (`struct linux_binprm`). */
interface Binprm {
  readonly mm: MmStruct;
  readonly vma: VmArea;
  readonly strings: ArgumentPages;
  readonly argc: number;
  readonly envc: number;
}

const AT_NULL = 0n;
const AT_PAGESZ = 6n;
const WORD_BYTES = 8;

/** An empty address space with the first page of a stack, or a negative errno. @see `bprm_mm_init` */
function* initMm(current: TaskStruct): Task<{ readonly mm: MmStruct; readonly vma: VmArea } | number> {
  const { kernel, rlimits, name } = current;
  const base = mmapBasePage(kernel.arch, rlimits.stack, kernel.config.stackGuardGapPages);
  const mm = mmAlloc(kernel, name, base);
  if (mm === null) return -ENOMEM;
  if (current.mm !== null) mm.coredumpFilter = current.mm.coredumpFilter;
  const vma = yield* createInitStackVma(current, mm);
  if (typeof vma !== 'number') return { mm, vma };
  yield* mmput(current, mm);
  return vma;
}

/** The name of the file, the environment, the arguments: from the top of the stack down. 0 or a negative errno. */
function* copyAllStrings(strings: ArgumentPages, request: ExecRequest): Task<number> {
  const { filename, argv, envp } = request;
  let error = strings.limit(argv.length, envp.length);
  if (error === 0) error = yield* strings.push(filename);
  if (error === 0) error = yield* strings.pushAll(envp);
  // A program without arguments gets an empty one, so that it does not take its environment for them.
  if (error === 0) error = yield* strings.pushAll(argv.length === 0 ? [''] : argv);
  yield* strings.release();
  return error;
}

/**
 * The task runs in `mm` from now on; its reference on the old one goes. 0, or -EINTR with everything as it was.
 * @see `exec_mmap`
 */
function* execMmap(current: TaskStruct, mm: MmStruct): Task<number> {
  const old = current.mm;
  yield* completeVforkDone(current);
  const killed = yield* current.execUpdateLock.downWriteKillable(current);
  if (killed !== 0) return killed;
  if (old !== null && (yield* mmapReadLockKillable(current, old)) !== 0) {
    yield* current.execUpdateLock.upWrite(current);
    return -EINTR;
  }
  yield* current.allocLock.lock(current);
  current.mm = mm;
  yield* activateMm(current);
  yield* current.allocLock.unlock(current);
  if (old === null) return 0;
  yield* mmapReadUnlock(current, old);
  yield* mmput(current, old);
  return 0;
}

/** What the program before left in the processor goes, and what others may do to the process is asked anew. */
function* setupNewExec(current: TaskStruct, mm: MmStruct): Task<void> {
  const { arch } = current.kernel;
  const thread = arch.createThread(current.name, null);
  arch.switchThread(current.cpu, thread);
  current.thread = thread;
  const { uid, euid, gid, egid } = current.credentials;
  yield current.credentialsWrite;
  mm.dumpable = uid === euid && gid === egid ? SUID_DUMP_USER : SUID_DUMP_DISABLE;
  yield* current.execUpdateLock.upWrite(current);
}

const word = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(WORD_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
};

/** The address behind the string at `address`, in the new address space; 0 when it cannot be read. */
function* endOfString(current: TaskStruct, address: bigint): Task<bigint> {
  for (let at = address; ; ) {
    const chunk = new Uint8Array(Number(0x1000n - (at & 0xfffn)));
    const read = chunk.length - (yield* copyFromUser(current, chunk, at));
    const zero = chunk.subarray(0, read).indexOf(0);
    if (zero >= 0) return at + BigInt(zero + 1);
    if (read < chunk.length) return 0n;
    at += BigInt(read);
  }
}

/** Addresses of `count` strings that follow each other from `from` on, and the address behind them. Null: unreadable. */
function* stringAddresses(
  current: TaskStruct,
  from: bigint,
  count: number,
): Task<{ readonly addresses: bigint[]; readonly end: bigint } | null> {
  const addresses: bigint[] = [];
  let end = from;
  for (let i = 0; i < count; i++) {
    addresses.push(end);
    end = yield* endOfString(current, end);
    if (end === 0n) return null;
  }
  return { addresses, end };
}

/**
 * Below the strings: argc, the addresses of arguments and environment, the auxiliary vector. 0 or -EFAULT.
 * @see fs/binfmt_elf.c, `create_elf_tables`
 */
function* createTables(current: TaskStruct, { mm, vma, argc, envc }: Binprm): Task<number> {
  const args = yield* stringAddresses(current, mm.argStart, argc);
  const env = args === null ? null : yield* stringAddresses(current, args.end, envc);
  if (args === null || env === null) return -EFAULT;
  mm.argEnd = args.end;
  mm.envStart = args.end;
  mm.envEnd = env.end;
  const table = [BigInt(argc), ...args.addresses, 0n, ...env.addresses, 0n, AT_PAGESZ, 0x1000n, AT_NULL, 0n];
  const stack = (mm.argStart - BigInt(table.length * WORD_BYTES)) & ~0xfn;
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EFAULT;
  const grown = yield* expandDownwards(current, vma, Number(stack >> 12n));
  yield* mmapWriteUnlock(current, mm);
  if (grown !== 0) return -EFAULT;
  for (const [i, value] of table.entries()) {
    const left = yield* copyToUser(current, stack + BigInt(i * WORD_BYTES), word(value));
    if (left !== 0) return -EFAULT;
  }
  mm.startStack = stack;
  return 0;
}

/** After the point of no return: the new address space is the task's. */
function* loadProgram(current: TaskStruct, binprm: Binprm, request: ExecRequest): Task<number> {
  const { mm, vma, strings } = binprm;
  yield* current.files.closeOnExec(current);
  yield* setupNewExec(current, mm);
  setProgramLayout(mm);
  const top = request.stackTopPage ?? current.kernel.arch.mapWindowPages;
  const error = yield* setupArgPages(current, vma, top, strings.position);
  return error === 0 ? yield* createTables(current, binprm) : error;
}

/**
 * The system call. 0 with the program about to start at its entry, the stack pointer being `mm.startStack`; or a
 * negative errno with nothing changed: -ENOMEM, -E2BIG (strings), -EFAULT (a string that cannot be read), -EINTR. An
 * error after the change of address space comes with a SIGSEGV that nobody can catch.
 */
export function* sysExecve(current: TaskStruct, request: ExecRequest): Task<number> {
  const made = yield* initMm(current);
  if (typeof made === 'number') return made;
  const { mm, vma } = made;
  const strings = new ArgumentPages(current, vma);
  let error = yield* copyAllStrings(strings, request);
  if (error === 0 && request.check !== undefined) error = yield* request.check(mm, strings.position);
  if (error === 0) error = yield* execMmap(current, mm);
  if (error !== 0) {
    yield* mmput(current, mm);
    return error;
  }
  const counts = { argc: Math.max(1, request.argv.length), envc: request.envp.length };
  error = yield* loadProgram(current, { mm, vma, strings, ...counts }, request);
  if (error !== 0) current.sendSignal({ signal: SIGSEGV, code: SI_KERNEL, address: 0n });
  return error;
}
