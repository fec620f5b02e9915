/** The calls of `User` for open files: memfd, files by name, and what is done by a descriptor. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { EBADF, EINVAL, ENOENT, ENXIO } from '../../kernel/errno.ts';
import * as falloc from '../../kernel/mm/fallocate.ts';
import { sysPread, sysPwrite } from '../../kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../kernel/mm/ftruncate.ts';
import { hugetlbMemfdCreate } from '../../kernel/mm/hugetlb/hugetlb-file.ts';
import { fput, MappedFile } from '../../kernel/mm/mapped-file.ts';
import {
  fileRead,
  fileWrite,
  MAX_FILE_BYTES,
  memfdCreate as memfd,
  openAgain,
} from '../../kernel/mm/memfd.ts';
import * as memfdFlags from '../../kernel/mm/memfd-flags.ts';
import { MAP_HUGE_1GB, MAP_HUGE_2MB } from '../../kernel/mm/mman.ts';
import * as open from '../../kernel/mm/open-path.ts';
import * as seals from '../../kernel/mm/seals.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { pidfdGetfd as getfd } from '../../kernel/process/pidfd-getfd.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type {
  FallocateArguments,
  HugePageSize,
  MemfdArguments,
  OpenArguments,
  SealName,
} from '../user-files.ts';
import { booleanBits, booleanWords, listBits } from './flag-words.ts';
import { checkDescriptor, openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';

const MEMFD_FLAGS = {
  cloexec: memfdFlags.MFD_CLOEXEC,
  allowSealing: memfdFlags.MFD_ALLOW_SEALING,
  noexecSeal: memfdFlags.MFD_NOEXEC_SEAL,
  exec: memfdFlags.MFD_EXEC,
} as const;

const OPEN_FLAGS = { create: open.O_CREAT, exclusive: open.O_EXCL, truncate: open.O_TRUNC } as const;
const OPEN_MODES = { r: open.O_RDONLY, w: open.O_WRONLY, rw: open.O_RDWR } as const;

const FALLOCATE_MODES = {
  keepSize: falloc.FALLOC_FL_KEEP_SIZE,
  punchHole: falloc.FALLOC_FL_PUNCH_HOLE,
  collapseRange: falloc.FALLOC_FL_COLLAPSE_RANGE,
  zeroRange: falloc.FALLOC_FL_ZERO_RANGE,
  insertRange: falloc.FALLOC_FL_INSERT_RANGE,
  unshareRange: falloc.FALLOC_FL_UNSHARE_RANGE,
} as const;

const SEALS: Readonly<Record<SealName, number>> = {
  SEAL: seals.F_SEAL_SEAL,
  SHRINK: seals.F_SEAL_SHRINK,
  GROW: seals.F_SEAL_GROW,
  WRITE: seals.F_SEAL_WRITE,
  FUTURE_WRITE: seals.F_SEAL_FUTURE_WRITE,
  EXEC: seals.F_SEAL_EXEC,
};

/** NAME_MAX less `memfd:`. */
const LONGEST_MEMFD_NAME = 249;

/**
 * The bits that name a size of huge pages, the same for mmap and memfd_create; `true` is the default size.
 * @throws InputError for a size that no machine here has
 */
export function hugePageBits(size: HugePageSize, what: string): number {
  if (size === true || size === false) return 0;
  if (size === '2MiB') return MAP_HUGE_2MB;
  if (size === '1GiB') return MAP_HUGE_1GB;
  throw new InputError(`${what}: hugetlb`, { expected: 'true, 2MiB or 1GiB', found: String(size) });
}

/** A new descriptor of the process for a file whose only reference the caller has. */
export function installFile({ task }: ProcessContext, file: MappedFile, closeOnExec = false): number {
  const release = (current: TaskStruct): Task<void> => fput(current.kernel.frames, file);
  return task.files.install(new OpenFile(`file ${file.name}`, file, release), closeOnExec);
}

/** The file of memory that a descriptor refers to; null for any other number. */
export function mappedFileOf(context: ProcessContext, descriptor: number): MappedFile | null {
  const value = openFileOf(context, descriptor)?.value;
  return value instanceof MappedFile ? value : null;
}

/** A call on such a file; what else a descriptor may refer to cannot do these things. */
function onFile(
  context: ProcessContext,
  descriptor: number,
  call: (file: MappedFile) => Task<number>,
): Task<number> {
  const file = mappedFileOf(context, descriptor);
  // A device has nothing but its mappings.
  if (file !== null && file.mmap === null) return call(file);
  const error = openFileOf(context, descriptor) === undefined ? -EBADF : -EINVAL;
  return atomically(() => error);
}

