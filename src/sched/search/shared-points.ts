/**
 * What earlier runs have shown to be shared: points whose steps touched something that two actors touched in one run, one
 * of them writing. Only there can the order of two steps matter, so a search that has few changes of order to spend spends
 * them there. Learnt from runs with footprints; a point is told by its operation and the name of its object.
 */
import { type Footprint, hashText, mix, pointKey } from '../../base/footprint.ts';
import type { SchedPoint } from '../../base/task.ts';

/** `#owners`: more than one actor. */
const MANY = -0x8000_0000;

export class SharedPoints {
  readonly #points = new Set<number>();
  readonly #operations = new Map<string, number>();
  /** Of the run that is being looked at: who touches a key, and whether somebody writes it. */
  readonly #owners = new Map<number, number>();
  readonly #written = new Set<number>();
  /** Its steps, flat: the point's key, then the number of keys touched, then the keys. */
  #steps: number[] = [];

  /** Is the step after this point one whose order may matter? */
  has(point: SchedPoint): boolean {
    return this.#points.has(this.#keyOf(point));
  }

  get size(): number {
    return this.#points.size;
  }

  /** A step of the run that is being looked at. @param actor who made it, as a number */
  addStep(actor: number, point: SchedPoint, { keys, writes, count }: Footprint): void {
    this.#steps.push(this.#keyOf(point), count);
    for (let at = 0; at < count; at++) {
      const key = keys[at] as number;
      this.#steps.push(key);
      const owner = this.#owners.get(key);
      if (owner === undefined) this.#owners.set(key, actor);
      else if (owner !== actor) this.#owners.set(key, MANY);
      if (writes[at] === 1) this.#written.add(key);
    }
  }

  /** That run is over. */
  endRun(): void {
    const steps = this.#steps;
    for (let at = 0; at < steps.length; ) {
      const point = steps[at] as number;
      const end = at + 2 + (steps[at + 1] as number);
      for (let key = at + 2; key < end; key++) {
        if (this.#isShared(steps[key] as number)) this.#points.add(point);
      }
      at = end;
    }
    this.#steps = [];
    this.#owners.clear();
    this.#written.clear();
  }

  save(): readonly number[] {
    return [...this.#points];
  }

  restore(points: readonly number[]): void {
    for (const point of points) this.#points.add(point);
  }

  #isShared(key: number): boolean {
    return this.#owners.get(key) === MANY && this.#written.has(key);
  }

  #keyOf(point: SchedPoint): number {
    const { operation } = point;
    let hash = this.#operations.get(operation);
    if (hash === undefined) {
      hash = hashText(operation);
      this.#operations.set(operation, hash);
    }
    return mix(hash ^ pointKey(point));
  }
}
