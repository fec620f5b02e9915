/**
 * Fetching an instruction where breakpoints of uprobes may be: the bytes are looked at, and a breakpoint is an exception
 * that the kernel handles. In an address space without uprobes they mean nothing, as all instructions do.
 * Left out: breakpoints of the program where no uprobe ever was, which would be a signal at once.
 * @see Linux kernel/events/uprobes.c, `uprobe_pre_sstep_notifier`; arch/x86/kernel/traps.c, `do_int3`
 */
import { Access } from '../../arch/access.ts';
import type { Task } from '../../base/task.ts';
import { highHalf, lowHalf } from '../../base/u64.ts';
import { BreakpointOutcome, handleBreakpoint } from '../../kernel/consumers/uprobes/hit.ts';
import { MMF_HAS_UPROBES } from '../../kernel/mm/mm.ts';
import { enterFromUserMode, exitToUserMode } from '../../kernel/process/user-mode.ts';
import { SI_KERNEL, SIGTRAP, type SignalInfo } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { userFetch } from './access.ts';

/** In the step in which the fetch went through. */
function isBreakpoint({ kernel, cpu, mm }: TaskStruct, address: bigint): boolean {
  if (mm === null || (mm.flagBits & MMF_HAS_UPROBES) === 0) return false;
  const { breakpoint } = kernel.arch.probes;
  if (address % BigInt(breakpoint.length) !== 0n) return false;
  const bytes = new Uint8Array(breakpoint.length);
  const mmu = kernel.arch.mmus[cpu];
  const fault = mmu?.readBytes(highHalf(address), lowHalf(address), Access.Fetch | Access.User, bytes);
  return fault === 0 && breakpoint.every((byte, at) => byte === bytes[at]);
}

/** The instruction is through: null; or the signal that it ended with. */
export function* fetchInstruction(task: TaskStruct, address: bigint): Task<SignalInfo | null> {
  for (;;) {
    const signal = yield* userFetch(task, address);
    if (signal !== null || !isBreakpoint(task, address)) return signal;
    enterFromUserMode(task);
    const outcome = yield* handleBreakpoint(task, address);
    const trap = { signal: SIGTRAP, code: SI_KERNEL, address: 0n };
    const raised = exitToUserMode(task, outcome === BreakpointOutcome.Trap ? trap : null);
    if (raised !== null || outcome === BreakpointOutcome.Stepped) return raised;
  }
}
