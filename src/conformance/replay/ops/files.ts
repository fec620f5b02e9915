/** Opening files, and what a process does to one by its descriptor: size, seals, reading and writing, opening it again. */
import type { Task } from '../../../base/task.ts';
import { EBADF, errnoName } from '../../../kernel/errno.ts';
import * as falloc from '../../../kernel/mm/fallocate.ts';
import { fileFallocate } from '../../../kernel/mm/fallocate.ts';
import { sysPread, sysPwrite } from '../../../kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../../kernel/mm/ftruncate.ts';
import { hugetlbMemfdCreate } from '../../../kernel/mm/hugetlb/hugetlb-file.ts';
import type { MappedFile } from '../../../kernel/mm/mapped-file.ts';
import { fileRead, fileWrite, memfdCreate, openAgain } from '../../../kernel/mm/memfd.ts';
import {
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_HUGETLB,
  MFD_NOEXEC_SEAL,
} from '../../../kernel/mm/memfd-flags.ts';
import { O_CREAT, O_RDWR, openPath } from '../../../kernel/mm/open-path.ts';
import * as seals from '../../../kernel/mm/seals.ts';
import { fcntlAddSeals } from '../../../kernel/mm/seals.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { repeatedWord } from '../bytes.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno, values } from './operation.ts';

/**
 * The open file that the step names; null for a number, which is -1 or a bad descriptor, and for a name that this process
 * does not have: a memfd that its parent made after the fork gives EBADF.
 */
export function fileOf(world: ReplayWorld, step: Step): MappedFile | null {
  const [name] = step.args.namesOf('fd');
  if (name === undefined) return null;
  return world.files.get(step.pid)?.get(name) ?? null;
}

function addFile(world: ReplayWorld, step: Step, name: string, file: MappedFile): OperationResult {
  const files = world.files.get(step.pid) ?? new Map<string, MappedFile>();
  files.set(name, file);
  world.files.set(step.pid, files);
  return values({ ret: 'fd' });
}

const MEMFD_FLAGS: Readonly<Record<string, number>> = {
  MFD_CLOEXEC,
  MFD_ALLOW_SEALING,
  MFD_NOEXEC_SEAL,
  MFD_EXEC,
  MFD_HUGETLB,
};

const bad = (): OperationResult => values({ errno: errnoName(EBADF) });

function read(world: ReplayWorld, step: Step): OperationResult {
  const file = fileOf(world, step);
  if (file === null) return bad();
  const bytes = new Uint8Array(step.args.count('len'));
  const task = world.actor(step.pid);
  const ret = world.run(task, fileRead(task, file, step.args.count('off', 0), bytes));
  return retOrErrno(ret, { nz: bytes.subarray(0, Math.max(0, ret)) });
}

function write(world: ReplayWorld, step: Step): OperationResult {
  const file = fileOf(world, step);
  if (file === null) return bad();
  const bytes = repeatedWord(step.args.word('val'), step.args.count('len'));
  const task = world.actor(step.pid);
  return retOrErrno(world.run(task, fileWrite(task, file, step.args.count('off', 0), bytes)));
}

/** pread64 and pwrite64 with the process' own memory. */
function userIo(world: ReplayWorld, step: Step, call: typeof sysPread): OperationResult {
  const file = fileOf(world, step);
  if (file === null) return bad();
  const task = world.actor(step.pid);
  const [address, length] = [step.args.word('addr'), step.args.word('len')];
  const body = call(task, file, address, length, step.args.word('off', 0n));
  return world.call(step, task, body, (result) => retOrErrno(result));
}

const SEALS: Readonly<Record<string, number>> = {
  F_SEAL_SEAL: seals.F_SEAL_SEAL,
  F_SEAL_SHRINK: seals.F_SEAL_SHRINK,
  F_SEAL_GROW: seals.F_SEAL_GROW,
  F_SEAL_WRITE: seals.F_SEAL_WRITE,
  F_SEAL_FUTURE_WRITE: seals.F_SEAL_FUTURE_WRITE,
  F_SEAL_EXEC: seals.F_SEAL_EXEC,
};

const FALLOCATE_MODES: Readonly<Record<string, number>> = {
  KEEP_SIZE: falloc.FALLOC_FL_KEEP_SIZE,
  PUNCH_HOLE: falloc.FALLOC_FL_PUNCH_HOLE,
  COLLAPSE_RANGE: falloc.FALLOC_FL_COLLAPSE_RANGE,
  ZERO_RANGE: falloc.FALLOC_FL_ZERO_RANGE,
  INSERT_RANGE: falloc.FALLOC_FL_INSERT_RANGE,
  UNSHARE_RANGE: falloc.FALLOC_FL_UNSHARE_RANGE,
};

/** A call on an open file, made by the process of the step. */
function onFile(
  world: ReplayWorld,
  step: Step,
  call: (task: TaskStruct, file: MappedFile) => Task<number>,
): OperationResult {
  const file = fileOf(world, step);
  if (file === null) return bad();
  const task = world.actor(step.pid);
  return retOrErrno(world.run(task, call(task, file)));
}

/** The program of the recorder's processes, of which nothing but its name shows. */
const PROGRAM = '/init';

function open(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  const path = step.args.text('path');
  const flags = step.args.count('oflags', O_RDWR);
  const file = world.run(task, openPath(task, path, path === PROGRAM ? flags | O_CREAT : flags));
  if (typeof file === 'number') return retOrErrno(file);
  return addFile(world, step, step.args.text('as'), file);
}

export const fileOperations: Readonly<Record<string, Operation>> = {
  memfd: {
    arguments: ['name', 'mflags'],
    run: (world, step) => {
      const name = step.args.text('name');
      const flags = step.args.bits('mflags', MEMFD_FLAGS, 0);
      const { kernel } = world.system;
      if ((flags & MFD_HUGETLB) === 0) return addFile(world, step, name, memfdCreate(kernel, name, flags));
      const file = hugetlbMemfdCreate(kernel, name, flags);
      return typeof file === 'number' ? retOrErrno(file) : addFile(world, step, name, file);
    },
  },
  openro: {
    arguments: ['fd', 'as'],
    run: (world, step) => {
      const file = fileOf(world, step);
      return file === null ? bad() : addFile(world, step, step.args.text('as'), openAgain(file, true, false));
    },
  },
  ftruncate: {
    arguments: ['fd', 'len'],
    run: (world, step) =>
      onFile(world, step, (task, file) => fileTruncate(task, file, step.args.word('len'))),
  },
  fallocate: {
    arguments: ['fd', 'mode', 'off', 'len'],
    run: (world, step) =>
      onFile(world, step, (task, file) => {
        const mode = step.args.bits('mode', FALLOCATE_MODES);
        return fileFallocate(task, file, mode, step.args.word('off'), step.args.word('len'));
      }),
  },
  addseals: {
    arguments: ['fd', 'seals'],
    run: (world, step) =>
      onFile(world, step, (task, file) => fcntlAddSeals(task, file, step.args.bits('seals', SEALS))),
  },
  openpath: { arguments: ['path', 'as', 'oflags'], run: open },
  fread: { arguments: ['fd', 'off', 'len'], run: read },
  uread: { arguments: ['fd', 'addr', 'len', 'off'], run: (world, step) => userIo(world, step, sysPread) },
  uwrite: { arguments: ['fd', 'addr', 'len', 'off'], run: (world, step) => userIo(world, step, sysPwrite) },
  fwrite: { arguments: ['fd', 'off', 'len', 'val'], run: write },
};
