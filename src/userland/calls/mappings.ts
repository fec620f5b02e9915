/** The calls of `User` that change, lock and ask about mappings, and those of protection keys. What they mean is said there. */
import { PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE } from '../../arch/protection-keys.ts';
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import * as advices from '../../kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../kernel/mm/madvise/madvise.ts';
import { sysMincore } from '../../kernel/mm/mincore.ts';
import { MLOCK_ONFAULT, sysMlock2, sysMunlock } from '../../kernel/mm/mlock.ts';
import {
  MCL_CURRENT,
  MCL_FUTURE,
  MCL_ONFAULT,
  sysMlockall,
  sysMunlockall,
} from '../../kernel/mm/mlockall.ts';
import { MAP_NONBLOCK } from '../../kernel/mm/mman.ts';
import { sysPkeyMprotect } from '../../kernel/mm/mprotect.ts';
import { sysMremap } from '../../kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../kernel/mm/mremap-operation.ts';
import { sysMseal } from '../../kernel/mm/mseal.ts';
import { MS_ASYNC, MS_INVALIDATE, MS_SYNC, sysMsync } from '../../kernel/mm/msync.ts';
import { pkeyAlloc as allocateKey, pkeyFree as freeKey } from '../../kernel/mm/pkey.ts';
import { sysRemapFilePages } from '../../kernel/mm/remap-file-pages.ts';
import { type Resource, type Rlimit, sysSetrlimit } from '../../kernel/mm/rlimit.ts';
import { taskNumaWork } from '../../kernel/mm/task-numa-work.ts';
import { sysProcessMadvise } from '../../kernel/remote/process-madvise.ts';
import { type Outcome, success } from '../outcome.ts';
import type { MemoryRange } from '../ranges.ts';
import { checkKeys, type Word, word } from '../units.ts';
import type {
  Advice,
  KeyRights,
  MlockallArguments,
  MremapArguments,
  MsyncArguments,
  RemapFilePagesArguments,
} from '../user-mappings.ts';
import { booleanBits, booleanWords, wordNumber } from './flag-words.ts';
import { checkedProtection } from './memory.ts';
import {
  addressOrErrno,
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';
import { rangeVectors, shownRanges } from './range-vectors.ts';

const MREMAP_FLAGS = { mayMove: MREMAP_MAYMOVE, fixed: MREMAP_FIXED, dontUnmap: MREMAP_DONTUNMAP } as const;

export function mremap(context: ProcessContext, args: MremapArguments): Task<Outcome<bigint>> {
  checkKeys(args, ['address', 'bytes', 'newBytes', 'newAddress', ...Object.keys(MREMAP_FLAGS)], 'mremap');
  const old = word(args.address, 'mremap: address');
  const length = word(args.bytes, 'mremap: bytes');
  const newLength = word(args.newBytes, 'mremap: newBytes');
  const to = word(args.newAddress ?? 0n, 'mremap: newAddress');
  const flags = booleanBits(args, MREMAP_FLAGS, 'mremap');
  const shown = [
    hexAddress(old),
    hex(length),
    hex(newLength),
    booleanWords(args, MREMAP_FLAGS),
    hexAddress(to),
  ];
  const call = sysMremap(context.task, old, length, newLength, flags, to);
  return systemCall(context, 'mremap', shown, call, addressOrErrno);
}

const ADVICES: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(advices)
    .filter(([name]) => name.startsWith('MADV_'))
    .map(([name, value]) => [name.slice('MADV_'.length), value as number]),
);

/** A number is passed as it is: for advices the kernel has not. */
function adviceNumber(advice: Advice | number, what: string): number {
  return typeof advice === 'number' ? advice : wordNumber(advice, ADVICES, 'MADV_', what);
}

const adviceText = (advice: Advice | number): string =>
  typeof advice === 'number' ? `${advice}` : `MADV_${advice.replace(/^MADV_/, '')}`;

type RangeCall = (task: ProcessContext['task'], address: bigint, length: bigint) => Task<number>;

/** A call on [address, address + bytes). */
function onRange(
  context: ProcessContext,
  name: string,
  address: bigint,
  bytes: Word,
  more: readonly string[],
  call: RangeCall,
): Task<Outcome<void>> {
  const start = word(address, `${name}: address`);
  const length = word(bytes, `${name}: bytes`);
  const shown = [hexAddress(start), hex(length), ...more];
  return systemCall(context, name, shown, call(context.task, start, length), doneOrErrno);
}

export function madvise(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  advice: Advice | number,
): Task<Outcome<void>> {
  const number = adviceNumber(advice, 'madvise');
  return onRange(context, 'madvise', address, bytes, [adviceText(advice)], (task, start, length) =>
    sysMadvise(task, start, length, number),
  );
}

