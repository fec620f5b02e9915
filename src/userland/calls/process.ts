/** The calls of `User` that make, end and change processes. What they mean is said there. */
import type { Task } from '../../base/task.ts';
import { hexAddress } from '../../base/u64.ts';
import { sysFork } from '../../kernel/process/fork.ts';
import { sysKill } from '../../kernel/process/kill.ts';
import { sysPrctlSetDumpable, sysSetuid } from '../../kernel/process/set-credentials.ts';
import { sysPrctlSetMmMap } from '../../kernel/process/set-mm-map.ts';
import { sysWait4 } from '../../kernel/process/wait.ts';
import { SIGKILL } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import type { Program } from '../scenario.ts';
import { byteCount, type Word, word } from '../units.ts';
import type { WaitResult } from '../user.ts';
import {
  doneOrErrno,
  errnoFailure,
  exitCall,
  type ProcessContext,
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
