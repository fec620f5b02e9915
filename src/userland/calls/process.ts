/** The calls of `User` that make, end and change processes. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import type { Task } from '../../base/task.ts';
import { hexAddress } from '../../base/u64.ts';
import { sysCloneVm } from '../../kernel/process/clone-vm.ts';
import { sysExecve } from '../../kernel/process/exec.ts';
import { sysFork } from '../../kernel/process/fork.ts';
import { sysKill } from '../../kernel/process/kill.ts';
import { sysPrctlSetDumpable, sysSetuid } from '../../kernel/process/set-credentials.ts';
import { sysPrctlSetMmMap } from '../../kernel/process/set-mm-map.ts';
import { sysVfork } from '../../kernel/process/vfork.ts';
import { sysWait4 } from '../../kernel/process/wait.ts';
import { SIGKILL, SIGSEGV } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import type { Program } from '../scenario.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type { ExecArguments, WaitResult } from '../user.ts';
import {
  doneOrErrno,
  errnoFailure,
  exitCall,
  type ProcessContext,
  raise,
  raiseTagFault,
  returnToUser,
  systemCall,
} from './process-context.ts';

export function* compute(context: ProcessContext, cycles: number): Task<void> {
  context.calls++;
  yield context.accessPoint;
  // It has no outcome: a program that handles the signal gets it with its next call.
  if (!context.returnsSignal('SIGSEGV')) yield* raiseTagFault(context);
  if (!context.dead)
    context.run.system.machine.cpu(context.task.cpu).advance(byteCount(cycles, 'compute: cycles'));
  yield* returnToUser(context);
  if (!context.dead) context.calls--;
  else yield context.task.startPoint;
}

export function fork(context: ProcessContext, program: Program, wanted?: string): Task<Outcome<number>> {
  const { task, run } = context;
  const name = run.childName(task.name, wanted);
  const toOutcome = (child: TaskStruct | number): Outcome<number> => {
    if (typeof child === 'number') return errnoFailure(child);
    run.adopt(child, program);
    return success(child.pid);
  };
  return systemCall(context, 'fork', [name], sysFork(task, name, run.cpuFor(name) ?? task.cpu), toOutcome);
}

export function cloneVm(context: ProcessContext, program: Program, wanted?: string): Task<Outcome<number>> {
  const { task, run } = context;
  const name = run.childName(task.name, wanted);
  const toOutcome = (child: TaskStruct | number): Outcome<number> => {
    if (typeof child === 'number') return errnoFailure(child);
    run.adopt(child, program);
    return success(child.pid);
  };
  const call = sysCloneVm(task, name, run.cpuFor(name) ?? task.cpu);
  return systemCall(context, 'clone', ['CLONE_VM', name], call, toOutcome);
}

export function vfork(context: ProcessContext, program: Program, wanted?: string): Task<Outcome<number>> {
  const { task, run } = context;
  const name = run.childName(task.name, wanted);
  const start = (child: TaskStruct): void => run.adopt(child, program);
  const call = sysVfork(task, name, start, run.cpuFor(name) ?? task.cpu);
  return systemCall(context, 'vfork', [name], call, (child) =>
    typeof child === 'number' ? errnoFailure(child) : success(child.pid),
  );
}

const EXEC_ARGUMENTS = ['program', 'path', 'argv', 'envp'] as const;

/** The strings, or addresses of strings in the caller's memory. */
function argumentStrings(list: readonly (string | bigint)[], what: string): readonly (string | bigint)[] {
  const strings: unknown = list;
  const isList =
    Array.isArray(strings) && strings.every((item) => ['string', 'bigint'].includes(typeof item));
  if (isList) return list;
  throw new InputError(what, { expected: 'a list of texts, or addresses of texts', found: String(strings) });
}

export function* execve(context: ProcessContext, args: ExecArguments): Task<Outcome<never>> {
  checkKeys(args, EXEC_ARGUMENTS, 'execve');
  const { program, path = '/bin/program' } = args;
  if (typeof program !== 'function') {
    throw new InputError('execve: program is not a function', { expected: 'function* (u, share) {…}' });
  }
  const argv = argumentStrings(args.argv ?? [path], 'execve: argv');
  const envp = argumentStrings(args.envp ?? [], 'execve: envp');
  const { task } = context;
  const call = sysExecve(task, { filename: path, argv, envp });
  const shown = [path, `${argv.length} arguments`, `${envp.length} of the environment`];
  const outcome = yield* systemCall(context, 'execve', shown, call, doneOrErrno);
  if (!outcome.ok) {
    // Past the point of no return: nothing is left that could handle a signal.
    const fatal = task.pendingSignals.find(({ signal }) => signal === SIGSEGV);
    if (fatal === undefined) return outcome;
    context.forgetHandlers();
    context.calls++;
    yield* raise(context, fatal);
  } else context.executes = program;
  yield task.startPoint;
  throw new Error('a program went on after its exec');
}

export function* exit(context: ProcessContext, status: number): Task<Outcome<never>> {
  context.calls++;
  yield context.enterPoint;
  const interrupted = yield* exitCall(context, (byteCount(status, 'exit: status') & 0xff) << 8);
  if (interrupted !== null) {
    context.calls--;
    return interrupted;
  }
  yield context.task.startPoint;
  throw new Error('a process went on after its exit');
}

export function wait(context: ProcessContext, pid?: number): Task<Outcome<WaitResult>> {
  const call = sysWait4(context.task, pid ?? -1, 0);
  const shown = [pid === undefined ? 'any' : `${pid}`];
  return systemCall(context, 'wait4', shown, call, (result) =>
    result.pid < 0 ? errnoFailure(result.pid) : success(result),
  );
}

export function kill(context: ProcessContext, pid: number, signal: 'SIGKILL'): Task<Outcome<void>> {
  return systemCall(context, 'kill', [`${pid}`, signal], sysKill(context.task, pid, SIGKILL), doneOrErrno);
}

export function setuid(context: ProcessContext, uid: number): Task<Outcome<void>> {
  return systemCall(context, 'setuid', [`${uid}`], sysSetuid(context.task, uid), doneOrErrno);
}

export function setArguments(
  context: ProcessContext,
  address: bigint,
  bytes: Word,
  environmentBytes: Word,
): Task<Outcome<void>> {
  const argStart = word(address, 'setArguments: address');
  const argEnd = argStart + word(bytes, 'setArguments: bytes');
  const envEnd = argEnd + word(environmentBytes, 'setArguments: environmentBytes');
  const call = sysPrctlSetMmMap(context.task, { argStart, argEnd, envStart: argEnd, envEnd });
  return systemCall(
    context,
    'prctl',
    ['PR_SET_MM_MAP', hexAddress(argStart), hexAddress(argEnd)],
    call,
    doneOrErrno,
  );
}

export function setDumpable(context: ProcessContext, dumpable: boolean): Task<Outcome<void>> {
  const call = sysPrctlSetDumpable(context.task, dumpable ? 1 : 0);
  return systemCall(context, 'prctl', ['PR_SET_DUMPABLE', dumpable ? '1' : '0'], call, doneOrErrno);
}
