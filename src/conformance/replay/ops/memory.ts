/** mmap, munmap, mprotect, brk, and what instructions of the process do to memory. */

import { PROT_BTI, PROT_MTE } from '../../../arch/user-abi.ts';
import type { Task } from '../../../base/task.ts';
import { sysBrk } from '../../../kernel/mm/brk.ts';
import * as mman from '../../../kernel/mm/mman.ts';
import { sysMmap } from '../../../kernel/mm/mmap.ts';
import { sysMprotect } from '../../../kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../kernel/mm/munmap.ts';
import { enterFromUserMode, exitToUserMode, signalAddress } from '../../../kernel/process/user-mode.ts';
import type { SignalInfo } from '../../../kernel/signal.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { userFetch, userLoad, userStore } from '../../../userland/calls/access.ts';
import { signalCodeName, signalName } from '../../../userland/calls/signal-names.ts';
import type { StepArguments } from '../arguments.ts';
import { hexBytes, repeatedWord } from '../bytes.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { fileOf } from './files.ts';
import { addressOrErrno, type Operation, type OperationResult, retOrErrno, values } from './operation.ts';

/** Flags of mmap by the names traces use. */
const MAP_FLAGS: Readonly<Record<string, number>> = {
  SHARED: mman.MAP_SHARED,
  PRIVATE: mman.MAP_PRIVATE,
  SHARED_VALIDATE: mman.MAP_SHARED_VALIDATE,
  DROPPABLE: mman.MAP_DROPPABLE,
  FIXED: mman.MAP_FIXED,
  ANONYMOUS: mman.MAP_ANONYMOUS,
  GROWSDOWN: mman.MAP_GROWSDOWN,
  LOCKED: mman.MAP_LOCKED,
  NORESERVE: mman.MAP_NORESERVE,
  POPULATE: mman.MAP_POPULATE,
  NONBLOCK: mman.MAP_NONBLOCK,
  STACK: mman.MAP_STACK,
  HUGETLB: mman.MAP_HUGETLB,
  SYNC: mman.MAP_SYNC,
  FIXED_NOREPLACE: mman.MAP_FIXED_NOREPLACE,
};

/** Protections by letter. */
const PROT_LETTERS: Readonly<Record<string, number>> = {
  r: mman.PROT_READ,
  w: mman.PROT_WRITE,
  x: mman.PROT_EXEC,
  m: PROT_MTE,
  b: PROT_BTI,
  d: mman.PROT_GROWSDOWN,
  u: mman.PROT_GROWSUP,
};

function protection(args: StepArguments): number {
  const text = args.text('prot', '');
  if (text === '' || /^(0x)?\d/.test(text)) return Number(args.word('prot'));
  if (text === 'none') return mman.PROT_NONE;
  return [...text].reduce((bits, letter) => bits | args.bitOf('prot', letter, PROT_LETTERS), 0);
}

function mmap(world: ReplayWorld, step: Step): OperationResult {
  const { args } = step;
  const task = world.actor(step.pid);
  const [address, length, offset] = [args.word('addr'), args.word('len'), args.word('off', 0n)];
  const flags = args.bits('flags', MAP_FLAGS);
  const call = sysMmap(task, address, length, protection(args), flags, fileOf(world, step), offset);
  const result = world.run(task, call);
  return result < 0n ? addressOrErrno(result) : values({ ret: world.place(result) });
}

/** The access, and the system call that the recorder makes after it: there a late fault shows. */
function* thenEnterKernel(task: TaskStruct, body: Task<SignalInfo | null>): Task<SignalInfo | null> {
  const signal = yield* body;
  enterFromUserMode(task);
  const late = exitToUserMode(task);
  return signal ?? late;
}

/**
 * What instructions of the process did.
 * @param success what is recorded of one that went through, with the faults that it took
 */
export function access(
  world: ReplayWorld,
  step: Step,
  body: Task<SignalInfo | null>,
  success: (minflt: number) => Readonly<Record<string, unknown>>,
): OperationResult {
  const task = world.actor(step.pid);
  const notes = (): readonly string[] => world.explainAccess(task, step);
  return world.calls.run(step.op, task, thenEnterKernel(task, body), (result, minflt) => {
    if (result === null) return { values: success(minflt), notes };
    const sig = signalName(result.signal);
    const code = signalCodeName(result.signal, result.code);
    const addr = signalAddress(task, result, step.args.count('expose', 0) !== 0);
    return { values: { sig, code, addr: `0x${addr.toString(16)}`, minflt }, notes };
  });
}

export const memoryOperations: Readonly<Record<string, Operation>> = {
  mmap: { arguments: ['addr', 'len', 'prot', 'flags', 'fd', 'off'], run: mmap },
  munmap: {
    // Random scripts give it the advice of the madvise that it would otherwise have been.
    arguments: ['addr', 'len', 'adv'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      return retOrErrno(world.run(task, sysMunmap(task, step.args.word('addr'), step.args.word('len'))));
    },
  },
  mprotect: {
    arguments: ['addr', 'len', 'prot'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      const [address, length] = [step.args.word('addr'), step.args.word('len')];
      return retOrErrno(world.run(task, sysMprotect(task, address, length, protection(step.args))));
    },
  },
  brk: {
    arguments: ['addr'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      return addressOrErrno(world.run(task, sysBrk(task, step.args.word('addr'))));
    },
  },
  read: {
    arguments: ['addr', 'len', 'expose'],
    run: (world, step) => {
      const bytes = new Uint8Array(step.args.count('len'));
      const body = userLoad(world.actor(step.pid), step.args.word('addr'), bytes);
      return access(world, step, body, (minflt) => ({ ret: bytes.length, value: hexBytes(bytes), minflt }));
    },
  },
  write: {
    arguments: ['addr', 'len', 'val'],
    run: (world, step) => {
      const bytes = repeatedWord(step.args.word('val'), step.args.count('len'));
      const body = userStore(world.actor(step.pid), step.args.word('addr'), bytes);
      return access(world, step, body, (minflt) => ({ ret: bytes.length, minflt }));
    },
  },
  exec: {
    arguments: ['addr'],
    run: (world, step) => {
      const body = userFetch(world.actor(step.pid), step.args.word('addr'));
      return access(world, step, body, (minflt) => ({ ret: 'fetched', minflt }));
    },
  },
};
