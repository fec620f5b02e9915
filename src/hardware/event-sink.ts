/**
 * What happened on the machine, as typed events with virtual time and CPU, for timelines, traces and checks.
 * A producer writes `if (events.enabled) events.emit({…})`, so that a run nobody watches pays one branch and makes no
 * object. Values are plain numbers, strings and bigints: an event can be kept, printed and sent on.
 */

/** Where and when; part of every event. */
interface EventPlace {
  /** Virtual time of `cpu`, in cycles. */
  readonly time: number;
  /** Index of the CPU. */
  readonly cpu: number;
}

/** Part of events that a task causes: its name, as in schedules. */
interface ByTask {
  readonly task: string;
}

/** What a TLB or paging-structure invalidation covered. `reason` is the instruction or the kernel function. */
type FlushScope = 'page' | 'range' | 'asid' | 'all-but-global' | 'all';

export type MachineEvent = EventPlace &
  (
    | ({ readonly kind: 'task-start' } & ByTask)
    | ({ readonly kind: 'task-switch'; readonly from: string | null } & ByTask)
    | ({ readonly kind: 'task-finish' } & ByTask)
    | { readonly kind: 'interrupt-send'; readonly to: number; readonly name: string }
    | { readonly kind: 'interrupt-take'; readonly from: number; readonly name: string; readonly over: string }
    | { readonly kind: 'interrupt-done'; readonly name: string }
    | ({ readonly kind: 'lock-wait'; readonly lock: string; readonly operation: string } & ByTask)
    | ({ readonly kind: 'lock-acquire'; readonly lock: string; readonly operation: string } & ByTask)
    /** An order of locks that could deadlock. */
    | ({ readonly kind: 'lockdep'; readonly text: string } & ByTask)
    /** What Linux writes to its log, once for each place (WARN_ON_ONCE), and goes on after: place is its function. */
    | ({ readonly kind: 'warning'; readonly place: string; readonly text: string } & ByTask)
    | ({
        readonly kind: 'vma-lock';
        /** Page number for which a VMA's own lock was wanted. */
        readonly page: number;
        /** Why it was not to be had, or that what was begun under it must be done again: `retry`. */
        readonly reason: string;
      } & ByTask)
    /** A fault waits for user space (userfaultfd), or goes on. */
    | ({
        readonly kind: 'userfault-wait' | 'userfault-done';
        readonly address: bigint;
        /** `missing`, `write-protect` or `minor`. */
        readonly reason: string;
      } & ByTask)
    /** A page went to a slot of the swap area, or came from it. */
    | ({ readonly kind: 'swap-out' | 'swap-in'; readonly slot: number; readonly frame: number } & ByTask)
    /** fork gives the child a copy of a page at once: it may be pinned. Frames of the parent's page and of the copy. */
    | ({
        readonly kind: 'fork-copy';
        readonly address: bigint;
        readonly frame: number;
        readonly copy: number;
      } & ByTask)
    /**
     * Transparent huge pages, by the address of their first byte: one is mapped by a fault; the entry that maps one becomes
     * a table of small pages; small pages become one.
     */
    | ({ readonly kind: 'thp-fault' | 'thp-split' | 'thp-collapse'; readonly address: bigint } & ByTask)
    | ({ readonly kind: 'syscall-enter'; readonly name: string; readonly args: readonly string[] } & ByTask)
    | ({ readonly kind: 'syscall-exit'; readonly name: string; readonly result: string } & ByTask)
    | ({
        readonly kind: 'user-access';
        readonly access: 'read' | 'write' | 'fetch' | 'atomic';
        readonly address: bigint;
        readonly bytes: number;
        /** `ok`, or the fault in words. */
        readonly result: string;
      } & ByTask)
    | ({
        readonly kind: 'tag-instruction';
        /** As in assembler, without operands: `stg`, `irg`, `dc gva`, `msr tco`. */
        readonly instruction: string;
        /** The pointer operand as given, tag bits included; null where there is none (`msr tco`). */
        readonly address: bigint | null;
        /** The tag that it stores, has read, or has put into its result; null where there is none, or after a fault. */
        readonly tag: number | null;
        /** What it leaves in a register, or in TCO; null for stores, and after a fault. */
        readonly value: bigint | null;
        /** `ok`, or the signal. */
        readonly result: string;
      } & ByTask)
    | ({
        readonly kind: 'tag-check';
        /** The first byte whose check failed, tag bits included. No fault: the access goes on. */
        readonly address: bigint;
        /** The status bit that is now set: `TFSRE0_EL1.TF0`. */
        readonly flag: string;
      } & ByTask)
    | ({
        readonly kind: 'fault';
        /** As the processor reports it: CR2, FAR_EL1. */
        readonly address: bigint;
        /** The architecture's syndrome, decoded: `#PF P W U`; on arm64 with the values of ESR_EL1 and FAR_EL1. */
        readonly syndrome: string;
      } & ByTask)
    | ({
        readonly kind: 'fault-done';
        readonly address: bigint;
        /** How the kernel answered: `zero page`, `copied`, `SIGSEGV SEGV_MAPERR`. */
        readonly result: string;
      } & ByTask)
    | ({
        readonly kind: 'signal';
        readonly signal: string;
        readonly code: string;
        readonly address: bigint;
      } & ByTask)
    | {
        readonly kind: 'walk';
        readonly address: bigint;
        /** One line per level, root first: level name, entry address, entry, from cache or memory. */
        readonly levels: readonly string[];
        /** The rule that decided. */
        readonly result: string;
      }
    | {
        readonly kind: 'tlb-fill';
        readonly address: bigint;
        readonly frame: number;
        /** Bytes the entry maps. */
        readonly pageBytes: number;
        /** PCID or ASID, -1 for a global entry. */
        readonly asid: number;
      }
    | {
        readonly kind: 'tlb-flush';
        readonly scope: FlushScope;
        readonly reason: string;
        /** First byte, for `page` and `range`. */
        readonly address?: bigint;
        /** For `range`. */
        readonly pages?: number;
        /** PCID or ASID, where one is meant. */
        readonly asid?: number;
      }
    | { readonly kind: 'note'; readonly text: string }
  );