function memfdOf(context: ProcessContext, name: string, args: MemfdArguments, flags: number): number {
  const { kernel } = context.task;
  const both = memfdFlags.MFD_EXEC | memfdFlags.MFD_NOEXEC_SEAL;
  if ((flags & both) === both || name.length > LONGEST_MEMFD_NAME) return -EINVAL;
  const huge = args.hugetlb !== undefined && args.hugetlb !== false;
  const file = huge ? hugetlbMemfdCreate(kernel, name, flags) : memfd(kernel, name, flags);
  return typeof file === 'number' ? file : installFile(context, file, args.cloexec === true);
}

export function memfdCreate(
  context: ProcessContext,
  name: string,
  args: MemfdArguments,
): Task<Outcome<number>> {
  checkKeys(args, [...Object.keys(MEMFD_FLAGS), 'hugetlb'], 'memfdCreate');
  const { hugetlb = false } = args;
  let flags = booleanBits(args, MEMFD_FLAGS, 'memfdCreate') | hugePageBits(hugetlb, 'memfdCreate');
  if (hugetlb !== false) flags |= memfdFlags.MFD_HUGETLB;
  const words = hugetlb === false ? '' : `|hugetlb${hugetlb === true ? '' : ` ${hugetlb}`}`;
  const shown = [name, `${booleanWords(args, MEMFD_FLAGS)}${words}`];
  const call = atomically(() => memfdOf(context, name, args, flags));
  return systemCall(context, 'memfd_create', shown, call, countOrErrno);
}

/** /proc/self/fd/N: the same object, with rights of its own. */
const OWN_DESCRIPTOR = /^\/proc\/self\/fd\/(\d+)$/;

function* openFile(context: ProcessContext, path: string, flags: number): Task<number> {
  const again = OWN_DESCRIPTOR.exec(path)?.[1];
  if (again === undefined) {
    const file = yield* openPath(context.task, path, flags);
    return typeof file === 'number' ? file : installFile(context, file);
  }
  const file = mappedFileOf(context, Number(again));
  if (file === null) return -ENOENT;
  if (file.mapping.secret !== null) return -ENXIO;
  const mode = flags & (open.O_RDWR | open.O_WRONLY);
  return installFile(context, openAgain(file, mode !== open.O_WRONLY, mode !== open.O_RDONLY));
}

const { openPath, unlinkPath } = open;

export function openByPath(
  context: ProcessContext,
  path: string,
  args: OpenArguments,
): Task<Outcome<number>> {
  checkKeys(args, ['mode', ...Object.keys(OPEN_FLAGS)], 'open');
  const { mode = 'rw' } = args;
  if (!Object.hasOwn(OPEN_MODES, mode)) {
    throw new InputError('open: mode', { expected: 'r, w or rw', found: String(mode) });
  }
  const flags = OPEN_MODES[mode] | booleanBits(args, OPEN_FLAGS, 'open');
  const shown = [path, mode, booleanWords(args, OPEN_FLAGS)];
  return systemCall(context, 'open', shown, openFile(context, path, flags), countOrErrno);
}

export function unlink(context: ProcessContext, path: string): Task<Outcome<void>> {
  return systemCall(context, 'unlink', [path], unlinkPath(context.task, path), doneOrErrno);
}

export function close(context: ProcessContext, descriptor: number): Task<Outcome<void>> {
  checkDescriptor(descriptor);
  const call = context.task.files.close(context.task, descriptor);
  return systemCall(context, 'close', [`${descriptor}`], call, doneOrErrno);
}

export function pidfdGetfd(context: ProcessContext, pid: number, descriptor: number): Task<Outcome<number>> {
  checkDescriptor(descriptor);
  const call = getfd(context.task, pid, descriptor);
  return systemCall(context, 'pidfd_getfd', [`${pid}`, `${descriptor}`], call, countOrErrno);
}

/** A place in a file of memory as the model counts it; what lies beyond every file's largest size has nothing to read. */
function fileOffset(value: Word, what: string): number {
  const offset = word(value, what);
  if (offset > MAX_FILE_BYTES) {
    throw new InputError(`${what} is beyond the largest size of a file`, { expected: 'at most 2^52' });
  }
  return Number(offset);
}

