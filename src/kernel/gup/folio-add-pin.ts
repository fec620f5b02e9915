/**
 * More pins on a folio that is pinned already, which nobody need look for again.
 * @see Linux mm/gup.c, `folio_add_pin`, `folio_add_pins`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_PIN } from './foll-flags.ts';
import { tryGrabFolio } from './pin.ts';

/** `folio_add_pin`: one more; Linux warns where there was none, and does not count it as acquired. */
export function* folioAddPin(current: TaskStruct, folio: number): Task<void> {
  const { frames, warnings } = current.kernel;
  if (frames.isZeroFrame(folio)) return;
  yield frames.refPoint(folio);
  if (!frames.maybeDmaPinned(folio)) warnings.once(current, 'folio_add_pin', 'the folio is not pinned');
  frames.addPin(folio);
}

/** `folio_add_pins`: `pins` more. 0 or -ENOMEM. */
export function* folioAddPins(current: TaskStruct, folio: number, pins: number): Task<number> {
  const { frames, warnings } = current.kernel;
  yield frames.refPoint(folio);
  if (!frames.maybeDmaPinned(folio)) warnings.once(current, 'folio_add_pins', 'the folio is not pinned');
  return tryGrabFolio(current, folio, FOLL_PIN, pins);
}
