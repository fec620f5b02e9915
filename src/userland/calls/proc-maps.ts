/** The calls of `User` that read what there is in an address space. What they mean is said there. */
import type { Task } from '../../base/task.ts';
import type { MapsEntry, SmapsEntry } from '../../kernel/mm/smaps.ts';
import {
  readProcMaps,
  readProcSmaps,
  readProcSmapsRollup,
  type SmapsRollup,
} from '../../kernel/remote/proc-pid-smaps.ts';
import { type Outcome, success } from '../outcome.ts';
import { errnoFailure, type ProcessContext, systemCall } from './process-context.ts';

function readFile<T>(
  context: ProcessContext,
  path: string,
  call: Task<T | number>,
): Task<Outcome<Exclude<T, number>>> {
  return systemCall(context, 'read', [path], call, (result) =>
    typeof result === 'number' ? errnoFailure(result) : success(result as Exclude<T, number>),
  );
}

export function procMaps(context: ProcessContext, pid: number): Task<Outcome<readonly MapsEntry[]>> {
  return readFile(context, `/proc/${pid}/maps`, readProcMaps(context.task, pid));
}

export function procSmaps(context: ProcessContext, pid: number): Task<Outcome<readonly SmapsEntry[]>> {
  return readFile(context, `/proc/${pid}/smaps`, readProcSmaps(context.task, pid));
}

export function procSmapsRollup(context: ProcessContext, pid: number): Task<Outcome<SmapsRollup>> {
  return readFile(context, `/proc/${pid}/smaps_rollup`, readProcSmapsRollup(context.task, pid));
}
