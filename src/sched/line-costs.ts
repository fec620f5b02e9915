/**
 * What a step costs: the profile's cycles for the kind of step, and the transfer of the object's cache line when
 * another CPU has it. One line per object, two states (one owner, or shared and unchanged).
 * Left out: queueing of many CPUs at one line, false sharing, distance between CPUs.
 */
import { PointKind, type SchedPoint, type SharedObject, StepCost } from '../base/task.ts';
import type { CostProfile } from '../hardware/cost-profile.ts';
import type { Cpu } from '../hardware/cpu.ts';

/** `SharedObject.lineOwner`: nobody has touched it. */
const NOBODY = -1;
/** Several CPUs hold it unchanged. */
const SHARED = -2;

export class LineCosts {
  readonly #steps: Float64Array;
  readonly #lineTransfer: number;
  readonly #contextSwitch: number;

  constructor(profile: CostProfile) {
    this.#steps = profile.steps;
    this.#lineTransfer = profile.lineTransfer;
    this.#contextSwitch = profile.contextSwitch;
  }

  /**
   * Charges the step after `point` to the CPU. A point without a cost is charged elsewhere and moves no line; it takes
   * one cycle, so that a loop of such steps cannot hold back the CPUs that are ahead of it.
   */
  charge(cpu: Cpu, point: SchedPoint): void {
    if (point.cost === StepCost.None) {
      cpu.time++;
      return;
    }
    const cycles = this.#steps[point.cost] as number;
    if (this.#lineTransfer === 0) {
      cpu.time += cycles;
      return;
    }
    cpu.time += point.object.lineOwner === cpu.id ? cycles : cycles + this.#fetchLine(cpu.id, point);
  }

  /** Charges a context switch, unless the task's own point is that (it wakes from sleep) or the CPU was never used. */
  chargeSwitch(cpu: Cpu, first: boolean, point: SchedPoint): void {
    if (!first && point.cost !== StepCost.ContextSwitch) cpu.time += this.#contextSwitch;
  }

  #fetchLine(cpu: number, point: SchedPoint): number {
    const object: SharedObject = point.object;
    const owner = object.lineOwner;
    if (point.kind !== PointKind.Read) {
      object.lineOwner = cpu;
      return owner === NOBODY ? 0 : this.#lineTransfer;
    }
    if (owner === SHARED) return 0;
    object.lineOwner = owner === NOBODY ? cpu : SHARED;
    return owner === NOBODY ? 0 : this.#lineTransfer;
  }
}
