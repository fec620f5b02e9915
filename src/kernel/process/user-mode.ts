/**
 * The border between a program and the kernel: what is looked at when a task comes in, and when it goes back.
 * Left out: what `exit_to_user_mode_loop` does besides (userland sees to fatal signals and tracing stops).
 * @see Linux arch/arm64/kernel/entry.S, `kernel_entry` and `kernel_exit`; kernel/entry/common.c; arch/arm64/kernel/signal.c,
 * `do_notify_resume`
 */
import { SEGV_MTEAERR, SIGSEGV, type SignalInfo } from '../signal.ts';
import type { TaskStruct } from '../task-struct.ts';

/** A system call, an exception or an interrupt has begun. */
export function enterFromUserMode(current: TaskStruct): void {
  current.kernel.arch.enterFromUserMode(current.cpu);
}

/**
 * The task is about to run its program again. The signal that waits for it because of a tag check that failed
 * asynchronously, if any: it has no address.
 */
export function exitToUserMode(current: TaskStruct): SignalInfo | null {
  const signal = takeTagFault(current);
  current.kernel.arch.exitToUserMode(current.cpu);
  return signal;
}

/** The same for a task that an interrupt had stopped. */
export function takeTagFault(current: TaskStruct): SignalInfo | null {
  const failed = current.kernel.arch.memoryTags?.takeAsynchronousFault(current.thread) === true;
  return failed ? { signal: SIGSEGV, code: SEGV_MTEAERR, address: 0n } : null;
}

/**
 * si_addr as a handler sees it.
 * @param exposeTagBits the handler was set with SA_EXPOSE_TAGBITS
 * @see Linux kernel/signal.c, `hide_si_addr_tag_bits`
 */
export function signalAddress(current: TaskStruct, info: SignalInfo, exposeTagBits: boolean): bigint {
  if (exposeTagBits) return info.address;
  return current.kernel.arch.untaggedSignalAddress(info.address, info.signal, info.code);
}