export function processMadvise(
  context: ProcessContext,
  pid: number,
  ranges: readonly MemoryRange[],
  advice: Advice | number,
): Task<Outcome<number>> {
  const vectors = rangeVectors(ranges, 'processMadvise');
  const number = adviceNumber(advice, 'processMadvise');
  const call = sysProcessMadvise(context.task, pid, vectors, vectors.length, number, 0);
  const shown = [`${pid}`, shownRanges(vectors), adviceText(advice)];
  return systemCall(context, 'process_madvise', shown, call, countOrErrno);
}

export function mlock(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  args: { readonly onFault?: boolean },
): Task<Outcome<void>> {
  checkKeys(args, ['onFault'], 'mlock');
  const flags = booleanBits(args, { onFault: MLOCK_ONFAULT }, 'mlock');
  const more = flags === 0 ? [] : ['MLOCK_ONFAULT'];
  const name = flags === 0 ? 'mlock' : 'mlock2';
  return onRange(context, name, address, bytes, more, (task, start, length) =>
    sysMlock2(task, start, length, flags),
  );
}

export function munlock(context: ProcessContext, address: bigint, bytes: Word): Task<Outcome<void>> {
  return onRange(context, 'munlock', address, bytes, [], sysMunlock);
}

const MLOCKALL_FLAGS = { current: MCL_CURRENT, future: MCL_FUTURE, onFault: MCL_ONFAULT } as const;

export function mlockall(context: ProcessContext, args: MlockallArguments): Task<Outcome<void>> {
  checkKeys(args, Object.keys(MLOCKALL_FLAGS), 'mlockall');
  const flags = booleanBits(args, MLOCKALL_FLAGS, 'mlockall');
  const call = sysMlockall(context.task, flags);
  return systemCall(context, 'mlockall', [booleanWords(args, MLOCKALL_FLAGS)], call, doneOrErrno);
}

export function munlockall(context: ProcessContext): Task<Outcome<void>> {
  return systemCall(context, 'munlockall', [], sysMunlockall(context.task), doneOrErrno);
}

/** 64 GiB in one call: what a result can hold. */
const MOST_PAGES = 2 ** 24;

export function mincore(context: ProcessContext, address: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
  const start = word(address, 'mincore: address');
  const length = word(bytes, 'mincore: bytes');
  const pages = (length + 0xfffn) >> 12n;
  const inUserSpace = pages <= BigInt(context.task.kernel.arch.taskSizePages);
  if (pages > BigInt(MOST_PAGES) && inUserSpace) {
    throw new InputError('mincore: bytes', { expected: 'at most 64 GiB', found: `${length}` });
  }
  // What reaches beyond user space is refused before a page is looked at.
  const vector = new Uint8Array(inUserSpace ? Number(pages) : 0);
  const call = sysMincore(context.task, start, length, vector);
  return systemCall(context, 'mincore', [hexAddress(start), hex(length)], call, (result) =>
    result < 0 ? errnoFailure(result) : success(vector),
  );
}

export function changeProtNuma(context: ProcessContext, address: bigint, bytes: Word): Task<Outcome<number>> {
  const start = word(address, 'changeProtNuma: address');
  const length = word(bytes, 'changeProtNuma: bytes');
  const end = Number((start + length + 0xfffn) >> 12n);
  const call = taskNumaWork(context.task, Number(start >> 12n), end);
  return systemCall(context, 'task_numa_work', [hexAddress(start), hex(length)], call, countOrErrno);
}

const MSYNC_FLAGS = { async: MS_ASYNC, invalidate: MS_INVALIDATE, sync: MS_SYNC } as const;

export function msync(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  args: MsyncArguments,
): Task<Outcome<void>> {
  checkKeys(args, Object.keys(MSYNC_FLAGS), 'msync');
  const flags = booleanBits(args, MSYNC_FLAGS, 'msync');
  const more = [booleanWords(args, MSYNC_FLAGS)];
  return onRange(context, 'msync', address, bytes, more, (task, start, length) =>
    sysMsync(task, start, length, flags),
  );
}

export function mseal(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  flags: Word,
): Task<Outcome<void>> {
  const bits = word(flags, 'mseal: flags');
  return onRange(context, 'mseal', address, bytes, [hex(bits)], (task, start, length) =>
    sysMseal(task, start, length, bits),
  );
}

