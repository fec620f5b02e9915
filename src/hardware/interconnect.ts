/**
 * What joins the CPUs: inter-processor interrupts with a latency, and the count of those still on their way.
 * Sending is one atomic step; the sender yields its `InterruptSend` point just before. Left out: topology (every CPU
 * is equally far), lost or merged interrupts, shortcuts and broadcast hardware (INVLPGB, TLBI).
 */
import type { Footprint } from '../base/footprint.ts';
import type { Task } from '../base/task.ts';
import type { CostProfile } from './cost-profile.ts';
import type { Cpu } from './cpu.ts';
import type { EventSink } from './event-sink.ts';

export class Interconnect {
  /** Interrupts sent and not yet taken, over all CPUs. */
  pending = 0;
  readonly #cpus: readonly Cpu[];
  readonly #profile: CostProfile;
  readonly #events: EventSink;
  readonly #footprint: Footprint | null;

  constructor(
    cpus: readonly Cpu[],
    profile: CostProfile,
    events: EventSink,
    footprint: Footprint | null = null,
  ) {
    this.#footprint = footprint;
    this.#cpus = cpus;
    this.#profile = profile;
    this.#events = events;
  }

  /**
   * Queues an interrupt at one CPU or several. `from` and `to` are CPU indices; a CPU may interrupt itself.
   * The sender's clock is charged per target; each target takes it some cycles later, when its gate is open.
   */
  sendInterrupt(from: number, to: number | readonly number[], handler: () => Task<void>, name: string): void {
    if (typeof to === 'number') this.#send(this.#cpu(from), this.#cpu(to), handler, name);
    else for (const target of to) this.#send(this.#cpu(from), this.#cpu(target), handler, name);
  }

  #send(sender: Cpu, target: Cpu, handler: () => Task<void>, name: string): void {
    sender.advance(this.#profile.interruptSendPerTarget);
    const arrivesAt = sender.time + this.#profile.interruptLatency;
    target.pendingInterrupts.push({ name, from: sender.id, arrivesAt, handler });
    this.pending++;
    if (this.#footprint?.enabled === true) this.#footprint.writeObject(target.interruptLine);
    if (this.#events.enabled) {
      this.#events.emit({ kind: 'interrupt-send', time: sender.time, cpu: sender.id, to: target.id, name });
    }
  }

  #cpu(id: number): Cpu {
    const cpu = this.#cpus[id];
    if (cpu === undefined) throw new Error(`no cpu ${id} on this machine`);
    return cpu;
  }
}
