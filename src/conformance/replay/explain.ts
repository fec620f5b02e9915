/** Why a user access of a replay went as it did: the page walk, entry by entry, and the rule that decided. */
import { accessOf, explainWalk, X86Mmu } from '../../arch/x86_64/index.ts';
import { hex } from '../../base/u64.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { System } from '../../userland/system.ts';

/**
 * The walk of an access that `task` would make now, as lines. It has the effects of a translation (fills, accessed
 * flags), so it is for the end of a replay. Empty for an architecture that cannot explain.
 */
export function explainAccess(
  system: System,
  task: TaskStruct,
  address: bigint,
  kind: 'read' | 'write' | 'fetch',
): string[] {
  const mmu = system.kernel.arch.mmus[task.cpu];
  if (!(mmu instanceof X86Mmu)) return [];
  const walk = explainWalk(mmu, address, accessOf(kind, true));
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
