/**
 * What things cost, as data: cycles of one processor model, each figure with its source and how far it can be trusted.
 * Figures are provisional until they are calibrated; compare variants under one profile, never absolute times, and
 * never mix profiles in a run. TLB geometry is not here but with the TLB.
 */
import { StepCost } from '../base/task.ts';
import { type FigureName, type ProfileData, profileData } from './cost-figures.ts';

export class CostProfile {
  readonly name: string;
  /** Cycles per nanosecond. */
  readonly gigahertz: number;
  readonly data: ProfileData;
  /** Cycles by `StepCost`. */
  readonly steps: Float64Array;
  /** Cycles to bring a line here that another CPU has. */
  readonly lineTransfer: number;
  /** Cycles from sending an interrupt until the target can take it. */
  readonly interruptLatency: number;
  /** Cycles of the sender for each target, beside `StepCost.InterruptSend`. */
  readonly interruptSendPerTarget: number;
  readonly contextSwitch: number;
  readonly interruptEntry: number;

  constructor(data: ProfileData) {
    this.name = data.name;
    this.gigahertz = data.gigahertz;
    this.data = data;
    const { figures } = data;
    this.steps = new Float64Array(8);
    this.steps[StepCost.AtomicUpdate] = figures.atomicUpdate.cycles;
    this.steps[StepCost.SharedLoad] = figures.l1Hit.cycles;
    this.steps[StepCost.KernelEntry] = figures.kernelEntry.cycles;
    this.steps[StepCost.InterruptSend] = figures.interruptSend.cycles;
    this.steps[StepCost.InterruptEntry] = figures.interruptEntry.cycles;
    this.steps[StepCost.ContextSwitch] = figures.contextSwitch.cycles;
    this.steps[StepCost.PageCopy] = figures.pageCopy.cycles;
    this.lineTransfer = figures.lineTransfer.cycles;
    this.interruptLatency = figures.interruptLatency.cycles;
    this.interruptSendPerTarget = figures.interruptSendPerTarget.cycles;
    this.contextSwitch = figures.contextSwitch.cycles;
    this.interruptEntry = figures.interruptEntry.cycles;
  }

  /** Cycles of any figure, by name. Hot paths read it once and keep it. */
  cycles(name: FigureName): number {
    return this.data.figures[name].cycles;
  }

  /** Virtual time in nanoseconds. */
  nanoseconds(cycles: number): number {
    return cycles / this.gigahertz;
  }
}

/** Every step costs one cycle and nothing else costs anything: for tests, and where only the order matters. */
export const flatProfile = new CostProfile(profileData.flat);

export const COST_PROFILES: Readonly<Record<string, CostProfile>> = {
  flat: flatProfile,
  'sapphire-rapids': new CostProfile(profileData['sapphire-rapids']),
  zen4: new CostProfile(profileData.zen4),
  'neoverse-v2': new CostProfile(profileData['neoverse-v2']),
};
