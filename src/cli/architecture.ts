/** `--arch`: the architecture of that name, or the one that a scenario is for. */

import type { KernelArchitecture } from '../arch/kernel-architecture.ts';
import { InputError } from '../base/input-error.ts';
import type { Scenario } from '../userland/scenario.ts';
import { oneOf } from './option-values.ts';

const names = ['x86_64', 'arm64'] as const;

/** @throws InputError for a name that is unknown */
export async function architectureOption(text: string): Promise<KernelArchitecture> {
  const name = oneOf('option --arch', text, names);
  const { architectureNamed } = await import('../arch/registry.ts');
  return architectureNamed(name);
}

/** The one that was asked for; else the one that the scenario is for; else x86-64. */
export async function scenarioArchitecture(
  asked: KernelArchitecture | null,
  { title, arch, file }: Scenario,
): Promise<KernelArchitecture> {
  if (arch !== undefined && arch !== 'both' && !names.some((name) => name === arch)) {
    throw new InputError(`the scenario "${title}" is for an unknown architecture`, {
      ...(file === undefined ? {} : { file }),
      expected: [...names, 'both'].join(', '),
      found: arch,
    });
  }
  return asked ?? (await architectureOption(names.find((name) => name === arch) ?? 'x86_64'));
}
