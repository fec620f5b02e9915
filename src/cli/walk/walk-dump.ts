/** `tablewalk walk --dump`: through the page tables of a core. */
import { accessOf } from '../../arch/access.ts';
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { openDump } from '../dump-options.ts';
import { jsonText } from '../json.ts';
import type { Session } from '../session.ts';
import { type WalkOptions, wantedAccess } from './options.ts';

export async function walkDump(
  file: string,
  arguments_: readonly string[],
  options: WalkOptions,
  session: Session,
): Promise<void> {
  const { addresses, kind } = wantedAccess(arguments_, options);
  const { walkText } = await import('../../report/walk-text.ts');
  const { dumpHeadText } = await import('../../report/maps-text.ts');
  const dump = await openDump(file, options);
  const access = accessOf(kind, options.user === true);
  const walks = addresses.map((address) => dump.explain(address, access));
  if (options.json) {
    const { walkJson } = await import('../../report/walk-json.ts');
    session.print(jsonText({ walks: walks.map(walkJson) }));
    return;
  }
  session.print(dumpHeadText(dump));
  for (const walk of walks) {
    session.print(`\n${walkText(walk, { fields: options.brief !== true })}\n`);
    if (options.user !== true && isRefusedToKernel(walk)) {
      session.line('This was an access of the kernel to a user page; --user asks as the process does.');
    }
  }
}

/** Did SMAP, SMEP or PAN refuse it, which says nothing about what the process may do? */
function isRefusedToKernel({ outcome, rules }: ExplainedWalk): boolean {
  return outcome.kind === 'fault' && rules.some((rule) => /\b(SM[AE]P|E?PAN)\b/.test(rule));
}
