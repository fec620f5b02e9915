/**
 * Depth-first search: a run is the path of its choices; the next one goes back to the last of them that has something left
 * to try, and from there on again goes on with whoever goes on, so that the first run has no preemption. Every run is made
 * from the start. A bound on preemptions leaves out runs in which somebody more often has to stop who could go on.
 *
 * With reduction a choice is tried another way only where a race of a run asks for it, and steps sleep that were tried
 * before: of runs that differ in the order of steps that commute, one is made. Under a bound on preemptions the one that
 * is made may be one too many, so that races ask at the beginning of the stretch, too, and only steps that are no
 * preemption sleep.
 *
 * What the hardware does on its own account is tried at every choice, and counts as a preemption. With reduction the next
 * allocation fails only just before steps that allocate.
 * Shards: with a bound on preemptions all make the runs without any, and everything is tried at each of their choices; each
 * shard takes every so many-th of those runs and of the first preemptions. Without a bound a shard tries everything at its first choices and keeps to the paths
 * whose hash is its own.
 * @see tokio-rs/loom src/rt/path.rs; Musuvathi, Qadeer, "Iterative context bounding for systematic testing of
 * multithreaded programs", PLDI 2007; Coons, Musuvathi, McKinley, "Bounded partial-order reduction", OOPSLA 2013
 */
import { mix, pointKey } from '../../base/footprint.ts';
import {
  ALLOCATION_FAILURE_CODE,
  type Candidate,
  CandidateKind,
  type Policy,
  type RunView,
} from '../policy/policy.ts';
import { Branch, Fate, type SavedBranch } from './branch.ts';
import { Continuity } from './continuity.ts';
import { Races } from './races.ts';
import type { SearchOptions, Strategy } from './search.ts';
import { type Sleeper, sleeperOf, wakes } from './sleeper.ts';
import { actorCode, Trace } from './trace.ts';

/** Without a bound, paths for each shard, at least: the more, the more evenly the work is shared out. */
const PATHS_PER_SHARD = 32;

interface SavedDepthFirst {
  readonly path: readonly SavedBranch[];
  readonly over: boolean;
  readonly dealt: number;
}

export class DepthFirst implements Strategy, Policy {
  readonly name = 'dfs';
  readonly footprints: boolean;
  readonly #bound: number;
  readonly #reduction: boolean;
  readonly #shard: SearchOptions['shard'];
  /** Each shard takes a part of the first preemptions. */
  readonly #dealsOut: boolean;
  /** Without a bound: choices at which a shard tries everything. */
  readonly #freeChoices: number;
  /** First preemptions, and runs without any, so far: the same in all shards. */
  #dealt = 0;
  /** What failing allocations touch. */
  #allocator = 0;
  readonly #path: Branch[] = [];
  readonly #trace = new Trace();
  readonly #races = new Races(this.#trace);
  readonly #continuity = new Continuity();
  /** Of the run under way: choices made, the step at which it leaves the path of the one before, what sleeps now. */
  #at = 0;
  #known = 0;
  #leaves = 0;
  #sleepers: readonly Sleeper[] = [];
  /** The choice before the step that comes next; -1: there was none. */
  #branch = -1;
  /** The step that comes next sleeps and cannot be avoided: the rest is of no use. */
  #useless = false;
  #redundant = false;
  #lastRun: RunView | null = null;
  #over = false;

  /** @param saved what `save` gave */
  constructor({ preemptions, reduction, shard }: SearchOptions, saved: unknown) {
    this.#bound = preemptions ?? Number.POSITIVE_INFINITY;
    this.#reduction = reduction;
    this.footprints = reduction;
    this.#shard = shard;
    this.#dealsOut = shard.count > 1 && preemptions !== null;
    const whole = shard.count === 1 || this.#dealsOut;
    this.#freeChoices = whole ? 0 : Math.ceil(Math.log2(shard.count * PATHS_PER_SHARD));
    if (saved === undefined) return;
    const { path, over, dealt } = saved as SavedDepthFirst;
    this.#path.push(...path.map((branch) => Branch.of(branch)));
    this.#over = over;
    this.#dealt = dealt;
  }

