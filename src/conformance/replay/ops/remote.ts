/** process_vm_readv and process_vm_writev, /proc/pid/mem. The caller is the process `by`, or the supervisor. */
import {
  openProcMem,
  type ProcMemFile,
  readProcMem,
  writeProcMem,
} from '../../../kernel/remote/proc-pid-mem.ts';
import {
  type ProcessVmArguments,
  sysProcessVmReadv,
  sysProcessVmWritev,
} from '../../../kernel/remote/process-vm.ts';
import type { IoVector } from '../../../kernel/remote/user-buffer.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { repeatedWord } from '../bytes.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno } from './operation.ts';

/** A private buffer larger than this stands for "any buffer": no call of a trace fills it. */
const BUFFER_LIMIT = 1n << 26n;

/** The buffer that the recorder used when the script names none: outside the arena, all of it present. */
function privateBuffer(remote: readonly IoVector[]): Uint8Array {
  const total = remote.reduce((sum, { length }) => sum + length, 0n);
  return new Uint8Array(Number(total < BUFFER_LIMIT ? total : BUFFER_LIMIT));
}

/** The private buffer, cut as `llens` says. Lengths beyond its end go on in memory of their own, never reached. */
function localVectors(step: Step, buffer: Uint8Array): IoVector[] {
  const named = step.args.vectors('liov');
  if (named !== undefined) return [...named];
  if (!step.args.has('llens')) return [{ base: buffer, length: BigInt(buffer.length) }];
  let offset = 0;
  return lengths(step).map((length) => {
    const base = buffer.subarray(offset, offset + length);
    offset += base.length;
    return { base: base.length === length ? base : extended(base, length), length: BigInt(length) };
  });
}

function lengths(step: Step): number[] {
  const text =
    step.args.namesOf('llens').length === 0 ? String(step.args.count('llens')) : step.args.text('llens');
  return text.split(',').map(Number);
}

function extended(base: Uint8Array, length: number): Uint8Array {
  const longer = new Uint8Array(length);
  longer.set(base);
  return longer;
}

function processVm(world: ReplayWorld, step: Step, write: boolean): OperationResult {
  const caller = world.actor(step.by ?? 0);
  const remote = step.args.vectors('riov') ?? [];
  const buffer = write
    ? repeatedWord(step.args.word('val'), privateBuffer(remote).length)
    : privateBuffer(remote);
  const named = step.args.vectors('liov');
  const local = localVectors(step, buffer);
  const args: ProcessVmArguments = {
    pid: step.args.has('rawpid') ? step.args.count('rawpid') : world.pidOf(step.pid),
    local,
    localCount: step.args.count('liovcnt', local.length),
    remote: step.args.has('riovptr') ? step.args.word('riovptr') : remote,
    remoteCount: step.args.count('riovcnt', remote.length),
    flags: step.args.count('flags', 0),
  };
  const call = write ? sysProcessVmWritev : sysProcessVmReadv;
  return world.call(step, caller, call(caller, args), (result, minflt) => {
    if (write || named !== undefined) return retOrErrno(result, { minflt });
    return retOrErrno(result, { nz: gather(local, Math.max(result, 0)), minflt });
  });
}

/** The first `length` bytes of private buffers. */
function gather(local: readonly IoVector[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const { base } of local) {
    if (typeof base === 'bigint') continue;
    const part = base.subarray(0, length - offset);
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

function mem(world: ReplayWorld, step: Step, write: boolean): OperationResult {
  const caller = world.actor(step.by ?? 0);
  const handle =
    step.args.count('handle', 0) === 0 ? openFor(world, step, caller) : world.handles.get(step.pid);
  if (handle === undefined) throw world.inputError(step, 'no handle was opened by an earlier sup_memopen');
  if (typeof handle === 'number') return retOrErrno(handle, {}, { at: 'open' });
  const length = step.args.count('len');
  const buffer = write ? repeatedWord(step.args.word('val'), length) : new Uint8Array(length);
  const access = write ? writeProcMem : readProcMem;
  const call = access(caller, handle, step.args.word('addr'), buffer, BigInt(length));
  const { result, minflt } = world.counted(caller, call);
  return retOrErrno(result, write ? { minflt } : { nz: buffer.slice(0, Math.max(result, 0)), minflt });
}

const openFor = (world: ReplayWorld, step: Step, caller: TaskStruct): ProcMemFile | number =>
  world.run(caller, openProcMem(caller, world.pidOf(step.pid)));

export const remoteOperations: Readonly<Record<string, Operation>> = {
  // Random scripts give reads the value of the write that they would otherwise have been.
  pvm_readv: {
    arguments: ['riov', 'liov', 'llens', 'flags', 'riovcnt', 'liovcnt', 'riovptr', 'rawpid', 'val'],
    run: (world, step) => processVm(world, step, false),
  },
  pvm_writev: {
    arguments: ['riov', 'liov', 'llens', 'flags', 'riovcnt', 'liovcnt', 'riovptr', 'rawpid', 'val'],
    run: (world, step) => processVm(world, step, true),
  },
  sup_memopen: {
    arguments: [],
    run: (world, step) => {
      const file = openFor(world, step, world.actor(0));
      if (typeof file === 'number') return retOrErrno(file, {}, { at: 'open' });
      world.handles.set(step.pid, file);
      return { values: { ret: 'fd' } };
    },
  },
  mem_read: { arguments: ['addr', 'len', 'handle', 'val'], run: (world, step) => mem(world, step, false) },
  mem_write: { arguments: ['addr', 'len', 'val', 'handle'], run: (world, step) => mem(world, step, true) },
};
