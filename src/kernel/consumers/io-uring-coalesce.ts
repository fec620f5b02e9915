/**
 * A registered buffer of large folios keeps one pin for each folio, whatever many of its pages it has: the folio stays as a
 * whole.
 * @see Linux io_uring/rsrc.c, `io_check_coalesce_buffer`, `io_coalesce_buffer`
 */
import type { Task } from '../../base/task.ts';
import { unpinUserFolio } from '../gup/unpin-folio.ts';
import type { TaskStruct } from '../task-struct.ts';

/** One pin that the buffer holds. */
export interface FolioPins {
  /** First frame of the folio. */
  readonly folio: number;
}

/** Pages in a row of one folio. */
interface Run {
  readonly folio: number;
  /** Of the folio, the first one in the run. */
  readonly first: number;
  count: number;
}

/** Gives back what is not needed to hold the folios; what is left to be given back later, one pin each. */
export function* onePinEach(current: TaskStruct, pages: readonly number[]): Task<FolioPins[]> {
  const { frames } = current.kernel;
  const runs = pages.length > 1 ? coalesced(current, pages) : null;
  if (runs === null) return pages.map((page) => ({ folio: frames.head(page) }));
  for (const { folio, count } of runs) if (count > 1) yield* unpinUserFolio(current, folio, count - 1);
  return runs;
}

/** The runs, if the folios are large and of one size, and all but the first and the last are there whole; else null. */
function coalesced({ kernel: { frames } }: TaskStruct, pages: readonly number[]): Run[] | null {
  const runs: Run[] = [];
  let previous = -1;
  for (const page of pages) {
    const folio = frames.head(page);
    const run = runs.at(-1);
    if (run !== undefined && run.folio === folio && page === previous + 1) run.count++;
    else runs.push({ folio, first: page - folio, count: 1 });
    previous = page;
  }
  const size = 2 ** frames.order(runs[0]?.folio as number);
  if (size === 1) return null;
  const fits = runs.every(({ folio, first, count }, at) => {
    if (2 ** frames.order(folio) !== size || (at > 0 && first !== 0)) return false;
    return at === runs.length - 1 || first + count === size;
  });
  return fits ? runs : null;
}
