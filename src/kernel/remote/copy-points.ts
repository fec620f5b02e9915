/**
 * Where a copy between a kernel buffer and a user page stands: just before its bytes are read or written, which the process
 * itself may be changing. One point for each page and kind of copy, made on first use.
 */
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';

/** From here on a copy costs as a page does. */
const MUCH = 2048;
/** So that a long run does not keep a point for every page it ever copied. */
const MOST = 4096;

export class CopyPoints {
  readonly #points = new Map<number, SchedPoint>();

  /** Before `bytes` bytes of `frame` are copied; `write`: to it. */
  of(frame: number, bytes: number, write: boolean): SchedPoint {
    const key = frame * 4 + (write ? 2 : 0) + (bytes >= MUCH ? 1 : 0);
    return this.#points.get(key) ?? this.#add(key, frame, bytes, write);
  }

  #add(key: number, frame: number, bytes: number, write: boolean): SchedPoint {
    if (this.#points.size >= MOST) this.#points.clear();
    const object = this.#dataOf(frame);
    const cost = bytes >= MUCH ? StepCost.PageCopy : StepCost.SharedLoad;
    const kind = write ? PointKind.Write : PointKind.Read;
    const operation = write ? 'copy_to_user_page' : 'copy_from_user_page';
    const point = new SchedPoint(kind, object, operation, cost);
    this.#points.set(key, point);
    return point;
  }

  /** The bytes of a page, one object for all points. */
  #dataOf(frame: number): SharedObject {
    for (let kind = 0; kind < 4; kind++) {
      const other = this.#points.get(frame * 4 + kind);
      if (other !== undefined) return other.object;
    }
    return new SharedObject(`data of frame 0x${frame.toString(16)}`);
  }
}
