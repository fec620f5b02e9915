/** Small tasks for tests of the scheduler. */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../src/base/task.ts';
import { COST_PROFILES } from '../../src/hardware/cost-profile.ts';
import { EventCollector } from '../../src/hardware/event-sink.ts';
import { Machine } from '../../src/hardware/machine.ts';
import type { Policy } from '../../src/sched/policy/policy.ts';
import { RunLoop } from '../../src/sched/run-loop.ts';
import { SchedTask } from '../../src/sched/task.ts';

export interface World {
  readonly machine: Machine;
  readonly loop: RunLoop;
  readonly events: EventCollector;
  /** What the tasks wrote down, in the order in which it happened. */
  readonly log: string[];
}

export function makeWorld(
  cpus: number,
  policy?: Policy,
  options: { readonly promptInterrupts?: boolean; readonly profile?: string } = {},
): World {
  const events = new EventCollector();
  const profile = COST_PROFILES[options.profile ?? 'flat'];
  if (profile === undefined) throw new Error(`no profile ${options.profile}`);
  const machine = new Machine({ cpus, events, profile });
  const loop = new RunLoop(machine, {
    ...(policy === undefined ? {} : { policy }),
    ...(options.promptInterrupts === undefined ? {} : { promptInterrupts: options.promptInterrupts }),
  });
  return { machine, loop, events, log: [] };
}

/** Tasks named a, b, c … with ids 0, 1, 2 … on the given CPUs. */
export function makeTasks(...cpus: readonly number[]): SchedTask[] {
  return cpus.map((cpu, id) => new SchedTask(id, String.fromCharCode(97 + id), cpu));
}

export const writePoint = (name: string, cost: StepCost = StepCost.AtomicUpdate): SchedPoint =>
  new SchedPoint(PointKind.Write, new SharedObject(name), 'write', cost);

export const waitPoint = (name: string, ready: () => boolean): SchedPoint =>
  new SchedPoint(PointKind.Wait, new SharedObject(name), 'wait', StepCost.None, ready);

/** Writes down its name and a number at each of `count` points. */
export function* counting(
  world: World,
  task: SchedTask,
  count: number,
  point = writePoint('x'),
): Task<number> {
  for (let step = 1; step <= count; step++) {
    yield point;
    world.log.push(`${task.name}${step}`);
  }
  return count;
}

/** Starts `counting` on every task. */
export function startCounting(world: World, tasks: readonly SchedTask[], count: number): void {
  for (const task of tasks) world.loop.start(task, counting(world, task, count));
}
