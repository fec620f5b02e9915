/** Who looks on while the memory of another process is read or written, for checks. A watcher changes nothing. */
import type { TaskStruct } from '../task-struct.ts';
import type { RemoteTransfer } from './design.ts';

export interface RemoteWatcher {
  /** A design is about to begin with a transfer. */
  begins(current: TaskStruct, transfer: RemoteTransfer): void;
  /**
   * Bytes of a page were just moved between `frame` (-1: the zero page) and `buffer`, from `at` on: the transfer's own
   * buffer, a part of it, or one like it that a design copies aside to.
   */
  copied(
    current: TaskStruct,
    frame: number,
    offset: number,
    buffer: Uint8Array,
    at: number,
    bytes: number,
  ): void;
  /** It is over; `moved` bytes count. */
  ends(current: TaskStruct, moved: number): void;
}
