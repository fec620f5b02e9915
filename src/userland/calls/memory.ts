/** The calls of `User` that map memory and touch it. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import type { Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { sysBrk } from '../../kernel/mm/brk.ts';
import {
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_SHARED_VALIDATE,
  MAP_STACK,
  MAP_SYNC,
  PROT_GROWSDOWN,
  PROT_GROWSUP,
} from '../../kernel/mm/mman.ts';
import { sysMmap } from '../../kernel/mm/mmap.ts';
import { sysMprotect } from '../../kernel/mm/mprotect.ts';
import { sysMunmap } from '../../kernel/mm/munmap.ts';
import { takeTagFault } from '../../kernel/process/user-mode.ts';
import type { SignalInfo } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { accessWidth, byteCount, checkKeys, protectionBits, type Word, word } from '../units.ts';
import type { MmapArguments } from '../user.ts';
import { userAtomic, userLoad, userStore } from './access.ts';
import { fetchInstruction } from './breakpoint.ts';
import { hugePageBits, mappedFileOf } from './files.ts';
import {
  addressOrErrno,
  doneOrErrno,
  type ProcessContext,
  placeOf,
  raise,
  returnToUser,
  systemCall,
} from './process-context.ts';
import { signalName } from './signal-names.ts';

/** The flags of mmap by the arguments that ask for them, besides its type and huge pages. */
const MMAP_FLAGS = {
  fixed: MAP_FIXED,
  noreplace: MAP_FIXED_NOREPLACE,
  growsDown: MAP_GROWSDOWN,
  populate: MAP_POPULATE,
  locked: MAP_LOCKED,
  noreserve: MAP_NORESERVE,
  nonblock: MAP_NONBLOCK,
  stack: MAP_STACK,
  sync: MAP_SYNC,
} as const;
const MMAP_FLAG_NAMES = Object.keys(MMAP_FLAGS) as (keyof typeof MMAP_FLAGS)[];
const TYPE_NAMES = ['shared', 'validate', 'droppable'] as const;
const MMAP_ARGUMENTS = [
  'address',
  'bytes',
  'prot',
  ...TYPE_NAMES,
  ...MMAP_FLAG_NAMES,
  'hugetlb',
  'fd',
  'offset',
] as const;

function checkMmapArguments(args: MmapArguments): void {
  checkKeys(args, MMAP_ARGUMENTS, 'mmap');
  for (const name of [...TYPE_NAMES, ...MMAP_FLAG_NAMES] as const) {
    const value: unknown = args[name];
    if (value === undefined || typeof value === 'boolean') continue;
    throw new InputError(`mmap: ${name}`, { expected: 'true or false', found: String(value) });
  }
  if (args.droppable === true && (args.shared === true || args.validate === true)) {
    throw new InputError('mmap: a mapping is either droppable or shared');
  }
}

/** MAP_SHARED and its like, with the word for it. */
function mapType(args: MmapArguments): readonly [bits: number, word: string] {
  if (args.droppable === true) return [MAP_DROPPABLE, 'droppable'];
  if (args.validate === true) return [MAP_SHARED_VALIDATE, 'shared validate'];
  return args.shared === true ? [MAP_SHARED, 'shared'] : [MAP_PRIVATE, 'private'];
}

export function mmap(context: ProcessContext, args: MmapArguments): Task<Outcome<bigint>> {
  checkMmapArguments(args);
  const address = word(args.address ?? 0n, 'mmap: address');
  const length = word(args.bytes, 'mmap: bytes');
  const offset = word(args.offset ?? 0n, 'mmap: offset');
  const { hugetlb = false, fd } = args;
  const wanted = MMAP_FLAG_NAMES.filter((name) => args[name] === true);
  const [type, typeWord] = mapType(args);
  let flags = wanted.reduce((bits, name) => bits | MMAP_FLAGS[name], type | hugePageBits(hugetlb, 'mmap'));
  if (hugetlb !== false) flags |= MAP_HUGETLB;
  if (fd === undefined) flags |= MAP_ANONYMOUS;
  const prot = checkedProtection(context, args.prot, 'mmap');
  const file = fd === undefined ? null : mappedFileOf(context, fd);
  const call = sysMmap(context.task, address, length, prot, flags, file, offset);
  const hugeWord = hugetlb === true ? ['hugetlb'] : hugetlb === false ? [] : [`hugetlb ${hugetlb}`];
  const shown = [
    hexAddress(address),
    hex(length),
    args.prot,
    [typeWord, ...wanted, ...hugeWord].join('|'),
    ...(fd === undefined ? [] : [`${fd}`, hex(offset)]),
  ];
  return systemCall(context, 'mmap', shown, call, addressOrErrno);
}

