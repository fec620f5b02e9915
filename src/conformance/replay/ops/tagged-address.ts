/** The tagged-address ABI and the tag checks of a process: prctl, the register set of a debugger, the CPU's preference. */

import { NT_ARM_TAGGED_ADDR_CTRL } from '../../../arch/user-abi.ts';
import type { Task } from '../../../base/task.ts';
import {
  PR_GET_TAGGED_ADDR_CTRL,
  PR_SET_TAGGED_ADDR_CTRL,
  sysPrctlGetTaggedAddrCtrl,
  sysPrctlSetTaggedAddrCtrl,
  writeTcfPreferred,
} from '../../../kernel/process/tagged-address.ts';
import { ptraceGetRegset, ptraceSetRegset } from '../../../kernel/remote/ptrace-regset.ts';
import { Unsupported } from '../../../kernel/unsupported.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno } from './operation.ts';
import { attachTo, detachFrom } from './ptrace.ts';

function prctl(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  const option = step.args.count('opt');
  const [second, third] = [step.args.word('a2', 0n), step.args.word('a3', 0n)];
  if (option === PR_SET_TAGGED_ADDR_CTRL) {
    return retOrErrno(world.run(task, sysPrctlSetTaggedAddrCtrl(task, second, [third])));
  }
  if (option === PR_GET_TAGGED_ADDR_CTRL) return retOrErrno(sysPrctlGetTaggedAddrCtrl(task, [second, third]));
  throw new Unsupported(`prctl ${option}`);
}

/** SEIZE, INTERRUPT, the request, DETACH, as for words of memory. */
function regset(world: ReplayWorld, step: Step, write: boolean): OperationResult {
  const supervisor = world.actor(0);
  const pid = world.pidOf(step.pid);
  const failure = attachTo(world, pid);
  if (failure < 0) return retOrErrno(failure, {}, { at: 'attach' });
  const word = new Uint8Array(8);
  const view = new DataView(word.buffer);
  if (write) view.setBigUint64(0, step.args.word('val'), true);
  const request = write ? ptraceSetRegset : ptraceGetRegset;
  const call = request(supervisor, pid, NT_ARM_TAGGED_ADDR_CTRL, word);
  const { result, minflt } = world.counted(supervisor, call);
  detachFrom(world, pid);
  const value = `0x${view.getBigUint64(0, true).toString(16)}`;
  return retOrErrno(result, write ? { minflt } : { value, minflt });
}

const PREFERRED = /^\/sys\/devices\/system\/cpu\/cpu(\d+)\/mte_tcf_preferred$/;

/** The supervisor runs for it, so that the CPU switches tasks before the process goes on. */
function supervisorWrite(world: ReplayWorld, step: Step): OperationResult {
  const path = step.args.text('path');
  const cpu = PREFERRED.exec(path)?.[1];
  if (cpu === undefined) throw new Unsupported(`writing ${path}`);
  const supervisor = world.actor(0);
  function* body(): Task<number> {
    yield supervisor.credentialsWrite;
    return writeTcfPreferred(world.system.kernel, Number(cpu), step.args.text('text'));
  }
  return retOrErrno(world.run(supervisor, body()));
}

export const taggedAddressOperations: Readonly<Record<string, Operation>> = {
  prctl: { arguments: ['opt', 'a2', 'a3'], run: prctl },
  pt_getregset: { arguments: [], run: (world, step) => regset(world, step, false) },
  pt_setregset: { arguments: ['val'], run: (world, step) => regset(world, step, true) },
  sup_write: { arguments: ['path', 'text'], run: supervisorWrite },
};
