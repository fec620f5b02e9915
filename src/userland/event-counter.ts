/** Counts events by kind, and keeps them when asked to. */
import { type EventKind, EventSink, type MachineEvent } from '../hardware/event-sink.ts';

export class EventCounter extends EventSink {
  override enabled = true;
  readonly events: MachineEvent[] = [];
  /** Events beyond this number are counted, not kept. */
  readonly #capacity: number;
  readonly #counts = new Map<string, number>();

  constructor(capacity: number) {
    super();
    this.#capacity = capacity;
  }

  override emit(event: MachineEvent): void {
    this.#counts.set(event.kind, (this.#counts.get(event.kind) ?? 0) + 1);
    if (this.events.length < this.#capacity) this.events.push(event);
  }

  count(kind: EventKind | (string & {})): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** Every kind that happened, by name, sorted. */
  counts(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
