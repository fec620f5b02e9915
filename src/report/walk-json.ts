/** An explained walk for `--json`: sizes as numbers, all 64-bit words as they are. */
import type { ExplainedWalk } from '../arch/explained-walk.ts';

export function walkJson(walk: ExplainedWalk): object {
  const { outcome, granuleBytes } = walk;
  return {
    ...walk,
    granuleBytes: Number(granuleBytes),
    outcome: outcome.kind === 'translation' ? { ...outcome, pageBytes: Number(outcome.pageBytes) } : outcome,
  };
}
