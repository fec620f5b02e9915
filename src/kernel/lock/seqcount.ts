/**
 * A sequence counter: odd while a writer is inside. A reader that saw an even number, and sees the same one afterwards,
 * saw no half-done change. Writers must exclude each other by a lock of their own.
 * Left out: the latch and the associated-lock variants; memory barriers (steps are sequentially consistent here).
 * @see Linux include/linux/seqlock.h, `raw_write_seqcount_begin`, `raw_seqcount_try_begin`, `read_seqcount_retry`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';

export class SeqCount extends SharedObject {
  /** 32 bits, unsigned; wraps. */
  #sequence = 0;
  readonly #load: SchedPoint;
  readonly #store: SchedPoint;

  constructor(name: string) {
    super(name);
    this.#load = new SchedPoint(PointKind.Read, this, 'read_seqcount', StepCost.SharedLoad);
    this.#store = new SchedPoint(PointKind.Write, this, 'write_seqcount', StepCost.SharedLoad);
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** @throws Error when a writer is inside: they do not exclude each other */
  *writeBegin(): Task<void> {
    yield this.#store;
    if (this.#sequence % 2 !== 0) throw new Error(`two writers in ${this.name}`);
    this.#sequence = (this.#sequence + 1) >>> 0;
  }

  /** @throws Error when no writer is inside */
  *writeEnd(): Task<void> {
    yield this.#store;
    if (this.#sequence % 2 === 0) throw new Error(`no writer in ${this.name}`);
    this.#sequence = (this.#sequence + 1) >>> 0;
  }

  /** The number to compare with later, or null while a writer is inside. */
  *tryBegin(): Task<number | null> {
    yield this.#load;
    return this.#sequence % 2 === 0 ? this.#sequence : null;
  }

  /** Must what was read since `tryBegin` be thrown away? */
  *retry(begun: number): Task<boolean> {
    yield this.#load;
    return this.#sequence !== begun;
  }
}