export type EventKind = MachineEvent['kind'];

/** Takes events; the default one is off and takes none. */
export class EventSink {
  /** Producers look here before they make an event. */
  enabled = false;

  emit(_event: MachineEvent): void {}
}

/** Keeps every event, or every event of some kinds. */
export class EventCollector extends EventSink {
  override enabled = true;
  readonly events: MachineEvent[] = [];
  readonly #kinds: ReadonlySet<EventKind> | null;

  constructor(kinds: readonly EventKind[] | null = null) {
    super();
    this.#kinds = kinds === null ? null : new Set(kinds);
  }

  override emit(event: MachineEvent): void {
    if (this.#kinds === null || this.#kinds.has(event.kind)) this.events.push(event);
  }

  /** The events of one kind, in the order in which they happened. */
  ofKind<K extends EventKind>(kind: K): Extract<MachineEvent, { readonly kind: K }>[] {
    return this.events.filter((event) => event.kind === kind) as Extract<
      MachineEvent,
      { readonly kind: K }
    >[];
  }
}

/** Keeps the last events of a long run. */
export class EventRing extends EventSink {
  override enabled = true;
  readonly #slots: MachineEvent[] = [];
  readonly #capacity: number;
  #next = 0;
  /** Events that came and were pushed out again. */
  dropped = 0;

  /** @throws RangeError when `capacity` is not a whole number above 0 */
  constructor(capacity: number) {
    super();
    if (!Number.isInteger(capacity) || capacity < 1) throw new RangeError(`a ring of ${capacity} events`);
    this.#capacity = capacity;
  }

  override emit(event: MachineEvent): void {
    if (this.#slots.length === this.#capacity) this.dropped++;
    this.#slots[this.#next] = event;
    this.#next = (this.#next + 1) % this.#capacity;
  }

  /** Oldest first. */
  events(): MachineEvent[] {
    if (this.#slots.length < this.#capacity) return [...this.#slots];
    return [...this.#slots.slice(this.#next), ...this.#slots.slice(0, this.#next)];
  }
}
