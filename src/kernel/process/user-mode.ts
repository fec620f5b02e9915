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
  if (current.kernel.watcher !== null) current.kernel.watcher.entered(current);
}

/**
 * A system call has begun. Null: make it. Else a tag check of the program has failed before: the call is not made
 * (`-ERESTARTNOINTR`), its signal is delivered on the way back, and only if the handler returns does the program make
 * the call again.
 * @see Linux arch/arm64/kernel/syscall.c, `el0_svc_common`
 */
export function enterSystemCall(current: TaskStruct): SignalInfo | null {
  enterFromUserMode(current);
  return takeTagFault(current);
}

/**
 * The task is about to run its program again, after an exception that has led to the signal `raised`, if any. Gives the
 * signal that is delivered: that one, else the one of a tag check that had failed before. A second SIGSEGV is lost
 * while one is pending (`legacy_queue`); behind any other signal the tag check's stays pending.
 * @see Linux arch/arm64/kernel/signal.c, `do_notify_resume`; kernel/signal.c, `dequeue_synchronous_signal`
 */
export function exitToUserMode(current: TaskStruct, raised: SignalInfo | null = null): SignalInfo | null {
  const late = raised === null || raised.signal === SIGSEGV ? takeTagFault(current) : null;
  if (current.kernel.watcher !== null) current.kernel.watcher.left(current);
  current.kernel.arch.exitToUserMode(current.cpu);
  return raised ?? late;
}

/**
 * The signal that waits for the task because of a tag check that failed asynchronously, if any: it has no address. By
 * itself for a task that an interrupt had stopped, before it runs its next instruction.
 */
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