/** What only says how far mprotect reaches; the kernel takes it off before it asks the architecture. */
const DIRECTIONS = PROT_GROWSDOWN | PROT_GROWSUP;

/**
 * PROT_ bits of the letters. A bit that the machine does not know is the program's mistake: Linux would ignore it in mmap
 * and refuse it in mprotect.
 */
export function checkedProtection({ task }: ProcessContext, text: string, what: string): number {
  const bits = protectionBits(text);
  if (!task.kernel.arch.validateProt(bits & ~DIRECTIONS)) {
    throw new InputError(`${what}: the machine has no protection "${text}"`, {
      expected:
        'letters of rwx, or none; on arm64, as far as the CPU model has it, also m (memory tags) and b (BTI)',
      found: text,
    });
  }
  return bits;
}

export function munmap(context: ProcessContext, address: bigint, bytes: Word): Task<Outcome<void>> {
  const start = word(address, 'munmap: address');
  const length = word(bytes, 'munmap: bytes');
  const call = sysMunmap(context.task, start, length);
  return systemCall(context, 'munmap', [hexAddress(start), hex(length)], call, doneOrErrno);
}

export function mprotect(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  prot: string,
): Task<Outcome<void>> {
  const start = word(address, 'mprotect: address');
  const length = word(bytes, 'mprotect: bytes');
  const call = sysMprotect(context.task, start, length, checkedProtection(context, prot, 'mprotect'));
  return systemCall(context, 'mprotect', [hexAddress(start), hex(length), prot], call, doneOrErrno);
}

export function brk(context: ProcessContext, address: bigint): Task<Outcome<bigint>> {
  const end = word(address, 'brk: address');
  return systemCall(context, 'brk', [hexAddress(end)], sysBrk(context.task, end), addressOrErrno);
}

type Kind = 'read' | 'write' | 'fetch' | 'atomic';

/** One instruction that loads, stores or is fetched. */
function instruction<T>(
  context: ProcessContext,
  access: Kind,
  address: bigint,
  bytes: number,
  body: Task<SignalInfo | null>,
  value: () => T,
): Task<Outcome<T>> {
  return anyInstruction(context, body, value, (signal) =>
    emitAccess(context, access, address, bytes, signal),
  );
}

/**
 * One instruction: what it does, its event, its signal.
 * @param tell emits the event, when somebody watches
 */
export function* anyInstruction<T>(
  context: ProcessContext,
  body: Task<SignalInfo | null>,
  value: () => T,
  tell: (signal: SignalInfo | null) => void,
): Task<Outcome<T>> {
  context.calls++;
  yield context.accessPoint;
  // An interrupt may have found that an earlier tag check had failed: that signal comes before the instruction.
  const late = takeTagFault(context.task);
  const signal = late ?? (yield* body);
  if (late === null && context.run.system.machine.events.enabled) tell(signal);
  const outcome: Outcome<T> = signal === null ? success(value()) : yield* raise(context, signal);
  yield* returnToUser(context);
  if (!context.dead) context.calls--;
  else yield context.task.startPoint;
  return outcome;
}

function emitAccess(
  context: ProcessContext,
  access: Kind,
  address: bigint,
  bytes: number,
  signal: SignalInfo | null,
): void {
  const result = signal === null ? 'ok' : signalName(signal.signal);
  context.run.system.machine.events.emit({
    kind: 'user-access',
    ...placeOf(context),
    task: context.task.name,
    access,
    address,
    bytes,
    result,
  });
}

const littleEndian = (bytes: Uint8Array): bigint =>
  bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

