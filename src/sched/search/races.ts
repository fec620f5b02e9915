/**
 * Finds the races of a run: pairs of steps of different actors that do not commute, where nothing in between orders them,
 * so that another run may have them the other way round. "Happens before" is kept as vector clocks; besides conflicts of
 * what steps touch, the steps of one CPU are in order, and a step comes after the one that made it possible (a wait after
 * the release that ends it: that pair cannot be turned round and is no race).
 * For each race the choice before its first step is told whom to try there: somebody who leads to the second step without
 * the first (dynamic partial-order reduction), unless such a one has been tried there.
 * @see Flanagan, Godefroid, "Dynamic partial-order reduction for model checking software", POPL 2005; Abdulla, Aronis,
 * Jonsson, Sagonas, "Optimal dynamic partial order reduction", POPL 2014: source sets
 */
import { objectKey } from '../../base/footprint.ts';
import { Touches } from './touches.ts';
import type { Trace } from './trace.ts';

/**
 * Told of a race: `first` is a step of the trace, `actor` whose step should come without it; `initials` the actors that
 * could begin a run in which it does, the one that does in this run first.
 */
export type RaceVisitor = (first: number, actor: number, initials: readonly number[]) => void;

export class Races {
  readonly #trace: Trace;
  readonly #touches = new Touches();
  /** For step s and actor a at s * stride + a: one more than the last step of a that happens before s or is s. */
  #clocks = new Int32Array(1024);
  #stride = 4;
  /** Last step of each actor, of each CPU. */
  readonly #lastOfActor: number[] = [];
  readonly #lastOfCpu: number[] = [];
  #lastEverything = -1;
  readonly #initials: number[] = [];
  /** Of `#initialsOf`: by actor, its first step in the sequence. */
  readonly #firstIn: number[] = [];

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  /** Goes through the run. @param from races whose second step comes before this one were visited in an earlier run */
  find(from: number, visit: RaceVisitor): void {
    this.#reset();
    const { count } = this.#trace;
    for (let step = 0; step < count; step++) this.#addStep(step, step >= from ? visit : null);
    this.#addWaiting(visit);
  }

