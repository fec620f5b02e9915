/**
 * The architecture that a test runs on: `vitest.config.ts` runs the tests of the kernel and of user space once for each.
 * What differs between them stands in the test, by name.
 */
import { inject } from 'vitest';
import type { KernelArchitecture } from '../../src/arch/kernel-architecture.ts';
import type { ProcessorOptions } from '../../src/arch/processor-options.ts';
import { architectureNamed } from '../../src/arch/registry.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly architecture: KernelArchitecture['name'];
  }
}

export const architectureName = inject('architecture');
export const architecture = architectureNamed(architectureName);

/** A CPU model with 5 levels of page tables, protection keys and shadow stacks (x86-64), or 52-bit addresses (arm64). */
export const CPU_MODEL_OF_5_LEVELS = { x86_64: 'intel-sapphire-rapids', arm64: 'arm64-complete' }[
  architectureName
];

/** Processors on which the kernel takes other paths: the default, 5 levels, and one without the newer features. */
export const PROCESSORS: readonly ProcessorOptions[] = [
  {},
  { levels: 5, cpuModel: CPU_MODEL_OF_5_LEVELS },
  // arm64: software sets Accessed and Dirty, TLBI goes page by page, no tags.
  ...(architectureName === 'arm64' ? [{ cpuModel: 'cortex-a72' }] : []),
];
