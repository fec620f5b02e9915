/** `--arch`: the architecture of that name, or one line that says it is not built. */
import { InputError } from '../base/input-error.ts';
import type { SystemArchitecture } from '../userland/system.ts';
import { oneOf } from './option-values.ts';

const names = ['x86_64', 'arm64'] as const;

/** @throws InputError for a name that is unknown, or known and not built */
export async function architectureOption(text: string): Promise<SystemArchitecture> {
  const name = oneOf('option --arch', text, names);
  if (name === 'arm64') {
    throw new InputError('option --arch: arm64 is not built yet', { expected: 'x86_64' });
  }
  const { architectureNamed } = await import('../arch/registry.ts');
  return architectureNamed(name);
}
