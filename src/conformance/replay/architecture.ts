/** Which of our machines a trace was recorded on. */
import type { ProcessorOptions } from '../../arch/processor-options.ts';
import type { KernelConfig } from '../../kernel/kernel.ts';
import type { Trace } from './trace.ts';

/** Names as `uname -m` gives them, and ours. */
const NAMES: Readonly<Record<string, string>> = { x86_64: 'x86_64', aarch64: 'arm64' };

/** Our name for the architecture of a trace; its own name when we have none for it. */
export function architectureOfTrace({ arch }: Trace): string {
  return Object.hasOwn(NAMES, arch) ? (NAMES[arch] as string) : arch;
}

/**
 * What of the processor shows in traces. The arm64 kernel was built for addresses of 52 bits and had them: a hint above
 * 48 bits is taken for a wish to go there.
 */
export function processorOfTrace(trace: Trace): ProcessorOptions {
  return architectureOfTrace(trace) === 'arm64' ? { levels: 5 } : {};
}

/** The last stable release that was recorded without VM_MAYBE_GUARD; 6.18.44 had it. */
const LAST_WITHOUT_GUARD_FLAG = 15;

/** /proc/sys/vm/nr_hugepages of the recorders: pages of 2 MiB. */
const RECORDED_HUGE_PAGES = 8;

/**
 * What of the recorded kernel's configuration shows: the x86-64 one was built without CONFIG_MEMORY_FAILURE, the arm64 one
 * is older than the flag of VMAs with guards, and arm64 has no CONFIG_PT_RECLAIM.
 */
export function kernelOfTrace(trace: Trace): Partial<KernelConfig> {
  const x86 = architectureOfTrace(trace) === 'x86_64';
  const patch = /^6\.18\.(\d+)/.exec(trace.kernel)?.[1];
  return {
    hugepages2M: RECORDED_HUGE_PAGES,
    memoryFailure: !x86,
    ptReclaim: x86,
    maybeGuardFlag: patch === undefined || Number(patch) > LAST_WITHOUT_GUARD_FLAG,
  };
}
