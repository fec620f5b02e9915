/**
 * PTRACE_PEEKDATA and PTRACE_POKEDATA by the supervisor: SEIZE, INTERRUPT, the request, DETACH; with `attach=0` the
 * request alone, which only a tracer may make.
 */
import {
  ptraceDetach,
  ptraceInterrupt,
  ptracePeekData,
  ptracePokeData,
  ptraceSeize,
} from '../../../kernel/remote/ptrace.ts';
import { hexBytes, repeatedWord } from '../bytes.ts';
import type { Step } from '../trace.ts';
import type { ReplayWorld } from '../world.ts';
import { type Operation, type OperationResult, retOrErrno } from './operation.ts';

function request(world: ReplayWorld, step: Step, write: boolean): OperationResult {
  const supervisor = world.actor(0);
  const pid = world.pidOf(step.pid);
  const attach = step.args.count('attach', 1) !== 0;
  if (attach) {
    const error = attachTo(world, pid);
    if (error < 0) return retOrErrno(error, {}, { at: 'attach' });
  }
  const address = step.args.word('addr');
  const word = write ? repeatedWord(step.args.word('val'), 8) : new Uint8Array(8);
  const call = write ? ptracePokeData : ptracePeekData;
  const { result, minflt } = world.counted(supervisor, call(supervisor, pid, address, word));
  if (attach) detachFrom(world, pid);
  return retOrErrno(result, write ? { minflt } : { value: hexBytes(word), minflt });
}

/** The supervisor becomes the tracer of `pid` and stops it: 0 or -errno. */
export function attachTo(world: ReplayWorld, pid: number): number {
  const supervisor = world.actor(0);
  const seized = world.run(supervisor, ptraceSeize(supervisor, pid));
  return seized < 0 ? seized : world.run(supervisor, ptraceInterrupt(supervisor, pid));
}

export function detachFrom(world: ReplayWorld, pid: number): void {
  const supervisor = world.actor(0);
  world.run(supervisor, ptraceDetach(supervisor, pid));
}

export const ptraceOperations: Readonly<Record<string, Operation>> = {
  pt_peek: { arguments: ['addr', 'attach'], run: (world, step) => request(world, step, false) },
  pt_poke: { arguments: ['addr', 'attach', 'val'], run: (world, step) => request(world, step, true) },
};
