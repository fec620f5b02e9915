/**
 * The architecture that a test runs on: `vitest.config.ts` runs the tests of the kernel and of user space once for each.
 * What holds on one only says so with `onlyOn`.
 */
import { inject } from 'vitest';
import type { KernelArchitecture } from '../../src/arch/kernel-architecture.ts';
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

/** For `it.runIf` and `describe.runIf`. */
export const onlyOn = (name: KernelArchitecture['name']): boolean => architectureName === name;
