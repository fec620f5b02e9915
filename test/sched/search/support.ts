/** Toy programs over a few shared objects, and what all their schedules lead to. */
import { PointKind, SchedPoint, SharedObject, type Task } from '../../../src/base/task.ts';
import type { HardwareChoices } from '../../../src/sched/hardware-choices.ts';
import { createSearch } from '../../../src/sched/search/create-search.ts';
import type { Search, SearchOptions } from '../../../src/sched/search/search.ts';
import type { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld, type World } from '../support.ts';

export const DEFAULTS: SearchOptions = {
  policy: 'dfs',
  seed: 1,
  preemptions: null,
  depth: 3,
  reduction: true,
  shard: { index: 0, count: 1 },
};

export const reads = (object: SharedObject): SchedPoint => new SchedPoint(PointKind.Read, object, 'read');
export const writes = (object: SharedObject): SchedPoint => new SchedPoint(PointKind.Write, object, 'write');

/** Sets up the tasks of one run; what it returns tells the state at the end. */
export type Build = (world: World) => () => string;

export interface Explored {
  /** Ends, each with how many runs had it: the result and the state. */
  readonly ends: ReadonlyMap<string, number>;
  readonly runs: number;
  readonly redundant: number;
  readonly distinctStates: number;
  /** Schedules in the order in which they were made, redundant ones left out. */
  readonly schedules: readonly string[];
  readonly steps: number;
}

export interface Exploring {
  readonly cpus?: number;
  readonly runs?: number;
  readonly promptInterrupts?: boolean;
  readonly hardware?: (hardware: HardwareChoices, world: World) => void;
}

export function exploreWith(search: Search, build: Build, options: Exploring = {}): Explored {
  const ends = new Map<string, number>();
  const schedules: string[] = [];
  let steps = 0;
  for (let run = 0; run < (options.runs ?? 100_000); run++) {
    const policy = search.next();
    if (policy === null) break;
    const { promptInterrupts = false } = options;
    const world = makeWorld(options.cpus ?? 3, policy, { promptInterrupts });
    world.events.enabled = false;
    options.hardware?.(world.loop.hardware, world);
    const state = build(world);
    const { kind } = world.loop.run({ maxSteps: 1000 });
    steps += world.loop.steps;
    const before = search.progress.runs;
    search.ended();
    if (search.progress.runs === before) continue;
    const end = `${kind} ${state()}`;
    ends.set(end, (ends.get(end) ?? 0) + 1);
    schedules.push(
      world.loop.schedule.codes.map((code, at) => `${code}*${world.loop.schedule.repeats[at]}`).join(' '),
    );
  }
  const { runs, redundant, distinctStates } = search.progress;
  return { ends, runs, redundant, distinctStates, schedules, steps };
}

/** Every schedule that the options ask for. */
export const explore = (
  build: Build,
  options: Partial<SearchOptions> = {},
  exploring: Exploring = {},
): Explored => exploreWith(createSearch({ ...DEFAULTS, ...options }), build, exploring);

/** One thing that a toy program does. */
export type Op =
  /** Notes the value of object `object`. */
  | { readonly op: 'read'; readonly object: number }
  /** Puts its mark at the end of the object's value. */
  | { readonly op: 'write'; readonly object: number }
  /** Both inside a spinlock: attempt, wait if it is held, release, with preemption off as in a kernel. */
  | { readonly op: 'locked'; readonly lock: number; readonly object: number }
  /** The same with a sleeping lock. */
  | { readonly op: 'sleeping'; readonly lock: number; readonly object: number }
  /** Waits until somebody has raised the flag. */
  | { readonly op: 'wait'; readonly flag: number }
  | { readonly op: 'raise'; readonly flag: number }
  /** Lowers the flag: whoever waits and has not gone on waits on. */
  | { readonly op: 'lower'; readonly flag: number }
  /** Interrupts a CPU; the handler writes the object. The task waits for its handlers at its end. */
  | { readonly op: 'interrupt'; readonly cpu: number; readonly object: number };

export interface Toy {
  /** Of each task: its CPU and what it does. */
  readonly tasks: readonly { readonly cpu: number; readonly ops: readonly Op[] }[];
}

interface ToyLock {
  readonly object: SharedObject;
  holder: SchedTask | null;
}

