/** Counts events by kind, and keeps them when asked to. Switched off, it says so to whoever asks for a number. */
import { type EventKind, EventSink, type MachineEvent } from '../hardware/event-sink.ts';

/** Somebody asked for the number of events in a run that does not make any. */
export class EventsNeeded extends Error {
  override readonly name = 'EventsNeeded';
}

export class EventCounter extends EventSink {
  readonly events: MachineEvent[] = [];
  /** Events beyond this number are counted, not kept. */
  readonly #capacity: number;
  #counts: Map<string, number> | null = null;

  constructor(capacity: number, enabled = true) {
    super();
    this.enabled = enabled;
    this.#capacity = capacity;
  }

  override emit(event: MachineEvent): void {
    this.#counts ??= new Map();
    this.#counts.set(event.kind, (this.#counts.get(event.kind) ?? 0) + 1);
    if (this.events.length < this.#capacity) this.events.push(event);
  }

  /** @throws EventsNeeded when it is switched off */
  count(kind: EventKind | (string & {})): number {
    if (!this.enabled) throw new EventsNeeded(`the number of ${kind} events`);
    return this.#counts?.get(kind) ?? 0;
  }

  /** Every kind that happened, by name, sorted. */
  counts(): Record<string, number> {
    return Object.fromEntries([...(this.#counts ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
