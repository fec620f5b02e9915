/** Lets a policy choose, and counts the states that the run comes through. */
import { type Footprint, mix, pointKey } from '../../base/footprint.ts';
import { PointKind, type SchedPoint } from '../../base/task.ts';
import type { Candidate, Policy, RunView } from '../policy/policy.ts';
import { type StateCounter, StateHash } from './state-hash.ts';

/** Tells the keys of CPUs from those of actors. */
const CPU_SPACE = 0x3c6e_f372;

export class CountingPolicy implements Policy {
  #policy: Policy;
  readonly #states: StateCounter;
  readonly #hash = new StateHash();
  #run: RunView | null = null;
  #point: SchedPoint | null = null;
  /** Of the run so far. */
  choices = 0;

  constructor(policy: Policy, states: StateCounter) {
    this.#policy = policy;
    this.#states = states;
  }

  get name(): string {
    return this.#policy.name;
  }

  get footprints(): boolean {
    return this.#policy.footprints === true;
  }

  /** A run under `policy` begins. */
  begin(policy: Policy): void {
    this.#policy = policy;
    this.#hash.reset();
    this.#point = null;
    this.#run = null;
    this.choices = 0;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): ReturnType<Policy['choose']> {
    this.choices++;
    return this.#policy.choose(candidates, count, run);
  }

  beforeStep(candidate: Candidate, run: RunView): void {
    this.#policy.beforeStep?.(candidate, run);
    this.#endStep(run);
    const { code, cpu, point } = candidate;
    const hash = this.#hash;
    // Every step of a CPU follows the one before it.
    hash.begin(actorKey(code));
    hash.touch(mix(CPU_SPACE + cpu), 1);
    this.#point = point;
    this.#run = run;
  }

  /** The run is over. */
  end(): void {
    if (this.#run !== null) this.#endStep(this.#run);
    this.#run = null;
  }

  #endStep({ footprint }: RunView): void {
    const point = this.#point;
    if (point === null) return;
    const hash = this.#hash;
    if (this.footprints) touchAll(hash, footprint);
    else hash.touch(pointKey(point), point.kind === PointKind.Read ? 0 : 1);
    hash.end();
    this.#states.add(hash.high, hash.low);
    this.#point = null;
  }
}

function touchAll(hash: StateHash, { keys, writes, count, everything }: Footprint): void {
  for (let at = 0; at < count; at++) hash.touch(keys[at] as number, writes[at] as number);
  if (everything) hash.touchEverything();
}

/** A candidate's code as 32 bits: hardware choices have longer ones. */
const actorKey = (code: number): number => (code > -0x8000_0000 ? code : mix(code % 0x7fff_ffff));
