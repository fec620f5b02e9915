/** Which of our architectures a trace was recorded on. */
import type { Trace } from './trace.ts';

/** Names as `uname -m` gives them, and ours. */
const NAMES: Readonly<Record<string, string>> = { x86_64: 'x86_64', aarch64: 'arm64' };

/** Our name for the architecture of a trace; its own name when we have none for it. */
export function architectureOfTrace({ arch }: Trace): string {
  return Object.hasOwn(NAMES, arch) ? (NAMES[arch] as string) : arch;
}
