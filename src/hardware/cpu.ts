/**
 * One processor as the scheduler and the interrupt lines see it: a clock, an interrupt gate, a queue of interrupts.
 * What it translates with (registers, TLB) belongs to the architecture's MMU; which task it runs, to the run loop.
 * Left out: interrupt priorities and NMIs, frequency changes, SMT siblings.
 */
import type { Footprint } from '../base/footprint.ts';
import { SharedObject, type Task } from '../base/task.ts';

import { INTERRUPTS_OFF } from './footprint-keys.ts';

/** An interrupt that was sent and not yet taken. */
export interface Interrupt {
  /** What it is for: `tlb flush`, `call function`. */
  readonly name: string;
  /** The CPU that sent it. */
  readonly from: number;
  /** When it reaches the target, in cycles of virtual time. */
  readonly arrivesAt: number;
  /** Makes the handler; it runs on the target with interrupts disabled. */
  readonly handler: () => Task<void>;
}

export class Cpu {
  readonly id: number;
  /** Virtual time, in cycles since the machine was switched on. Never goes back. */
  time = 0;
  /** Depth of local_irq_save and of interrupt handlers; interrupts are taken only at 0. Moved by the two methods only. */
  interruptsDisabled = 0;
  /** Told whenever interrupts are enabled again, while it is set: an RCU grace period waits for that. */
  onInterruptsEnabled: (() => void) | null = null;
  /** Told just before this CPU waits until others have taken an interrupt that it sent them: lockdep. */
  onWaitForOthers: (() => void) | null = null;
  /**
   * Depth of get_cpu / preempt_disable by code that knows its CPU and not its task; above 0 the CPU's task stays on it
   * and a wait is a spin. Tasks have a depth of their own, which adds to this one.
   */
  preemptDisabled = 0;
  /** In order of sending. */
  readonly pendingInterrupts: Interrupt[] = [];
  /** The interrupt line, as schedules and reports name it. */
  readonly interruptLine: SharedObject;

  readonly #footprint: Footprint | null;

  constructor(id: number, footprint: Footprint | null = null) {
    this.id = id;
    this.#footprint = footprint;
    this.interruptLine = new SharedObject(`interrupts of cpu ${id}`);
  }

  disableInterrupts(): void {
    this.interruptsDisabled++;
    if (this.#footprint?.enabled === true) this.#footprint.read(INTERRUPTS_OFF);
  }

  enableInterrupts(): void {
    this.interruptsDisabled--;
    if (this.#footprint?.enabled === true) this.#footprint.read(INTERRUPTS_OFF);
    if (this.onInterruptsEnabled !== null && this.interruptsDisabled === 0) this.onInterruptsEnabled();
  }

  /** Charges work to this CPU. */
  advance(cycles: number): void {
    this.time += cycles;
  }

  /** Waits, in virtual time: the clock moves on to `time` if it is not there yet. */
  waitUntil(time: number): void {
    if (time > this.time) this.time = time;
  }
}
