/** memfd and what a process does to one by its descriptor: ftruncate, pread, pwrite, opening it again. */
import { EBADF, errnoName } from '../../../kernel/errno.ts';
import { sysPread, sysPwrite } from '../../../kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../../kernel/mm/ftruncate.ts';
import type { MappedFile } from '../../../kernel/mm/mapped-file.ts';
import { fileRead, fileWrite, memfdCreate, openAgain } from '../../../kernel/mm/memfd.ts';
import type { StepArguments } from '../arguments.ts';
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

/** Files that may be sealed are built, sealing is not (`addseals`); nor is hugetlb. */
function missingFlags(args: StepArguments): readonly string[] {
  const names = args.namesOf('mflags');
  const known = new Set(['MFD_ALLOW_SEALING', 'MFD_CLOEXEC']);
  if (names.length > 0) return names.filter((name) => !known.has(name)).map((name) => `with ${name}`);
  return args.word('mflags', 0n) === 0n ? [] : ['with flags'];
}

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

export const fileOperations: Readonly<Record<string, Operation>> = {
  memfd: {
    arguments: ['name', 'mflags'],
    missing: missingFlags,
    run: (world, step) => {
      const name = step.args.text('name');
      return addFile(world, step, name, memfdCreate(world.system.kernel, name));
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
    run: (world, step) => {
      const file = fileOf(world, step);
      if (file === null) return bad();
      const task = world.actor(step.pid);
      return retOrErrno(world.run(task, fileTruncate(task, file, step.args.word('len'))));
    },
  },
  fread: { arguments: ['fd', 'off', 'len'], run: read },
  uread: { arguments: ['fd', 'addr', 'len', 'off'], run: (world, step) => userIo(world, step, sysPread) },
  uwrite: { arguments: ['fd', 'addr', 'len', 'off'], run: (world, step) => userIo(world, step, sysPwrite) },
  fwrite: { arguments: ['fd', 'off', 'len', 'val'], run: write },
};
