/**
 * What happened in one run, step by step, as a search needs it to tell which steps commute: who made each step, on which
 * CPU, at which choice, what it touched, and which step before it let it happen or kept it from happening. Arrays of
 * numbers that are used again for each run.
 */
import type { Footprint } from '../../base/footprint.ts';
import { PointKind, type SchedPoint } from '../../base/task.ts';
import {
  type Candidate,
  CandidateKind,
  evictionCode,
  evictionOf,
  fillOf,
  isHardwareCode,
  type RunView,
} from '../policy/policy.ts';
import type { SchedTask } from '../task.ts';
import { isNested } from './continuity.ts';

const FIRST_STEPS = 256;
const FIRST_TOUCHES = 1024;

/**
 * Who makes a step, by the code of its candidate. What a CPU's hardware does is all of one actor: which of the
 * translations has which index changes from state to state.
 */
export function actorCode(code: number): number {
  if (!isHardwareCode(code)) return code;
  const which = fillOf(code) ?? evictionOf(code);
  return which === null ? code : evictionCode(which.cpu, 0);
}

export class Trace {
  /** Steps so far. */
  count = 0;
  /** Of each step: index of its actor, CPU, index of the choice that led to it (-1: there was none). */
  actors = new Int32Array(FIRST_STEPS);
  cpus = new Int32Array(FIRST_STEPS);
  branches = new Int32Array(FIRST_STEPS);
  /** The last step that made this one possible, where it was not so before; -1: it was. */
  enabledBy = new Int32Array(FIRST_STEPS);
  /** The last step that made this one impossible for a while; -1: none. */
  disabledBy = new Int32Array(FIRST_STEPS);
  /** 1: it conflicts with every other. */
  everything = new Uint8Array(FIRST_STEPS);
  /** 1: it ended a wait. The first thing it touched is what was waited for. */
  waits = new Uint8Array(FIRST_STEPS);
  /** 1: an interrupt was taken, or it was a step of its handler. */
  nested = new Uint8Array(FIRST_STEPS);
  /** 1: whoever made it only went on. */
  continues = new Uint8Array(FIRST_STEPS);
  /** Where what it touched begins in `keys` and `writes`; ends where that of the next step begins. */
  starts = new Int32Array(FIRST_STEPS + 1);
  keys = new Int32Array(FIRST_TOUCHES);
  writes = new Uint8Array(FIRST_TOUCHES);
  /** Actors of all runs so far, by index. */
  readonly actorCodes: number[] = [];
  readonly #indices = new Map<number, number>();
  /** By actor: the step before which it was a candidate last; what is to become `enabledBy` and `disabledBy`. */
  readonly #offered: number[] = [];
  readonly #enabled: number[] = [];
  readonly #disabled: number[] = [];
  /** By actor, if it is one in this run. */
  readonly #tasks: (SchedTask | null)[] = [];
  #open = false;

  /** A run begins. */
  reset(): void {
    this.count = 0;
    this.#open = false;
    this.#offered.fill(-1);
    this.#enabled.fill(-1);
    this.#disabled.fill(-1);
    this.#tasks.fill(null);
  }

  /** What a choice offers before the step that comes next. The footprint of the step before is complete. */
  offer(candidates: readonly Candidate[], count: number): void {
    for (let index = 0; index < count; index++) this.#offer(candidates[index] as Candidate);
  }

  /**
   * A step is about to be made.
   * @param branch the choice that led to it, or -1
   * @param continues whether whoever makes it goes on, or takes somebody else's turn
   */
  begin(candidate: Candidate, branch: number, continues: boolean): void {
    const { code, cpu } = candidate;
    const at = this.count;
    if (at + 1 >= this.starts.length) this.#growSteps();
    if (branch < 0) this.#offer(candidate);
    const actor = this.index(code);
    this.actors[at] = actor;
    this.cpus[at] = cpu;
    this.branches[at] = branch;
    this.enabledBy[at] = this.#enabled[actor] as number;
    this.disabledBy[at] = this.#disabled[actor] as number;
    this.#enabled[actor] = -1;
    this.#disabled[actor] = -1;
    this.waits[at] = candidate.point.kind === PointKind.Wait ? 1 : 0;
    this.nested[at] = candidate.kind === CandidateKind.Interrupt || isNested(candidate) ? 1 : 0;
    this.continues[at] = continues ? 1 : 0;
    this.#open = true;
  }