  next(): Policy | null {
    if (this.#over) return null;
    this.#at = 0;
    this.#known = this.#path.length;
    this.#leaves = 0;
    this.#sleepers = [];
    this.#branch = -1;
    this.#useless = false;
    this.#redundant = false;
    this.#lastRun = null;
    this.#trace.reset();
    this.#continuity.reset();
    return this;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): number | 'redundant' {
    if (this.#reduction) {
      this.#endStep(run);
      this.#trace.offer(candidates, count);
    }
    const at = this.#at++;
    this.#branch = at;
    if (at < this.#known) return this.#follow(this.#path[at] as Branch, candidates, at);
    if (at === this.#freeChoices && !this.#isOwn(at)) return this.#giveUp();
    const branch = this.#useless ? null : this.#grow(candidates, count);
    return branch === null ? this.#giveUp() : branch.chosen;
  }

  beforeStep(candidate: Candidate, run: RunView): void {
    const continues = this.#continuity.goesOn(candidate);
    this.#continuity.step(candidate);
    if (!this.#reduction) return;
    this.#endStep(run);
    if (this.#branch < 0 && this.#sleepers.length > 0) this.#meetForced(candidate);
    this.#trace.begin(candidate, this.#branch, continues);
    this.#branch = -1;
    this.#lastRun = run;
  }

  ended(): boolean {
    const whole = !this.#redundant && this.#isWhole();
    if (this.#reduction) {
      if (this.#lastRun !== null) this.#endStep(this.#lastRun);
      this.#lastRun = null;
      this.#races.find(this.#leaves, this.#turn);
      if (this.#allocator !== 0) this.#failAllocations();
    }
    this.#advance();
    return whole;
  }

  save(): unknown {
    return {
      path: this.#path.map((branch) => branch.save()),
      over: this.#over,
      dealt: this.#dealt,
    } satisfies SavedDepthFirst;
  }

  /** Goes back to the last choice that has something left to try. */
  #advance(): void {
    const path = this.#path;
    path.length = Math.min(path.length, this.#at);
    for (let at = path.length - 1; at >= 0; at--) {
      const branch = path[at] as Branch;
      const tried = branch.chosen;
      if (branch.advance()) {
        if (this.#reduction && (!branch.free || this.#dealsOut)) this.#putToSleep(branch, at, tried);
        return;
      }
      path.pop();
    }
    this.#over = true;
  }

  #follow(branch: Branch, candidates: readonly Candidate[], at: number): number {
    const { code } = candidates[branch.chosen] ?? {};
    if (code !== branch.codes[branch.chosen]) {
      throw new Error(`a run is not a function of its schedule: choice ${at} does not offer the same again`);
    }
    if (at === this.#known - 1) {
      this.#leaves = this.#trace.count;
      this.#sleepers = branch.sleepers;
    }
    return branch.chosen;
  }

  #giveUp(): 'redundant' {
    this.#redundant = true;
    this.#at--;
    return 'redundant';
  }

  /** A choice that no run has come to. @returns null when whatever can be chosen sleeps */
  #grow(candidates: readonly Candidate[], count: number): Branch | null {
    const before = this.#path.at(-1)?.spent ?? 0;
    const free = this.#isFree();
    if (this.#sleepers.length > 0) this.#wakeThoseNotOffered(candidates, count);
    const branch = new Branch(before, free ? [] : this.#sleepers, free);
    const current = this.#continuity.current(candidates, count);
    const all = !this.#reduction || free;
    for (let index = 0; index < count; index++) {
      const candidate = candidates[index] as Candidate;
      const hardware = candidate.kind >= CandidateKind.Fill;
      const cost = hardware || (current >= 0 && index !== current) ? 1 : 0;
      branch.add(candidate, cost, this.#bound, all || (hardware && !this.#isFailure(candidate)));
    }
    const first = this.#firstOf(branch, candidates, count, current);
    if (first < 0) return null;
    branch.take(first);
    if (free && this.#dealsOut) this.#dealOut(branch);
    this.#path.push(branch);
    return branch;
  }

  /** Is the next choice on the path one at which everything is tried? */
  #isFree(): boolean {
    return this.#path.length < this.#freeChoices || (this.#dealsOut && !this.#hasPreempted());
  }

  /** An allocation that fails is put off until a step asks for it. */
  #isFailure({ code, point }: Candidate): boolean {
    if (code !== ALLOCATION_FAILURE_CODE) return false;
    this.#allocator = pointKey(point);
    return true;
  }

  /** Before steps that allocate, the allocation is to fail. */
  #failAllocations(): void {
    const { branches, count } = this.#trace;
    for (let step = this.#leaves; step < count; step++) {
      const choice = branches[step] as number;
      if (choice < 0 || !this.#trace.touches(step, this.#allocator)) continue;
      const branch = this.#path[choice] as Branch;
      const index = branch.codes.indexOf(ALLOCATION_FAILURE_CODE);
      if (index >= 0) branch.want(index);
    }
  }

  #hasPreempted(): boolean {
    return (this.#path.at(-1)?.spent ?? 0) > 0;
  }

  /** Leaves other shards' part of what is to be tried here to them. */
  #dealOut(branch: Branch): void {
    const { index, count } = this.#shard;
    for (let at = 0; at < branch.codes.length; at++) {
      if (branch.fates[at] !== Fate.Wanted || branch.costs[at] === 0) continue;
      if (this.#dealt++ % count !== index) branch.leave(at);
    }
  }

  /** Does the run count as one of this shard's? */
  #isWhole(): boolean {
    const { index, count } = this.#shard;
    if (this.#dealsOut) return this.#hasPreempted() || this.#dealt++ % count === index;
    return this.#at > this.#freeChoices || this.#isOwn(this.#at);
  }

  /** Whoever goes on if he may; else the cheapest who may, and among those who has waited for longest. */
  #firstOf(branch: Branch, candidates: readonly Candidate[], count: number, current: number): number {
    if (current >= 0 && mayBeChosen(branch, current)) return current;
    let best = -1;
    for (let index = 0; index < count; index++) {
      if (!mayBeChosen(branch, index)) continue;
      if (best < 0 || this.#isBefore(branch, candidates, index, best)) best = index;
    }
    return best;
  }

  #isBefore(branch: Branch, candidates: readonly Candidate[], index: number, best: number): boolean {
    const cost = (branch.costs[index] as number) - (branch.costs[best] as number);
    if (cost !== 0) return cost < 0;
    return this.#continuity.exhausted && lastStep(candidates[index]) < lastStep(candidates[best]);
  }

  /** A race: the actor should get on without step `first`, too. */
  readonly #turn = (first: number, actor: number, initials: readonly number[]): void => {
    const { branches, actorCodes } = this.#trace;
    const choice = branches[first] as number;
    if (this.#bound < Number.POSITIVE_INFINITY) {
      const alone = initials.length === 1 && initials[0] === actor;
      if (choice >= 0) this.#ask(choice, actorCodes[actor] as number, alone);
      const begin = this.#beginOfStretch(first);
      if (begin >= 0 && begin !== choice) this.#ask(begin, actorCodes[actor] as number, false);
      return;
    }
    if (choice >= 0) this.#askOneOf(this.#path[choice] as Branch, initials);
  };

  /** @param only if it cannot be chosen there the step before made it possible, and there is nothing to turn round */
  #ask(choice: number, actor: number, only: boolean): void {
    const branch = this.#path[choice] as Branch;
    const index = indexOfActor(branch, actor);
    if (index >= 0) branch.want(index);
    else if (!only) branch.wantAll();
  }

  #askOneOf(branch: Branch, initials: readonly number[]): void {
    let possible = -1;
    for (let at = 0; at < initials.length; at++) {
      const index = indexOfActor(branch, this.#trace.actorCodes[initials[at] as number] as number);
      if (index < 0) continue;
      // Tried or to be tried, or asleep, which is as good.
      if (branch.fates[index] !== Fate.Open) return;
      if (possible < 0) possible = index;
    }
    if (possible >= 0) branch.want(possible);
    else if (initials.length > 1) branch.wantAll();
  }

  /** The choice at which the stretch of steps that this one goes on with began; -1: there was none. */
  #beginOfStretch(step: number): number {
    const { continues, branches } = this.#trace;
    let begin = step;
    while (begin > 0 && continues[begin] === 1) begin--;
    return branches[begin] as number;
  }

  /** What was tried at a choice that is to be made another way. */
  #putToSleep(branch: Branch, at: number, tried: number): void {
    // Under a bound only what costs no more there than later.
    if (this.#bound < Number.POSITIVE_INFINITY && !isContinuation(branch, tried)) return;
    const step = this.#stepOf(at);
    if (step >= 0) branch.addSleeper(sleeperOf(this.#trace, step, branch.codes[tried] as number));
  }

  #stepOf(choice: number): number {
    const { branches, count } = this.#trace;
    for (let step = count - 1; step >= 0; step--) if (branches[step] === choice) return step;
    return -1;
  }

  /** The footprint of the step before is there. */
  #endStep(run: RunView): void {
    const trace = this.#trace;
    if (!trace.end(run) || this.#sleepers.length === 0) return;
    const step = trace.count - 1;
    if (step < this.#leaves) return;
    this.#sleepers = this.#sleepers.filter((sleeper) => !wakes(trace, step, sleeper));
  }

  /** Nothing else can happen than this step. */
  #meetForced({ code }: Candidate): void {
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.code === code);
    if (this.#sleepers.length > 0) this.#useless = true;
  }

  /** Who cannot go on any more was kept from it by a step that does not commute with his. */
  #wakeThoseNotOffered(candidates: readonly Candidate[], count: number): void {
    this.#sleepers = this.#sleepers.filter(({ code }) => {
      for (let index = 0; index < count; index++) {
        if ((candidates[index] as Candidate).code === code) return true;
      }
      return false;
    });
  }

  /** Is the path of the first choices one of this shard's? */
  #isOwn(choices: number): boolean {
    const { index, count } = this.#shard;
    if (this.#freeChoices === 0) return true;
    let hash = 0;
    for (let at = 0; at < Math.min(choices, this.#freeChoices); at++) {
      const branch = this.#path[at] as Branch;
      hash = mix(hash ^ ((branch.codes[branch.chosen] as number) | 0));
    }
    return (hash >>> 0) % count === index;
  }
}

function mayBeChosen(branch: Branch, index: number): boolean {
  const fate = branch.fates[index];
  return fate === Fate.Open || fate === Fate.Wanted;
}

function indexOfActor(branch: Branch, actor: number): number {
  const { codes } = branch;
  for (let index = 0; index < codes.length; index++) {
    if (actorCode(codes[index] as number) === actor) return index;
  }
  return -1;
}

/** Was it the one who went on anyhow: free, where others were not? */
function isContinuation({ costs }: Branch, index: number): boolean {
  return costs[index] === 0 && costs.every((cost, other) => other === index || cost === 1);
}

const lastStep = (candidate: Candidate | undefined): number => candidate?.task?.lastStep ?? 0;
