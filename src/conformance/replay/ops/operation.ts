/** One operation of a trace: which arguments it knows, and how it is made. */
import { errnoName } from '../../../kernel/errno.ts';
import type { StepArguments } from '../arguments.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';

export interface OperationResult {
  /** In the trace's own words; `nz` holds the bytes themselves. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Lines for whoever looks for the cause of a difference; made only then. */
  readonly notes?: () => readonly string[];
}

export interface Operation {
  /** Arguments it takes into account; any other makes the trace unsupported. */
  readonly arguments: readonly string[];
  /** What these arguments ask for that is not built. */
  readonly missing?: (args: StepArguments) => readonly string[];
  readonly run: (world: ReplayWorld, step: Step) => OperationResult;
}

export const values = (record: Readonly<Record<string, unknown>>): OperationResult => ({ values: record });

/** A negative result is an errno; otherwise `{ret}` and whatever else belongs to success. */
export function retOrErrno(
  result: number,
  more: Readonly<Record<string, unknown>> = {},
  onError: Readonly<Record<string, unknown>> = {},
): OperationResult {
  return values(result < 0 ? { errno: errnoName(result), ...onError } : { ret: result, ...more });
}

/** The same of a call that returns an address: hexadecimal, negative numbers are errnos. */
export function addressOrErrno(result: bigint): OperationResult {
  return values(result < 0n ? { errno: errnoName(Number(result)) } : { ret: `0x${result.toString(16)}` });
}
