/** Why a user access of a replay went as it did: the page walk, entry by entry, and the rule that decided. */
import { accessOf } from '../../arch/access.ts';
import { architectureNamed } from '../../arch/registry.ts';
import { hex } from '../../base/u64.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { System } from '../../userland/system.ts';

/**
 * The walk of an access that `task` would make now, as lines. It has the effects of a translation (fills, accessed
 * flags), so it is for the end of a replay.
 */
export function explainAccess(
  system: System,
  task: TaskStruct,
  address: bigint,
  kind: 'read' | 'write' | 'fetch',
): string[] {
  const { arch } = system.kernel;
  const walk = architectureNamed(arch.name).explainOnCpu(arch, task.cpu, address, accessOf(kind, true));
  const steps = walk.steps.map((step) => {
    if (step.kind !== 'entry') return `  ${step.text}`;
    const at = step.address === null ? `from the ${step.source}` : `at ${hex(step.address)}`;
    return `  ${step.name} ${at} = ${hex(step.value)} ${step.summary}`;
  });
  const { outcome } = walk;
  const end =
    outcome.kind === 'fault'
      ? `${outcome.name} ${outcome.syndrome.summary}`.trimEnd()
      : `physical address ${hex(outcome.physicalAddress)}`;
  return [
    `the walk of ${hex(address)} (${walk.accessWords}) now:`,
    ...steps,
    ...walk.rules.map((rule) => `  ${rule}`),
    `  ${end}`,
  ];
}
