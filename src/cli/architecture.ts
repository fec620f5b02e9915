/** `--arch`: the architecture of that name, or one line that says it is not built. */
import { InputError } from '../base/input-error.ts';
import type { SystemArchitecture } from '../userland/system.ts';
import { oneOf } from './option-values.ts';

const names = ['x86_64', 'arm64'] as const;
export type ArchitectureName = (typeof names)[number];

/** @throws InputError for a name that is unknown, or known and not built */
export async function architectureNamed(text: string): Promise<SystemArchitecture> {
  const name = oneOf('option --arch', text, names);
  const { kernelArchitectures } = await import('../arch/registry.ts');
  const found = kernelArchitectures.find((architecture) => architecture.name === name);
  if (found === undefined)
    throw new InputError(`option --arch: ${name} is not built yet`, { expected: 'x86_64' });
  return found;
}
