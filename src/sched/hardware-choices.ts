/**
 * What can happen next beside the steps of tasks and their interrupts, where a run has it: a CPU fills or forgets a
 * translation, a grace period of RCU ends, an allocation fails, somebody sends SIGKILL. Each is a candidate like any
 * other, so that schedules name it and searches choose it; it takes no virtual time.
 * What each of them does is told by whoever sets the parts; here is only when they are offered.
 */
import { PointKind, SchedPoint, SharedObject } from '../base/task.ts';
import type { Machine } from '../hardware/machine.ts';
import type { CpuSlot } from './cpu-slot.ts';
import {
  ALLOCATION_FAILURE_CODE,
  type Candidate,
  CandidateKind,
  EVICTIONS_PER_CPU,
  evictionCode,
  evictionOf,
  FILLS_PER_CPU,
  fillCode,
  fillOf,
  GRACE_PERIOD_CODE,
  type IndexedChoice,
  killCode,
} from './policy/policy.ts';
import type { Speculation } from './speculation.ts';
import type { SchedTask } from './task.ts';

/** Translations that a CPU holds and may forget. */
export interface Evictions {
  /** How many; at most `EVICTIONS_PER_CPU` are offered. A function of the machine's state. */
  count(cpu: number): number;
  /** Forgets number `index` of those. */
  evict(cpu: number, index: number): void;
}

/** Grace periods that end when the schedule says so. */
export interface GracePeriods {
  /** Could the oldest one end now? */
  canEnd(): boolean;
  end(): void;
}

/** Allocations that fail when the schedule says so. */
export interface AllocationFailures {
  /** May the next one fail, and would it not fail anyhow? */
  canFail(): boolean;
  failNext(): void;
}

/** Fatal signals that come when the schedule says so. */
export interface Kills {
  /** Does it wait in a way that a fatal signal ends, and may it get one? */
  canKill(task: SchedTask): boolean;
  kill(task: SchedTask): void;
}

/** What a run offers; all null unless set, before tasks run. */
export class HardwareChoices {
  speculation: Speculation | null = null;
  evictions: Evictions | null = null;
  gracePeriods: GracePeriods | null = null;
  allocationFailures: AllocationFailures | null = null;
  kills: Kills | null = null;
  readonly #machine: Machine;
  readonly #slots: readonly CpuSlot[];
  #points: Readonly<Record<number, SchedPoint>> | null = null;
  /** By code; made when first offered. */
  #made: Map<number, Candidate> | null = null;

  constructor(machine: Machine, slots: readonly CpuSlot[]) {
    this.#machine = machine;
    this.#slots = slots;
  }

  /** Is there anything to offer? */
  get any(): boolean {
    return (
      this.speculation !== null ||
      this.evictions !== null ||
      this.gracePeriods !== null ||
      this.allocationFailures !== null ||
      this.kills !== null
    );
  }

  /**
   * Puts what can happen into `candidates` from index `count` on and returns the new count. Where nothing else can
   * happen only the end of a grace period is offered: it comes sooner or later, and the others need not.
   */
  offer(candidates: Candidate[], count: number): number {
    let next = count;
    if (count > 0) {
      if (this.speculation !== null) next = this.#offerFills(this.speculation, candidates, next);
      if (this.evictions !== null) next = this.#offerEvictions(this.evictions, candidates, next);
    }
    if (this.gracePeriods?.canEnd() === true) {
      candidates[next++] = this.#candidate(CandidateKind.GracePeriod, GRACE_PERIOD_CODE, 0);
    }
    if (count === 0) return next;
    if (this.allocationFailures?.canFail() === true) {
      candidates[next++] = this.#candidate(CandidateKind.AllocationFailure, ALLOCATION_FAILURE_CODE, 0);
    }
    return this.kills === null ? next : this.#offerKills(this.kills, candidates, next);
  }

  /** @throws Error when the candidate is of a part that is not set */
  make({ kind, code, task }: Candidate): void {
    switch (kind) {
      case CandidateKind.Fill: {
        const { cpu, index } = fillOf(code) as IndexedChoice;
        this.speculation?.fill(cpu, index);
        return;
      }
      case CandidateKind.Evict: {
        const { cpu, index } = evictionOf(code) as IndexedChoice;
        this.evictions?.evict(cpu, index);
        return;
      }
      case CandidateKind.GracePeriod:
        this.gracePeriods?.end();
        return;
      case CandidateKind.AllocationFailure:
        this.allocationFailures?.failNext();
        return;
      case CandidateKind.Kill:
        this.kills?.kill(task as SchedTask);
        return;
      default:
        throw new Error(`candidate kind ${kind} is none of the hardware's`);
    }
  }

  #offerFills(speculation: Speculation, candidates: Candidate[], count: number): number {
    let next = count;
    for (const { id } of this.#machine.cpus) {
      const fills = Math.min(speculation.count(id), FILLS_PER_CPU);
      for (let index = 0; index < fills; index++) {
        candidates[next++] = this.#candidate(CandidateKind.Fill, fillCode(id, index), id);
      }
    }
    return next;
  }

  #offerEvictions(evictions: Evictions, candidates: Candidate[], count: number): number {
    let next = count;
    for (const { id } of this.#machine.cpus) {
      const held = Math.min(evictions.count(id), EVICTIONS_PER_CPU);
      for (let index = 0; index < held; index++) {
        candidates[next++] = this.#candidate(CandidateKind.Evict, evictionCode(id, index), id);
      }
    }
    return next;
  }

  #offerKills(kills: Kills, candidates: Candidate[], count: number): number {
    let next = count;
    for (const { tasks, cpu } of this.#slots) {
      for (const task of tasks) {
        if (!kills.canKill(task)) continue;
        const candidate = this.#candidate(CandidateKind.Kill, killCode(task.id), cpu.id);
        candidate.task = task;
        candidates[next++] = candidate;
      }
    }
    return next;
  }

  #candidate(kind: CandidateKind, code: number, cpu: number): Candidate {
    this.#made ??= new Map();
    let candidate = this.#made.get(code);
    if (candidate === undefined) {
      this.#points ??= pointsByKind();
      const point = this.#points[kind] as SchedPoint;
      candidate = { kind, code, cpu, task: null, point, time: 0, switches: false, preempts: false };
      this.#made.set(code, candidate);
    }
    candidate.time = this.#machine.cpu(cpu).time;
    return candidate;
  }
}

const pointsByKind = (): Readonly<Record<number, SchedPoint>> => ({
  [CandidateKind.Fill]: new SchedPoint(PointKind.Read, new SharedObject('page tables'), 'speculative fill'),
  [CandidateKind.Evict]: new SchedPoint(PointKind.Read, new SharedObject('TLB'), 'eviction'),
  [CandidateKind.GracePeriod]: point('rcu', 'end of grace period'),
  [CandidateKind.AllocationFailure]: point('allocator', 'allocation failure'),
  [CandidateKind.Kill]: point('signals', 'SIGKILL'),
});

const point = (object: string, operation: string): SchedPoint =>
  new SchedPoint(PointKind.Write, new SharedObject(object), operation);
