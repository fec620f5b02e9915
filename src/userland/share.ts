/**
 * Variables that the programs of one scenario share, outside the emulated machine: the addresses and process numbers
 * they tell each other, and the signals "go on now" between them. `set` and `get` take no time and are atomic with the
 * step before them; `wait` is a point where the scheduler decides.
 */
import type { Footprint } from '../base/footprint.ts';
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../base/task.ts';

/** What a shared variable may hold: plain values only, so that results can be compared and printed. */
export type SharedValue = bigint | number | string | boolean;

export class Share {
  #values: Map<string, SharedValue> | null = null;
  #objects: Map<string, SharedObject> | null = null;
  readonly #footprint: Footprint | null;

  /** @param footprint of the steps in which variables are set and read */
  constructor(footprint: Footprint | null = null) {
    this.#footprint = footprint;
  }

  /** Sets a variable and lets those who wait for it go on. */
  set(name: string, value: SharedValue): void {
    if (this.#footprint?.enabled === true) this.#footprint.writeObject(this.#object(name));
    this.#values ??= new Map();
    this.#values.set(name, value);
  }

  /** The value, or `undefined` while nobody has set it. */
  get(name: string): SharedValue | undefined {
    if (this.#footprint?.enabled === true) this.#footprint.readObject(this.#object(name));
    return this.#values?.get(name);
  }

  /** The value of a variable that is set and holds a number, as a bigint; `undefined` otherwise. */
  getWord(name: string): bigint | undefined {
    const value = this.get(name);
    return typeof value === 'bigint' || typeof value === 'number' ? BigInt(value) : undefined;
  }

  /**
   * Sleeps until the variable is set (or, with `until`, until it passes the test) and returns its value. A variable
   * that nobody ever sets is reported as a deadlock.
   */
  *wait(name: string, until: (value: SharedValue) => boolean = () => true): Task<SharedValue> {
    yield this.waitPoint(name, until, () => false);
    return this.get(name) as SharedValue;
  }

  /** The point at which a process waits for a variable; `interrupted` ends the wait as well. */
  waitPoint(name: string, until: (value: SharedValue) => boolean, interrupted: () => boolean): SchedPoint {
    const ready = (): boolean => {
      const value = this.#values?.get(name);
      return (value !== undefined && until(value)) || interrupted();
    };
    return new SchedPoint(PointKind.Wait, this.#object(name), 'share.wait', StepCost.None, ready);
  }

  /** As `wait`, for a variable that holds a number. @throws TypeError when it holds something else */
  *waitWord(name: string): Task<bigint> {
    const value = yield* this.wait(name);
    if (typeof value !== 'bigint' && typeof value !== 'number') {
      throw new TypeError(`the shared variable "${name}" is ${JSON.stringify(value)}, not a number`);
    }
    return BigInt(value);
  }

  /** Every variable that is set, by name, sorted. */
  entries(): [string, SharedValue][] {
    return [...(this.#values ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  #object(name: string): SharedObject {
    this.#objects ??= new Map();
    let object = this.#objects.get(name);
    if (object === undefined) {
      object = new SharedObject(`the shared variable "${name}"`);
      this.#objects.set(name, object);
    }
    return object;
  }
}
