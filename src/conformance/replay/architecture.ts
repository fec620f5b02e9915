/** Which of our machines a trace was recorded on. */
import type { ProcessorOptions } from '../../arch/processor-options.ts';
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
