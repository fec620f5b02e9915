/** madvise, process_madvise, mlock and its like, mincore, msync. */

import type { Task } from '../../../base/task.ts';
import * as advice from '../../../kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../kernel/mm/madvise/madvise.ts';
import { sysMincore } from '../../../kernel/mm/mincore.ts';
import { MLOCK_ONFAULT, sysMlock, sysMlock2, sysMunlock } from '../../../kernel/mm/mlock.ts';
import {
  MCL_CURRENT,
  MCL_FUTURE,
  MCL_ONFAULT,
  sysMlockall,
  sysMunlockall,
} from '../../../kernel/mm/mlockall.ts';
import { MS_ASYNC, MS_INVALIDATE, MS_SYNC, sysMsync } from '../../../kernel/mm/msync.ts';
import { sysProcessMadvise } from '../../../kernel/remote/process-madvise.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno, values } from './operation.ts';

/** Advices by the names traces use: without MADV_. */
const ADVICES: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(advice)
    .filter(([name]) => name.startsWith('MADV_'))
    .map(([name, value]) => [name.slice('MADV_'.length), value as number]),
);

/** A call that user memory's faults may hold up: `block` says that the recorder gave it a moment only. */
const RANGE = ['addr', 'len', 'block'];

type RangeCall = (task: TaskStruct, address: bigint, length: bigint, step: Step) => Task<number>;

const onRange =
  (call: RangeCall) =>
  (world: ReplayWorld, step: Step): OperationResult => {
    const task = world.actor(step.pid);
    const body = call(task, step.args.word('addr'), step.args.word('len'), step);
    return world.call(step, task, body, (result) => retOrErrno(result));
  };

/** One digit a page. */
function mincore(world: ReplayWorld, step: Step): OperationResult {
  const task = world.actor(step.pid);
  const [address, length] = [step.args.word('addr'), step.args.word('len')];
  const vector = new Uint8Array(Number((length + 0xfffn) >> 12n));
  const result = world.run(task, sysMincore(task, address, length, vector));
  if (result < 0) return retOrErrno(result);
  return values({ ret: result, vec: Array.from(vector, String).join('') });
}

function processMadvise(world: ReplayWorld, step: Step): OperationResult {
  const { args } = step;
  const caller = world.actor(step.by ?? 0);
  const ranges = args.vectors('riov') ?? [];
  const call = sysProcessMadvise(
    caller,
    world.pidOf(step.pid),
    ranges,
    ranges.length,
    args.bits('adv', ADVICES),
    args.count('flags', 0),
  );
  return world.call(step, caller, call, (result) => retOrErrno(result));
}

export const adviceOperations: Readonly<Record<string, Operation>> = {
  madvise: {
    arguments: [...RANGE, 'adv'],
    run: onRange((task, address, length, { args }) =>
      sysMadvise(task, address, length, args.bits('adv', ADVICES)),
    ),
  },
  process_madvise: { arguments: ['riov', 'adv', 'flags'], run: processMadvise },
  mlock: { arguments: RANGE, run: onRange((task, address, length) => sysMlock(task, address, length)) },
  mlock2: {
    arguments: [...RANGE, 'flags'],
    run: onRange((task, address, length, { args }) =>
      sysMlock2(task, address, length, args.bits('flags', { ONFAULT: MLOCK_ONFAULT })),
    ),
  },
  munlock: { arguments: RANGE, run: onRange(sysMunlock) },
  mlockall: {
    arguments: ['flags', 'block'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      const flags = step.args.bits('flags', { MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT });
      return world.call(step, task, sysMlockall(task, flags), (result) => retOrErrno(result));
    },
  },
  munlockall: {
    arguments: ['block'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      return retOrErrno(world.run(task, sysMunlockall(task)));
    },
  },
  mincore: { arguments: RANGE, run: mincore },
  msync: {
    arguments: [...RANGE, 'flags'],
    run: onRange((task, address, length, { args }) =>
      sysMsync(task, address, length, args.bits('flags', { MS_ASYNC, MS_INVALIDATE, MS_SYNC })),
    ),
  },
};
