/** fork, exit, wait, setuid, PR_SET_DUMPABLE, PR_SET_MM_MAP, and the files /proc/PID/cmdline and environ. */

import { errnoName } from '../../../kernel/errno.ts';
import { doExit } from '../../../kernel/process/exit.ts';
import { sysFork } from '../../../kernel/process/fork.ts';
import { sysPrctlSetDumpable, sysSetuid } from '../../../kernel/process/set-credentials.ts';
import { type MmMap, sysPrctlSetMmMap } from '../../../kernel/process/set-mm-map.ts';
import { sysWait4 } from '../../../kernel/process/wait.ts';
import { readProcCmdline, readProcEnviron } from '../../../kernel/remote/proc-pid-cmdline.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno, values } from './operation.ts';

function fork(world: ReplayWorld, step: Step): OperationResult {
  const parent = world.actor(step.pid);
  const number = step.args.count('child');
  const child = world.run(parent, sysFork(parent, `process ${number}`));
  if (typeof child === 'number') return retOrErrno(child);
  world.adopt(number, child, step.pid);
  return values({ ret: number });
}

function wait(world: ReplayWorld, step: Step): OperationResult {
  const parent = world.actor(step.pid);
  const { pid, status } = world.run(parent, sysWait4(parent, world.pidOf(step.args.count('child')), 0));
  return values(pid < 0 ? { errno: errnoName(pid) } : { ret: 'reaped', status });
}

/** Names of the trace, and of the field they set. */
const MM_MAP_NAMES: Readonly<Record<string, keyof MmMap>> = {
  start_code: 'startCode',
  end_code: 'endCode',
  start_data: 'startData',
  end_data: 'endData',
  start_brk: 'startBrk',
  brk: 'brk',
  start_stack: 'startStack',
  arg_start: 'argStart',
  arg_end: 'argEnd',
  env_start: 'envStart',
  env_end: 'envEnd',
};

function setmm(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  const named = Object.entries(MM_MAP_NAMES).filter(([name]) => step.args.has(name));
  const map = Object.fromEntries(named.map(([name, field]) => [field, step.args.word(name)]));
  return retOrErrno(world.run(task, sysPrctlSetMmMap(task, map)));
}

/** Read by the supervisor, whose faults are counted. */
function procFile(world: ReplayWorld, step: Step, file: 'cmdline' | 'environ'): OperationResult {
  const reader = world.actor(step.by ?? 0);
  const length = step.args.count('len');
  const buffer = new Uint8Array(length);
  const pid = world.pidOf(step.pid);
  const call =
    file === 'cmdline'
      ? readProcCmdline(reader, pid, 0, buffer, length)
      : readProcEnviron(reader, pid, buffer, length);
  const { result, minflt } = world.counted(reader, call);
  return retOrErrno(result, { nz: buffer.slice(0, Math.max(result, 0)), minflt });
}

export const processOperations: Readonly<Record<string, Operation>> = {
  fork: { arguments: ['child'], run: fork },
  exit: {
    arguments: [],
    run: (world, step) => {
      const task = world.actor(step.pid);
      world.run(task, doExit(task, 0));
      return values({ ret: 'exited' });
    },
  },
  wait: { arguments: ['child'], run: wait },
  setuid: {
    arguments: ['uid'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      return retOrErrno(world.run(task, sysSetuid(task, step.args.count('uid'))));
    },
  },
  dumpable: {
    arguments: ['v'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      return retOrErrno(world.run(task, sysPrctlSetDumpable(task, step.args.count('v'))));
    },
  },
  setmm: { arguments: Object.keys(MM_MAP_NAMES), run: setmm },
  cmdline: { arguments: ['len'], run: (world, step) => procFile(world, step, 'cmdline') },
  environ: { arguments: ['len'], run: (world, step) => procFile(world, step, 'environ') },
};
