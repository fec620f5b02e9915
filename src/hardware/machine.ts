/** A board: memory, CPUs, what joins them, what it costs, and where events go. No operating system. */
import { Footprint } from '../base/footprint.ts';
import { type CostProfile, flatProfile } from './cost-profile.ts';
import { Cpu } from './cpu.ts';
import { EventSink } from './event-sink.ts';
import { Interconnect } from './interconnect.ts';
import { PhysicalMemory } from './physical-memory.ts';
import { SpareParts } from './spare-parts.ts';

export interface MachineOptions {
  /** How many; at least 1. */
  readonly cpus: number;
  /** Its regions; without it there is no memory and every access is a bus error. */
  readonly memory?: PhysicalMemory;
  /** Default: `flat`, one cycle per step. */
  readonly profile?: CostProfile | undefined;
  /** Default: a sink that is off. */
  readonly events?: EventSink | undefined;
  /** Where parts come from that an earlier board had; default: all are new. */
  readonly parts?: SpareParts | undefined;
  /** What differs from one start of a real board to the next (its counters, its noise), as a number; default 1. */
  readonly seed?: number | undefined;
}

export class Machine {
  readonly memory: PhysicalMemory;
  readonly cpus: readonly Cpu[];
  readonly interconnect: Interconnect;
  readonly profile: CostProfile;
  readonly events: EventSink;
  /** What the step being made touches, for searches; off unless the run's policy asks for it. */
  readonly footprint: Footprint;
  readonly parts: SpareParts;
  readonly seed: number;

  /** @throws RangeError when `cpus` is not a whole number from 1 to 4096 */
  constructor(options: MachineOptions) {
    const { cpus } = options;
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > 4096)
      throw new RangeError(`a machine with ${cpus} cpus`);
    this.memory = options.memory ?? new PhysicalMemory();
    this.profile = options.profile ?? flatProfile;
    this.events = options.events ?? new EventSink();
    this.parts = options.parts ?? new SpareParts();
    this.footprint = this.parts.take('footprint', newFootprint, renewFootprint);
    this.memory.footprint = this.footprint;
    this.seed = options.seed ?? 1;
    const made: Cpu[] = [];
    for (let id = 0; id < cpus; id++) made.push(new Cpu(id, this.footprint));
    this.cpus = made;
    this.interconnect = new Interconnect(this.cpus, this.profile, this.events, this.footprint);
  }

  /** @throws Error when there is no such CPU */
  cpu(id: number): Cpu {
    const cpu = this.cpus[id];
    if (cpu === undefined) throw new Error(`no cpu ${id} on a machine with ${this.cpus.length}`);
    return cpu;
  }
}

const newFootprint = (): Footprint => new Footprint();

function renewFootprint(footprint: Footprint): void {
  footprint.clear();
  footprint.enabled = false;
}