  #reset(): void {
    const actors = this.#trace.actorCodes.length;
    while (this.#stride < actors) this.#stride *= 2;
    const needed = (this.#trace.count + 1) * this.#stride;
    if (this.#clocks.length < needed) this.#clocks = new Int32Array(2 * needed);
    this.#touches.reset();
    this.#lastOfActor.length = 0;
    for (let actor = 0; actor < actors; actor++) this.#lastOfActor.push(-1);
    this.#lastOfCpu.length = 0;
    this.#lastEverything = -1;
  }

  #addStep(step: number, visit: RaceVisitor | null): void {
    const trace = this.#trace;
    const actor = trace.actors[step] as number;
    this.#startClock(step, this.#lastOfActor[actor] as number);
    this.#collect(step, actor);
    const enabledBy = trace.enabledBy[step] as number;
    if (enabledBy >= 0) this.#touches.add(enabledBy);
    if (visit !== null) {
      this.#turnDisabler(step, actor, visit);
      if (trace.waits[step] === 1) {
        this.#turnWait(step, actor, trace.keys[trace.starts[step] as number] as number, visit);
      }
    }
    const { found, foundCount } = this.#touches;
    for (let index = 0; index < foundCount; index++) {
      const other = found[index] as number;
      if (this.#before(other, step)) continue;
      if (visit !== null && other !== enabledBy) visit(other, actor, this.#initialsOf(other, step, actor));
      this.#join(step, other);
    }
    this.#clocks[step * this.#stride + actor] = step + 1;
    this.#lastOfActor[actor] = step;
    this.#lastOfCpu[trace.cpus[step] as number] = step;
    if (trace.everything[step] === 1) this.#lastEverything = step;
  }

  /** Puts the steps before with which this one does not commute, as far as others do not stand for them, into `found`. */
  #collect(step: number, actor: number): void {
    const trace = this.#trace;
    const touches = this.#touches;
    touches.foundCount = 0;
    const { keys, writes, starts } = trace;
    const end = starts[step + 1] as number;
    for (let at = starts[step] as number; at < end; at++) {
      if (writes[at] === 1) touches.write(keys[at] as number, step);
      else touches.read(keys[at] as number, step, actor);
    }
    const onCpu = this.#lastOfCpu[trace.cpus[step] as number];
    if (onCpu !== undefined) touches.add(onCpu);
    if (this.#lastEverything >= 0) touches.add(this.#lastEverything);
    if (trace.everything[step] === 1) {
      for (const last of this.#lastOfActor) if (last >= 0) touches.add(last);
    }
  }

  /**
   * A step that could have been made before another one kept its actor from going on (a task of the same CPU turned
   * preemption off): it does come after whatever let it go on again, and yet the two can change places.
   */
  #turnDisabler(step: number, actor: number, visit: RaceVisitor): void {
    const disabler = this.#trace.disabledBy[step] as number;
    if (disabler >= 0 && !this.#before(disabler, step)) {
      visit(disabler, actor, this.#initialsOf(disabler, step, actor));
    }
  }

  /**
   * A wait could have ended before any of the steps that changed what it waits for: one of them may have undone what would
   * have ended it, and others after that stand between the two.
   */
  #turnWait(step: number, actor: number, key: number, visit: RaceVisitor): void {
    const { starts, keys, writes, enabledBy } = this.#trace;
    const enabler = step < this.#trace.count ? (enabledBy[step] as number) : -1;
    this.#turnInterrupts(step, actor, visit);
    for (let other = step - 1; other >= 0; other--) {
      if (other === enabler || this.#before(other, step)) continue;
      for (let at = starts[other] as number; at < (starts[other + 1] as number); at++) {
        if (keys[at] !== key || writes[at] !== 1) continue;
        visit(other, actor, this.#initialsOf(other, step, actor));
        break;
      }
    }
  }

  /** A wait could have ended before interrupts that were taken over it, though it could not when they were. */
  #turnInterrupts(step: number, actor: number, visit: RaceVisitor): void {
    const { actors, cpus, nested } = this.#trace;
    const last = this.#lastOfActor[actor] as number;
    if (last < 0 || nested[last] === 0) return;
    const cpu = cpus[last] as number;
    for (let other = last; other >= 0; other--) {
      if (cpus[other] !== cpu) continue;
      if (nested[other] === 0) return;
      if (actors[other] !== actor) visit(other, actor, this.#initialsOf(other, step, actor));
    }
  }

  /** Actors that do not go on though they could once, or that wait in vain: the steps that kept them, the other way round. */
  #addWaiting(visit: RaceVisitor): void {
    const trace = this.#trace;
    const end = trace.count;
    for (let actor = 0; actor < trace.actorCodes.length; actor++) {
      const disabler = trace.disablerOf(actor);
      this.#startClock(end, this.#lastOfActor[actor] as number);
      if (disabler >= 0) visit(disabler, actor, this.#initialsOf(disabler, end, actor));
      const wait = trace.waitOf(actor);
      if (wait !== null) this.#turnWait(end, actor, objectKey(wait.object), visit);
    }
  }

  /** Does step `earlier` happen before `step`, as far as the clock of that one knows by now? */
  #before(earlier: number, step: number): boolean {
    const actor = this.#trace.actors[earlier] as number;
    return (this.#clocks[step * this.#stride + actor] as number) > earlier;
  }

  #startClock(step: number, previous: number): void {
    const stride = this.#stride;
    const clocks = this.#clocks;
    const to = step * stride;
    if (previous < 0) clocks.fill(0, to, to + stride);
    else clocks.copyWithin(to, previous * stride, (previous + 1) * stride);
  }

  #join(step: number, other: number): void {
    const stride = this.#stride;
    const clocks = this.#clocks;
    const to = step * stride;
    const from = other * stride;
    for (let actor = 0; actor < stride; actor++) {
      const theirs = clocks[from + actor] as number;
      if (theirs > (clocks[to + actor] as number)) clocks[to + actor] = theirs;
    }
  }

  /**
   * Who could begin the sequence of the steps after `first` that do not happen after it, and then `second`: actors whose
   * first step there has nothing before it there.
   */
  #initialsOf(first: number, second: number, secondActor: number): readonly number[] {
    const { actors } = this.#trace;
    const initials = this.#initials;
    initials.length = 0;
    const firstIn = this.#firstIn;
    firstIn.length = 0;
    for (let actor = 0; actor < this.#lastOfActor.length; actor++) firstIn.push(-1);
    for (let step = first + 1; step < second; step++) {
      const actor = actors[step] as number;
      if (this.#before(first, step) || firstIn[actor] !== -1) continue;
      if (!this.#followsAny(step)) initials.push(actor);
      firstIn[actor] = step;
    }
    if (firstIn[secondActor] === -1 && !this.#followsAny(second)) initials.push(secondActor);
    return initials;
  }

  /** Does a step of the sequence so far happen before this one? */
  #followsAny(step: number): boolean {
    const clock = step * this.#stride;
    for (let actor = 0; actor < this.#firstIn.length; actor++) {
      const first = this.#firstIn[actor] as number;
      if (first >= 0 && (this.#clocks[clock + actor] as number) > first) return true;
    }
    return false;
  }
}
