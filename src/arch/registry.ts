/** The architectures by name, for whoever puts a machine and a kernel together. Generic kernel code never looks here. */
import { ARM64 } from './arm64/kernel/architecture.ts';
import type { KernelArchitecture } from './kernel-architecture.ts';
import { X86_64 } from './x86_64/kernel/architecture.ts';

const kernelArchitectures: readonly KernelArchitecture[] = [X86_64, ARM64];

/** @throws RangeError when it is not built */
export function architectureNamed(name: string): KernelArchitecture {
  const found = kernelArchitectures.find((architecture) => architecture.name === name);
  if (found === undefined) throw new RangeError(`architecture ${name} is not built`);
  return found;
}
