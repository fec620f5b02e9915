/** The calls of `User` that look into other processes. What they mean is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { EBADF } from '../../kernel/errno.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { readProcCmdline, readProcEnviron } from '../../kernel/remote/proc-pid-cmdline.ts';
import {
  closeProcMem,
  openProcMem,
  type ProcMemFile,
  readProcMem,
  writeProcMem,
} from '../../kernel/remote/proc-pid-mem.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../kernel/remote/process-vm.ts';
import {
  ptraceDetach as detachKernel,
  ptraceInterrupt,
  ptracePeekData,
  ptracePokeData,
  ptraceSeize,
} from '../../kernel/remote/ptrace.ts';
import type { IoVector } from '../../kernel/remote/user-buffer.ts';
import { type Outcome, success } from '../outcome.ts';
import type { MemoryRange } from '../ranges.ts';
import { byteCount, type Word, word } from '../units.ts';
import type { VectorRead } from '../user-remote.ts';
import { openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';
import { rangeVectors, shownRanges } from './range-vectors.ts';

/** What a descriptor of /proc/PID/mem refers to. */
class OpenProcMem {
  readonly file: ProcMemFile;

  constructor(file: ProcMemFile) {
    this.file = file;
  }
}

export function* ptraceAttach(context: ProcessContext, pid: number): Task<Outcome<void>> {
  const seize = ptraceSeize(context.task, pid);
  const seized = yield* systemCall(context, 'ptrace', ['PTRACE_SEIZE', `${pid}`], seize, doneOrErrno);
  if (!seized.ok) return seized;
  const interrupt = ptraceInterrupt(context.task, pid);
  return yield* systemCall(context, 'ptrace', ['PTRACE_INTERRUPT', `${pid}`], interrupt, doneOrErrno);
}

export function ptraceDetach(context: ProcessContext, pid: number): Task<Outcome<void>> {
  const call = detachKernel(context.task, pid);
  return systemCall(context, 'ptrace', ['PTRACE_DETACH', `${pid}`], call, doneOrErrno);
}

export function peek(context: ProcessContext, pid: number, address: bigint): Task<Outcome<bigint>> {
  const bytes = new Uint8Array(8);
  const at = word(address, 'peek: address');
  const call = ptracePeekData(context.task, pid, at, bytes);
  const value = (result: number): Outcome<bigint> =>
    result < 0 ? errnoFailure(result) : success(new DataView(bytes.buffer).getBigUint64(0, true));
  return systemCall(context, 'ptrace', ['PTRACE_PEEKDATA', `${pid}`, hexAddress(at)], call, value);
}

export function peekInto(
  context: ProcessContext,
  pid: number,
  address: bigint,
  target: bigint,
): Task<Outcome<void>> {
  const at = word(address, 'peekInto: address');
  const to = word(target, 'peekInto: target');
  const args = ['PTRACE_PEEKDATA', `${pid}`, hexAddress(at), hexAddress(to)];
  return systemCall(context, 'ptrace', args, ptracePeekData(context.task, pid, at, to), doneOrErrno);
}

export function poke(
  context: ProcessContext,
  pid: number,
  address: bigint,
  value: Word,
): Task<Outcome<void>> {
  const bytes = new Uint8Array(8);
  const at = word(address, 'poke: address');
  const stored = word(value, 'poke: value');
  new DataView(bytes.buffer).setBigUint64(0, stored, true);
  const call = ptracePokeData(context.task, pid, at, bytes);
  return systemCall(
    context,
    'ptrace',
    ['PTRACE_POKEDATA', `${pid}`, hexAddress(at), hex(stored)],
    call,
    doneOrErrno,
  );
}

export function procMemOpen(context: ProcessContext, pid: number): Task<Outcome<number>> {
  const call = openProcMem(context.task, pid);
  return systemCall(context, 'open', [`/proc/${pid}/mem`], call, (file) => {
    if (typeof file === 'number') return errnoFailure(file);
    const release = (): Task<void> => closeProcMem(file);
    const open = new OpenFile(`/proc/${pid}/mem`, new OpenProcMem(file), release);
    return success(context.task.files.install(open));
  });
}

export function procMemRead(
  context: ProcessContext,
  handle: number,
  address: bigint,
  bytes: Word,
): Task<Outcome<Uint8Array>> {
  const length = byteCount(bytes, 'procMemRead: bytes');
  const at = word(address, 'procMemRead: address');
  const buffer = new Uint8Array(length);
  const call = onMemFile(context, handle, (file) =>
    readProcMem(context.task, file, at, buffer, BigInt(length)),
  );
  return systemCall(context, 'pread', [`${handle}`, `${length}`, hexAddress(at)], call, bytesOrErrno(buffer));
}

export function procMemWrite(
  context: ProcessContext,
  handle: number,
  address: bigint,
  data: Uint8Array,
): Task<Outcome<number>> {
  const at = word(address, 'procMemWrite: address');
  const length = BigInt(data.length);
  const call = onMemFile(context, handle, (file) => writeProcMem(context.task, file, at, data, length));
  return systemCall(context, 'pwrite', [`${handle}`, `${data.length}`, hexAddress(at)], call, countOrErrno);
}

