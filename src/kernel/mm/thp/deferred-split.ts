/**
 * Large folios of which a part is mapped no more: the rest keeps all of the memory, until it gets short; then they are
 * split, and what nobody maps is free.
 * Left out: huge pages that are mapped whole and hold little but zeros (with max_ptes_none of 511, the default, Linux
 * leaves them alone). Linux's shrinker looks at a share of the queue that grows from round to round.
 * @see Linux mm/huge_memory.c, `deferred_split_scan`, `deferred_split_folio`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import { splitFolio } from './split-folio.ts';

/** Splits all that can be had of the queue, oldest first. Pages that are free now, as far as they were unmapped before. */
export function* deferredSplitScan(current: TaskStruct): Task<number> {
  const { frames } = current.kernel;
  let freed = 0;
  for (const head of [...frames.deferredSplit]) {
    yield frames.refPoint(head);
    if (!frames.deferredSplit.has(head) || !frames.tryGet(head)) continue;
    freed += yield* splitQueued(current, head);
    yield frames.refPoint(head);
    frames.put(head);
  }
  return freed;
}

/** With a reference. */
function* splitQueued(current: TaskStruct, head: number): Task<number> {
  const { frames } = current.kernel;
  if (!(yield* folioTrylock(current, head))) return 0;
  let unmapped = 0;
  // Somebody else may have split it while we came to have it.
  if (frames.isLarge(head)) {
    const { entire, pagesMapped } = frames.large(head);
    unmapped = entire > 0 ? 0 : 2 ** frames.order(head) - pagesMapped;
    if ((yield* splitFolio(current, head)) !== 0) unmapped = 0;
  }
  yield* folioUnlock(current, head);
  return unmapped;
}
