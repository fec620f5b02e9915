/** `--arch`: the architecture of that name. */
import type { KernelArchitecture } from '../arch/kernel-architecture.ts';
import { oneOf } from './option-values.ts';

const names = ['x86_64', 'arm64'] as const;

/** @throws InputError for a name that is unknown */
export async function architectureOption(text: string): Promise<KernelArchitecture> {
  const name = oneOf('option --arch', text, names);
  const { architectureNamed } = await import('../arch/registry.ts');
  return architectureNamed(name);
}
