/** Turning what MMUs tell their observers into events of the machine. Each architecture has its own way of saying it. */
import type { EventSink } from '../hardware/event-sink.ts';
import type { Machine } from '../hardware/machine.ts';

export interface MmuEventOptions {
  readonly machine: Machine;
  readonly events: EventSink;
  /** Name of the task on a CPU, `idle` when there is none. */
  readonly taskOn: (cpu: number) => string;
}
