/**
 * Giving back pins of folios and of pages that lie one behind the other.
 * @see Linux mm/gup.c, `unpin_folio`, `unpin_folios`, `unpin_user_folio`, `unpin_user_page_range_dirty_lock`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { PageArray } from './foll-flags.ts';
import { dirtyAndPutPins, isErrorCount, NULL_PAGE, putPins } from './pin.ts';

/** `unpin_folio`: one pin. */
export function* unpinFolio(current: TaskStruct, folio: number): Task<void> {
  yield* putPins(current, folio, 1);
}

/** `unpin_user_folio`: the pins of `count` pages of the folio. */
export function* unpinUserFolio(current: TaskStruct, folio: number, count: number): Task<void> {
  yield* putPins(current, folio, count);
}

/** `unpin_folios`: one pin for each of the first `count` entries, NULL_PAGE left out. A count that is an error is refused. */
export function* unpinFolios(current: TaskStruct, folios: PageArray, count: number): Task<void> {
  if (isErrorCount(current, 'unpin_folios', count)) return;
  for (let i = 0; i < count; ) {
    let next = i + 1;
    while (next < count && folios[next] === folios[i]) next++;
    if (folios[i] !== NULL_PAGE) yield* putPins(current, folios[i] as number, next - i);
    i = next;
  }
}

/** `unpin_user_page_range_dirty_lock`: the pins of frames `first` … `first + count - 1`; dirty first if `makeDirty`. */
export function* unpinUserPageRangeDirtyLock(
  current: TaskStruct,
  first: number,
  count: number,
  makeDirty: boolean,
): Task<void> {
  const { frames } = current.kernel;
  for (let done = 0; done < count; ) {
    const frame = first + done;
    const left = frames.head(frame) + 2 ** frames.order(frame) - frame;
    const run = Math.min(left, count - done);
    yield* makeDirty ? dirtyAndPutPins(current, frame, run) : putPins(current, frame, run);
    done += run;
  }
}