export function load(context: ProcessContext, address: bigint, bytes: 1 | 2 | 4 | 8): Task<Outcome<bigint>> {
  const at = word(address, 'load: address');
  const target = new Uint8Array(accessWidth(bytes, 'load: bytes'));
  return instruction(context, 'read', at, bytes, userLoad(context.task, at, target), () =>
    littleEndian(target),
  );
}

export function store(
  context: ProcessContext,
  address: bigint,
  value: Word,
  bytes: 1 | 2 | 4 | 8,
): Task<Outcome<void>> {
  const at = word(address, 'store: address');
  const stored = word(value, 'store: value');
  const source = Uint8Array.from({ length: accessWidth(bytes, 'store: bytes') }, (_, i) =>
    Number((stored >> BigInt(8 * i)) & 0xffn),
  );
  return instruction(context, 'write', at, bytes, userStore(context.task, at, source), () => undefined);
}

/** What one atomic instruction on 8 bytes makes of the old value; null: it leaves it. */
type Update = (old: bigint) => bigint | null;

/** The old value of 8 bytes, and the new one into its place, in one access. */
function atomic(context: ProcessContext, address: bigint, update: Update): Task<Outcome<bigint>> {
  const old = { value: 0n };
  const body = userAtomic(context.task, address, (value) => {
    old.value = value;
    return update(value);
  });
  return instruction(context, 'atomic', address, 8, body, () => old.value);
}

export function fetchAdd(context: ProcessContext, address: bigint, value: Word): Task<Outcome<bigint>> {
  const at = word(address, 'fetchAdd: address');
  const added = word(value, 'fetchAdd: value');
  return atomic(context, at, (old) => BigInt.asUintN(64, old + added));
}

export function swap(context: ProcessContext, address: bigint, value: Word): Task<Outcome<bigint>> {
  const at = word(address, 'swap: address');
  const stored = word(value, 'swap: value');
  return atomic(context, at, () => stored);
}

export function compareAndSwap(
  context: ProcessContext,
  address: bigint,
  expected: Word,
  value: Word,
): Task<Outcome<bigint>> {
  const at = word(address, 'compareAndSwap: address');
  const wanted = word(expected, 'compareAndSwap: expected');
  const stored = word(value, 'compareAndSwap: value');
  return atomic(context, at, (old) => (old === wanted ? stored : null));
}

export function fetch(context: ProcessContext, address: bigint): Task<Outcome<void>> {
  const at = word(address, 'fetch: address');
  return instruction(context, 'fetch', at, 1, fetchInstruction(context.task, at), () => undefined);
}

export function* loadBytes(context: ProcessContext, address: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
  const start = word(address, 'loadBytes: address');
  const target = new Uint8Array(byteCount(bytes, 'loadBytes: bytes'));
  for (const [at, part] of parts(start, target)) {
    const body = userLoad(context.task, at, part);
    const outcome = yield* instruction(context, 'read', at, part.length, body, () => undefined);
    if (!outcome.ok) return outcome;
  }
  return success(target);
}

export function* storeBytes(context: ProcessContext, address: bigint, data: Uint8Array): Task<Outcome<void>> {
  for (const [at, part] of parts(word(address, 'storeBytes: address'), data)) {
    const body = storeRun(context.task, at, part);
    const outcome = yield* instruction(context, 'write', at, part.length, body, () => undefined);
    if (!outcome.ok) return outcome;
  }
  return success(undefined);
}

/** Stores to one page in ascending order: a tag that does not match stops them at its granule. */
function* storeRun(task: TaskStruct, address: bigint, bytes: Uint8Array): Task<SignalInfo | null> {
  const signal = yield* userStore(task, address, bytes);
  if (signal === null) return null;
  const before = Number((signal.address & 0xfffn) - (address & 0xfffn));
  if (before > 0) yield* userStore(task, address, bytes.subarray(0, before));
  return signal;
}

/** The pages of a range, each with its piece of the bytes. */
function* parts(start: bigint, bytes: Uint8Array): Generator<[bigint, Uint8Array]> {
  for (let done = 0; done < bytes.length; ) {
    const at = BigInt.asUintN(64, start + BigInt(done));
    const part = bytes.subarray(done, done + 0x1000 - Number(at & 0xfffn));
    yield [at, part];
    done += part.length;
  }
}