  /** The step that was begun is made; `footprint` is what it touched. Once for each step. */
  end({ footprint }: RunView): boolean {
    if (!this.#open) return false;
    this.#open = false;
    this.#close(footprint);
    return true;
  }

  /** Does step `step` touch what `key` stands for? */
  touches(step: number, key: number): boolean {
    const end = this.starts[step + 1] as number;
    for (let at = this.starts[step] as number; at < end; at++) if (this.keys[at] === key) return true;
    return false;
  }

  index(code: number): number {
    const actor = actorCode(code);
    let index = this.#indices.get(actor);
    if (index === undefined) {
      index = this.actorCodes.length;
      this.#indices.set(actor, index);
      this.actorCodes.push(actor);
      this.#offered.push(-1);
      this.#enabled.push(-1);
      this.#disabled.push(-1);
      this.#tasks.push(null);
    }
    return index;
  }

  /**
   * At the end of a run: the step that this actor could have gone on before, and did not at all after it; -1: there is
   * none. The last step keeps whoever did not get on any more: an interrupt that nobody waited for, a task in a deadlock.
   * A task in the background goes on for ever, and need not.
   */
  disablerOf(actor: number): number {
    const last = this.#offered[actor] as number;
    if (last < 0 || last >= this.count || this.actors[last] === actor) return -1;
    return last < this.count - 1 || this.#tasks[actor]?.background !== true ? last : -1;
  }

  /** At the end of a run: the point at which this actor waits in vain; null: it does not. */
  waitOf(actor: number): SchedPoint | null {
    const point = this.#tasks[actor]?.pendingPoint() ?? null;
    return point === null || point.ready === null || point.ready() ? null : point;
  }

  #offer({ code, kind, task }: Candidate): void {
    const at = this.count;
    const actor = this.index(code);
    this.#tasks[actor] = kind === CandidateKind.Step ? task : null;
    const last = this.#offered[actor] as number;
    this.#offered[actor] = at;
    if (last === at - 1 || at === 0) return;
    this.#enabled[actor] = at - 1;
    if (last >= 0 && this.actors[last] !== actor) this.#disabled[actor] = last;
  }

  #close({ keys, writes, count, everything }: Footprint): void {
    const at = this.count++;
    let next = this.starts[at] as number;
    while (next + count > this.keys.length) this.#growTouches();
    for (let index = 0; index < count; index++) {
      this.keys[next] = keys[index] as number;
      this.writes[next++] = writes[index] as number;
    }
    this.starts[at + 1] = next;
    this.everything[at] = everything ? 1 : 0;
  }

  #growSteps(): void {
    const length = 2 * this.starts.length;
    this.actors = grown(this.actors, length);
    this.cpus = grown(this.cpus, length);
    this.branches = grown(this.branches, length);
    this.enabledBy = grown(this.enabledBy, length);
    this.disabledBy = grown(this.disabledBy, length);
    this.starts = grown(this.starts, length);
    this.everything = grownBytes(this.everything, length);
    this.waits = grownBytes(this.waits, length);
    this.continues = grownBytes(this.continues, length);
    this.nested = grownBytes(this.nested, length);
  }

  #growTouches(): void {
    this.keys = grown(this.keys, 2 * this.keys.length);
    this.writes = grownBytes(this.writes, this.keys.length);
  }
}

function grown(from: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(length);
  to.set(from);
  return to;
}

function grownBytes(from: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const to = new Uint8Array(length);
  to.set(from);
  return to;
}