/** Builds the toy's tasks; the end is told by the values of its objects and all that was read. */
export function buildToy(toy: Toy): Build {
  return (world) => {
    const memory = new ToyMemory(world);
    const tasks = makeTasks(...toy.tasks.map(({ cpu }) => cpu));
    for (const [index, task] of tasks.entries()) {
      world.loop.start(task, runOps(memory, task, toy.tasks[index]?.ops ?? []));
    }
    return () => memory.tell();
  };
}

class ToyMemory {
  readonly world: World;
  readonly objects = [0, 1, 2].map((index) => new SharedObject(`object ${index}`));
  readonly values = ['', '', ''];
  readonly locks: ToyLock[] = [0, 1].map((index) => ({
    object: new SharedObject(`lock ${index}`),
    holder: null,
  }));
  readonly flags = [0, 1].map((index) => ({ object: new SharedObject(`flag ${index}`), raised: false }));
  readonly seen: Record<string, string[]> = {};
  /** By task: interrupts whose handlers have not ended. */
  readonly outstanding: number[] = [];
  readonly calls = [0, 1, 2].map((task) => new SharedObject(`calls of ${task}`));

  constructor(world: World) {
    this.world = world;
  }

  tell(): string {
    return JSON.stringify([
      this.values,
      Object.entries(this.seen).sort(),
      this.flags.map(({ raised }) => raised),
    ]);
  }

  note(task: SchedTask, value: string): void {
    this.seen[task.name] = [...(this.seen[task.name] ?? []), value];
  }
}

function* runOps(memory: ToyMemory, task: SchedTask, ops: readonly Op[]): Task<void> {
  for (const op of ops) yield* runOp(memory, task, op);
  if (memory.outstanding[task.id] === undefined) return;
  // A run that ended before its interrupts are taken would be the beginning of another one, and nothing new.
  const calls = memory.calls[task.id] as SharedObject;
  yield new SchedPoint(PointKind.Wait, calls, 'wait', 0, () => memory.outstanding[task.id] === 0);
}

function* runOp(memory: ToyMemory, task: SchedTask, op: Op): Task<void> {
  switch (op.op) {
    case 'read':
      yield reads(memory.objects[op.object] as SharedObject);
      memory.note(task, memory.values[op.object] as string);
      return;
    case 'write':
      return yield* write(memory, task.name, op.object);
    case 'locked':
    case 'sleeping':
      return yield* locked(memory, task, op);
    case 'wait': {
      const flag = memory.flags[op.flag] as (typeof memory.flags)[number];
      yield new SchedPoint(PointKind.Wait, flag.object, 'wait', 0, () => flag.raised);
      memory.note(task, 'through');
      return;
    }
    case 'raise':
    case 'lower': {
      const flag = memory.flags[op.flag] as (typeof memory.flags)[number];
      yield writes(flag.object);
      flag.raised = op.op === 'raise';
      return;
    }
    case 'interrupt': {
      const { machine } = memory.world;
      const line = machine.cpu(op.cpu).interruptLine;
      yield writes(line);
      machine.footprint.writeObject(line);
      memory.outstanding[task.id] = (memory.outstanding[task.id] ?? 0) + 1;
      machine.interconnect.sendInterrupt(task.cpu, op.cpu, () => handler(memory, task, op.object), 'toy');
    }
  }
}

function* handler(memory: ToyMemory, from: SchedTask, object: number): Task<void> {
  yield* write(memory, `i${from.name}`, object);
  (memory.outstanding[from.id] as number)--;
  memory.world.machine.footprint.writeObject(memory.calls[from.id] as SharedObject);
}

function* write(memory: ToyMemory, mark: string, object: number): Task<void> {
  yield writes(memory.objects[object] as SharedObject);
  memory.values[object] += mark;
}

function* locked(
  memory: ToyMemory,
  task: SchedTask,
  { op, lock: number, object }: Extract<Op, { op: 'locked' | 'sleeping' }>,
): Task<void> {
  const lock = memory.locks[number] as ToyLock;
  if (op === 'locked') task.preemptDisabled++;
  yield writes(lock.object);
  if (lock.holder !== null) {
    yield new SchedPoint(PointKind.Wait, lock.object, 'wait', 0, () => lock.holder === null);
  }
  lock.holder = task;
  yield* write(memory, task.name, object);
  yield writes(lock.object);
  lock.holder = null;
  if (op === 'locked') task.preemptDisabled--;
}