export function procMemReadInto(
  context: ProcessContext,
  handle: number,
  address: bigint,
  bytes: Word,
  target: bigint,
): Task<Outcome<number>> {
  const length = word(bytes, 'procMemReadInto: bytes');
  const at = word(address, 'procMemReadInto: address');
  const to = word(target, 'procMemReadInto: target');
  const call = onMemFile(context, handle, (file) => readProcMem(context.task, file, at, to, length));
  return systemCall(
    context,
    'pread',
    [`${handle}`, hexAddress(to), `${length}`, hexAddress(at)],
    call,
    countOrErrno,
  );
}

export function procMemWriteFrom(
  context: ProcessContext,
  handle: number,
  address: bigint,
  bytes: Word,
  source: bigint,
): Task<Outcome<number>> {
  const length = word(bytes, 'procMemWriteFrom: bytes');
  const at = word(address, 'procMemWriteFrom: address');
  const from = word(source, 'procMemWriteFrom: source');
  const call = onMemFile(context, handle, (file) => writeProcMem(context.task, file, at, from, length));
  return systemCall(
    context,
    'pwrite',
    [`${handle}`, hexAddress(from), `${length}`, hexAddress(at)],
    call,
    countOrErrno,
  );
}

export function procCmdline(context: ProcessContext, pid: number, bytes: Word): Task<Outcome<Uint8Array>> {
  const buffer = new Uint8Array(byteCount(bytes, 'procCmdline: bytes'));
  const call = readProcCmdline(context.task, pid, 0, buffer, buffer.length);
  return systemCall(
    context,
    'read',
    [`/proc/${pid}/cmdline`, `${buffer.length}`],
    call,
    bytesOrErrno(buffer),
  );
}

export function procCmdlineInto(
  context: ProcessContext,
  pid: number,
  bytes: Word,
  target: bigint,
): Task<Outcome<number>> {
  const length = byteCount(bytes, 'procCmdlineInto: bytes');
  const to = word(target, 'procCmdlineInto: target');
  const call = readProcCmdline(context.task, pid, 0, to, length);
  return systemCall(
    context,
    'read',
    [`/proc/${pid}/cmdline`, hexAddress(to), `${length}`],
    call,
    countOrErrno,
  );
}

export function procEnvironInto(
  context: ProcessContext,
  pid: number,
  bytes: Word,
  target: bigint,
): Task<Outcome<number>> {
  const length = byteCount(bytes, 'procEnvironInto: bytes');
  const to = word(target, 'procEnvironInto: target');
  const args = [`/proc/${pid}/environ`, hexAddress(to), `${length}`];
  return systemCall(context, 'read', args, readProcEnviron(context.task, pid, to, length), countOrErrno);
}

/** A call on an open /proc/PID/mem. The file table is the process' own: a handle that is not there needs no point. */
function onMemFile(
  context: ProcessContext,
  handle: number,
  call: (file: ProcMemFile) => Task<number>,
): Task<number> {
  const value = openFileOf(context, handle)?.value;
  return value instanceof OpenProcMem ? call(value.file) : atomically(() => -EBADF);
}

/** What was read, as far as it came, or the error. */
const bytesOrErrno =
  (buffer: Uint8Array) =>
  (result: number): Outcome<Uint8Array> =>
    result < 0 ? errnoFailure(result) : success(buffer.slice(0, result));

/** A buffer of the caller that nobody else sees: as large as all remote ranges together. */
function ownBuffer(remote: readonly IoVector[]): Uint8Array {
  const total = remote.reduce((sum, { length }) => sum + length, 0n);
  return new Uint8Array(byteCount(total < 1n << 28n ? total : 1n << 28n, 'processVmReadv: bytes'));
}

export function processVmReadv(
  context: ProcessContext,
  pid: number,
  remoteRanges: readonly MemoryRange[],
  localRanges?: readonly MemoryRange[],
): Task<Outcome<VectorRead>> {
  const remote = rangeVectors(remoteRanges, 'processVmReadv');
  const buffer = localRanges === undefined ? ownBuffer(remote) : new Uint8Array(0);
  const local =
    localRanges === undefined
      ? [{ base: buffer, length: BigInt(buffer.length) }]
      : rangeVectors(localRanges, 'processVmReadv');
  const call = sysProcessVmReadv(context.task, {
    pid,
    local,
    localCount: local.length,
    remote,
    remoteCount: remote.length,
    flags: 0,
  });
  const value = (result: number): Outcome<VectorRead> =>
    result < 0 ? errnoFailure(result) : success({ bytes: result, data: buffer.slice(0, result) });
  return systemCall(context, 'process_vm_readv', [`${pid}`, shownRanges(remote)], call, value);
}

export function processVmWritev(
  context: ProcessContext,
  pid: number,
  remoteRanges: readonly MemoryRange[],
  source: Uint8Array | readonly MemoryRange[],
): Task<Outcome<number>> {
  const remote = rangeVectors(remoteRanges, 'processVmWritev');
  const local =
    source instanceof Uint8Array
      ? [{ base: source, length: BigInt(source.length) }]
      : rangeVectors(source, 'processVmWritev');
  const call = sysProcessVmWritev(context.task, {
    pid,
    local,
    localCount: local.length,
    remote,
    remoteCount: remote.length,
    flags: 0,
  });
  return systemCall(context, 'process_vm_writev', [`${pid}`, shownRanges(remote)], call, countOrErrno);
}