export function pread(
  context: ProcessContext,
  descriptor: number,
  bytes: Word,
  offset: Word,
): Task<Outcome<Uint8Array>> {
  const buffer = new Uint8Array(byteCount(bytes, 'pread: bytes'));
  const at = fileOffset(offset, 'pread: offset');
  const call = onFile(context, descriptor, (file) => fileRead(context.task, file, at, buffer));
  return systemCall(
    context,
    'pread',
    [`${descriptor}`, `${buffer.length}`, hex(BigInt(at))],
    call,
    (result) => (result < 0 ? errnoFailure(result) : success(buffer.slice(0, result))),
  );
}

export function pwrite(
  context: ProcessContext,
  descriptor: number,
  data: Uint8Array,
  offset: Word,
): Task<Outcome<number>> {
  const at = fileOffset(offset, 'pwrite: offset');
  const call = onFile(context, descriptor, (file) => fileWrite(context.task, file, at, data));
  const shown = [`${descriptor}`, `${data.length}`, hex(BigInt(at))];
  return systemCall(context, 'pwrite', shown, call, countOrErrno);
}

/** pread64 and pwrite64 with the process' own memory. */
function withMemory(
  context: ProcessContext,
  name: 'preadInto' | 'pwriteFrom',
  descriptor: number,
  bytes: Word,
  offset: Word,
  address: bigint,
): Task<Outcome<number>> {
  const [at, length, place] = [
    word(address, `${name}: address`),
    word(bytes, `${name}: bytes`),
    word(offset, `${name}: offset`),
  ];
  const move = name === 'preadInto' ? sysPread : sysPwrite;
  const call = onFile(context, descriptor, (file) => move(context.task, file, at, length, place));
  const shown = [`${descriptor}`, hexAddress(at), `${length}`, hex(place)];
  return systemCall(context, name === 'preadInto' ? 'pread' : 'pwrite', shown, call, countOrErrno);
}

export function preadInto(
  context: ProcessContext,
  descriptor: number,
  bytes: Word,
  offset: Word,
  target: bigint,
): Task<Outcome<number>> {
  return withMemory(context, 'preadInto', descriptor, bytes, offset, target);
}

export function pwriteFrom(
  context: ProcessContext,
  descriptor: number,
  bytes: Word,
  offset: Word,
  source: bigint,
): Task<Outcome<number>> {
  return withMemory(context, 'pwriteFrom', descriptor, bytes, offset, source);
}

export function ftruncate(context: ProcessContext, descriptor: number, bytes: Word): Task<Outcome<void>> {
  const length = word(bytes, 'ftruncate: bytes');
  const call = onFile(context, descriptor, (file) => fileTruncate(context.task, file, length));
  return systemCall(context, 'ftruncate', [`${descriptor}`, hex(length)], call, doneOrErrno);
}

export function fallocate(
  context: ProcessContext,
  descriptor: number,
  args: FallocateArguments,
): Task<Outcome<void>> {
  checkKeys(args, ['offset', 'bytes', ...Object.keys(FALLOCATE_MODES)], 'fallocate');
  const mode = booleanBits(args, FALLOCATE_MODES, 'fallocate');
  const offset = word(args.offset, 'fallocate: offset');
  const length = word(args.bytes, 'fallocate: bytes');
  const call = onFile(context, descriptor, (file) =>
    falloc.fileFallocate(context.task, file, mode, offset, length),
  );
  const shown = [`${descriptor}`, booleanWords(args, FALLOCATE_MODES), hex(offset), hex(length)];
  return systemCall(context, 'fallocate', shown, call, doneOrErrno);
}

export function addSeals(
  context: ProcessContext,
  descriptor: number,
  names: readonly SealName[],
): Task<Outcome<void>> {
  const bits = listBits(names, SEALS, 'F_SEAL_', 'addSeals');
  const call = onFile(context, descriptor, (file) => seals.fcntlAddSeals(context.task, file, bits));
  const shown = [`${descriptor}`, 'F_ADD_SEALS', names.join('|') || '0'];
  return systemCall(context, 'fcntl', shown, call, doneOrErrno);
}

export function getSeals(context: ProcessContext, descriptor: number): Task<Outcome<SealName[]>> {
  const call = onFile(context, descriptor, (file) => atomically(() => seals.fcntlGetSeals(file)));
  return systemCall(context, 'fcntl', [`${descriptor}`, 'F_GET_SEALS'], call, (result) =>
    result < 0
      ? errnoFailure(result)
      : success((Object.keys(SEALS) as SealName[]).filter((name) => (result & SEALS[name]) !== 0)),
  );
}
