/**
 * The vocabulary in which kernel code says where it may be interleaved. A path that can interleave is a generator;
 * each `yield` stands just before a shared effect and names the object touched. What does not yield is atomic.
 * Here are only the words; `src/sched/` runs the tasks.
 */

/** What the step after a point does to its object. Two `Read`s of one object commute; nothing else on one object does. */
export const PointKind = {
  /** Looks at the object. */
  Read: 0,
  /** Changes the object (lock word, reference count, page-table entry, interrupt line). */
  Write: 1,
  /** Cannot go on until `ready()`: the task waits. */
  Wait: 2,
} as const;
export type PointKind = (typeof PointKind)[keyof typeof PointKind];

/** What a step costs, as an index into a cost profile (`src/hardware/cost-profile.ts`). */
export const StepCost = {
  /** Plain work that is not charged here. */
  None: 0,
  /** A locked read-modify-write on a line that may have to come from another CPU. */
  AtomicUpdate: 1,
  /** A plain load of a shared line. */
  SharedLoad: 2,
  /** Entering or leaving the kernel, or taking an exception. */
  KernelEntry: 3,
  /** Sending an inter-processor interrupt. */
  InterruptSend: 4,
  /** Taking one. */
  InterruptEntry: 5,
  /** Putting a task to sleep or waking it: a context switch. */
  ContextSwitch: 6,
  /** Filling or copying one page. */
  PageCopy: 7,
} as const;
export type StepCost = (typeof StepCost)[keyof typeof StepCost];

/**
 * Something more than one CPU may touch: a lock word, a reference count, a page-table page, a VMA. Hundreds are made for
 * each run of a search; hence `declare`, here and in `SchedPoint`: fields that the constructor alone makes. Making a system
 * with two processes takes 28 µs so, and 38 with fields defined first.
 */
export class SharedObject {
  /** As shown in schedules and reports; unique within a run, the same in every run of the same schedule. */
  declare readonly name: string;
  /** The CPU whose cache holds the line alone; -1 none yet, -2 several hold it unchanged. Only the cost model reads it. */
  declare lineOwner: number;
  /** Of its name, for footprints; 0 until it is asked for. */
  declare footprintKey: number;

  constructor(name: string) {
    this.name = name;
    this.lineOwner = -1;
    this.footprintKey = 0;
  }

  /** Who holds it, if it is a lock that is held: deadlock reports name them. */
  holders(): readonly Holder[] {
    return [];
  }
}

/** Somebody who holds a lock. */
export interface Holder {
  /** Of the task. */
  readonly name: string;
  /** `read`, `write`, or what the lock calls it. */
  readonly mode: string;
}

/** A place where another task may run. Made once per object and reused, so that a yield allocates nothing. */
export class SchedPoint {
  declare readonly kind: PointKind;
  declare readonly object: SharedObject;
  /** The operation about to happen, a kernel function name where there is one: `down_read`, `set_pte_at`. */
  declare readonly operation: string;
  declare readonly cost: StepCost;
  /** For `Wait` points: may the task go on? `null` on the others, which always may. */
  declare readonly ready: (() => boolean) | null;
  /** The object's, once it was asked for: objects are of many classes, and points of one, which is quicker to look at. */
  declare footprintKey: number;

  constructor(
    kind: PointKind,
    object: SharedObject,
    operation: string,
    cost: StepCost = StepCost.None,
    ready: (() => boolean) | null = null,
  ) {
    this.kind = kind;
    this.object = object;
    this.operation = operation;
    this.cost = cost;
    this.ready = ready;
    this.footprintKey = 0;
  }
}

/** A path that may be interleaved: it gives the CPU back at each `yield`, which stands just before a shared effect. */
export type Task<T> = Generator<SchedPoint, T, void>;

/**
 * A task without a point: `body` runs as a whole when the task is resumed, and not before. For what nobody else can see,
 * such as an instruction on registers alone.
 */
// biome-ignore lint/correctness/useYield: that is what it is for
export function* atomically<T>(body: () => T): Task<T> {
  return body();
}