export function remapFilePages(context: ProcessContext, args: RemapFilePagesArguments): Task<Outcome<void>> {
  checkKeys(args, ['address', 'bytes', 'pageOffset', 'prot', 'nonblock'], 'remapFilePages');
  const prot = word(args.prot ?? 0, 'remapFilePages: prot');
  const offset = word(args.pageOffset, 'remapFilePages: pageOffset');
  const flags = booleanBits(args, { nonblock: MAP_NONBLOCK }, 'remapFilePages');
  const more = [hex(prot), hex(offset), hex(BigInt(flags))];
  return onRange(context, 'remap_file_pages', args.address, args.bytes, more, (task, start, length) =>
    sysRemapFilePages(task, start, length, prot, offset, flags),
  );
}

const KEY_RIGHTS = { disableAccess: PKEY_DISABLE_ACCESS, disableWrite: PKEY_DISABLE_WRITE } as const;

function rightBits(rights: KeyRights, what: string): number {
  checkKeys(rights, Object.keys(KEY_RIGHTS), what);
  return booleanBits(rights, KEY_RIGHTS, what);
}

export function pkeyAlloc(context: ProcessContext, rights: KeyRights): Task<Outcome<number>> {
  const bits = rightBits(rights, 'pkeyAlloc');
  const call = allocateKey(context.task, 0n, BigInt(bits));
  return systemCall(context, 'pkey_alloc', ['0x0', booleanWords(rights, KEY_RIGHTS)], call, countOrErrno);
}

export function pkeyFree(context: ProcessContext, key: number): Task<Outcome<void>> {
  return systemCall(context, 'pkey_free', [`${key}`], freeKey(context.task, key), doneOrErrno);
}

export function pkeyMprotect(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  prot: string,
  key: number,
): Task<Outcome<void>> {
  const bits = checkedProtection(context, prot, 'pkeyMprotect');
  return onRange(context, 'pkey_mprotect', address, bytes, [prot, `${key}`], (task, start, length) =>
    sysPkeyMprotect(task, start, length, bits, key),
  );
}

const BITS_PER_KEY = 2;
const KEYS = 16;

/** The register of the CPU that the process runs on, and where the key's bits are in it. */
function keyField(context: ProcessContext, key: number, what: string) {
  const { register } = context.task.kernel.arch.protectionKeys;
  if (register === null) {
    throw new InputError(`${what}: the processor has no protection keys`, {
      expected: 'x86_64 with cpuModel intel-sapphire-rapids, or another that has them',
    });
  }
  if (!Number.isInteger(key) || key < 0 || key >= KEYS) {
    throw new InputError(`${what}: key`, { expected: `0 to ${KEYS - 1}`, found: String(key) });
  }
  const mask = rightsMask << (key * BITS_PER_KEY);
  return { register, shift: key * BITS_PER_KEY, mask };
}

const rightsMask = PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE;

/** RDPKRU. No system call: it does not enter the kernel. */
export function* pkeyGet(context: ProcessContext, key: number): Task<KeyRights> {
  const { register, shift } = keyField(context, key, 'pkeyGet');
  yield context.accessPoint;
  const rights = (register.read(context.task.cpu) >>> shift) & rightsMask;
  return {
    disableAccess: (rights & PKEY_DISABLE_ACCESS) !== 0,
    disableWrite: (rights & PKEY_DISABLE_WRITE) !== 0,
  };
}

/** WRPKRU. */
export function* pkeySet(context: ProcessContext, key: number, rights: KeyRights): Task<void> {
  const { register, shift, mask } = keyField(context, key, 'pkeySet');
  const bits = rightBits(rights, 'pkeySet');
  yield context.accessPoint;
  const { cpu } = context.task;
  register.write(cpu, (register.read(cpu) & ~mask) | (bits << shift));
}

const RESOURCES: readonly Resource[] = ['addressSpace', 'data', 'stack', 'memlock'];

function limitBytes(value: Word | 'unlimited', what: string): number {
  return value === 'unlimited' ? Number.POSITIVE_INFINITY : Number(word(value, what));
}

export function setrlimit(
  context: ProcessContext,
  resource: Resource,
  limit: { readonly soft: Word | 'unlimited'; readonly hard?: Word | 'unlimited' },
): Task<Outcome<void>> {
  checkKeys(limit, ['soft', 'hard'], 'setrlimit');
  if (!RESOURCES.includes(resource)) {
    throw new InputError('setrlimit: resource', { expected: RESOURCES.join(', '), found: String(resource) });
  }
  const soft = limitBytes(limit.soft, 'setrlimit: soft');
  const hard = limit.hard === undefined ? null : limitBytes(limit.hard, 'setrlimit: hard');
  const { task } = context;
  const wanted = (): Rlimit => ({ soft, hard: hard ?? task.rlimits[resource].hard });
  const call = atomically(() => sysSetrlimit(task, resource, wanted()));
  const shown = [resource, String(limit.soft), String(limit.hard ?? 'as it is')];
  return systemCall(context, 'setrlimit', shown, call, doneOrErrno);
}
