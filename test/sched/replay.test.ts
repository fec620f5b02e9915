import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/base/random.ts';
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../src/base/task.ts';
import { RwSemaphore } from '../../src/kernel/lock/rwsem.ts';
import { SpinLock } from '../../src/kernel/lock/spinlock.ts';
import type { Policy } from '../../src/sched/policy/policy.ts';
import { RandomPolicy } from '../../src/sched/policy/random.ts';
import { ReplayPolicy } from '../../src/sched/policy/replay.ts';
import { RoundRobinPolicy } from '../../src/sched/policy/round-robin.ts';
import { describeResult, type RunResult } from '../../src/sched/run-result.ts';
import { formatSchedule, parseSchedule } from '../../src/sched/schedule-text.ts';
import { SchedTask } from '../../src/sched/task.ts';
import { makeTasks, makeWorld, startCounting } from './support.ts';

/** Everything a run shows: its end, its schedule, every event with its time, the clocks. */
interface Recorded {
  readonly result: RunResult;
  readonly schedule: string;
  readonly events: unknown;
  readonly clocks: readonly number[];
  readonly log: readonly string[];
}

/**
 * Five tasks on three CPUs that lock, sleep, spin, interrupt, fork and switch; `shape` varies what they do. Some shapes
 * deadlock.
 */
function busyRun(shape: number, policy: Policy): Recorded {
  const random = new SeededRandom(shape);
  const world = makeWorld(3, policy, { profile: 'zen4' });
  const { loop, machine, log } = world;
  const sems = [new RwSemaphore('sem 0'), new RwSemaphore('sem 1')] as const;
  const spin = new SpinLock('spin');
  const switched = new SchedPoint(
    PointKind.Write,
    new SharedObject('mm'),
    'switch_mm',
    StepCost.AtomicUpdate,
  );
  loop.onSwitch = function* (): Task<void> {
    yield switched;
  };
  const plans = Array.from({ length: 6 }, () => Array.from({ length: 6 }, () => random.below(6)));
  const tasks = Array.from({ length: 6 }, (_, id) => new SchedTask(id, `t${id}`, id % 3));

  function* interrupt(task: SchedTask): Task<void> {
    const object = new SharedObject(`call of ${task.name}`);
    let done = false;
    const handler = function* (): Task<void> {
      yield new SchedPoint(PointKind.Write, object, 'acknowledge', StepCost.AtomicUpdate);
      done = true;
    };
    task.preemptDisabled++;
    yield new SchedPoint(PointKind.Write, object, 'send', StepCost.InterruptSend);
    machine.interconnect.sendInterrupt(task.cpu, (task.cpu + 1) % 3, handler, 'call');
    yield new SchedPoint(PointKind.Wait, object, 'wait', StepCost.SharedLoad, () => done);
    task.preemptDisabled--;
  }

  function* nested(task: SchedTask, outer: RwSemaphore, inner: RwSemaphore): Task<void> {
    yield* outer.downWrite(task);
    yield* inner.downRead(task);
    yield* inner.upRead(task);
    yield* outer.upWrite(task);
  }

  function* act(task: SchedTask, action: number): Task<void> {
    if (action === 0) yield* nested(task, sems[0], sems[1]);
    else if (action === 1 && shape % 2 === 1) yield* nested(task, sems[1], sems[0]);
    else if (action === 2) yield* interrupt(task);
    else if (action === 3) {
      const child = tasks[5] as SchedTask;
      if (child.state === 0 && child.result === undefined) loop.start(child, body(child));
    } else {
      yield* spin.lock(task);
      yield* spin.unlock(task);
    }
  }

  function* body(task: SchedTask): Task<number> {
    for (const action of plans[task.id] as number[]) {
      yield* act(task, action);
      log.push(`${task.name} did ${action}`);
    }
    return task.id;
  }

  for (const task of tasks.slice(0, 5)) loop.start(task, body(task));
  const result = loop.run({ maxSteps: 20_000 });
  return {
    result,
    schedule: formatSchedule(loop.schedule),
    events: world.events.events,
    clocks: machine.cpus.map((cpu) => cpu.time),
    log,
  };
}

describe('replaying a schedule', () => {
  it('gives the same run exactly, for each of 1000 seeds', () => {
    const ends = new Set<string>();
    for (let seed = 0; seed < 1000; seed++) {
      const first = busyRun(seed % 50, new RandomPolicy(seed));
      const again = busyRun(seed % 50, new ReplayPolicy(parseSchedule(first.schedule)));
      expect(again).toEqual(first);
      ends.add(first.result.kind);
    }
    // The test would be weak if no run, or every run, came to a deadlock.
    expect([...ends].sort()).toEqual(['deadlock', 'finished']);
  });

  it('gives the same run for the deterministic policies, too', () => {
    for (let shape = 0; shape < 20; shape++) {
      for (const policy of [undefined, new RoundRobinPolicy()]) {
        const first = busyRun(shape, policy ?? new RandomPolicy(shape));
        expect(busyRun(shape, new ReplayPolicy(parseSchedule(first.schedule)))).toEqual(first);
      }
    }
  });

  it('goes on under another policy when the schedule ends before the run does', () => {
    const world = makeWorld(2, new ReplayPolicy(parseSchedule('1*3'), new RoundRobinPolicy()));
    startCounting(world, makeTasks(0, 1), 3);
    expect(world.loop.run().kind).toBe('finished');
    expect(world.log.slice(0, 2)).toEqual(['b1', 'b2']);
    expect(formatSchedule(world.loop.schedule)).toBe('1*3 0 1');
  });

  it('reports the end of the schedule when nothing goes on after it', () => {
    const world = makeWorld(2, new ReplayPolicy(parseSchedule('1')));
    startCounting(world, makeTasks(0, 1), 3);
    const result = world.loop.run();
    expect(result).toMatchObject({
      kind: 'impossible-choice',
      position: 1,
      wanted: null,
      offered: ['0', '1'],
    });
    expect(describeResult(result)).toMatch(/^the schedule ends at choice 1, where 0, 1 are possible/);
  });

  it('reports a choice that is not possible, and which ones are', () => {
    const world = makeWorld(2, new ReplayPolicy(parseSchedule('1*2 i1 0')));
    startCounting(world, makeTasks(0, 1), 3);
    const result = world.loop.run();
    expect(result).toMatchObject({
      kind: 'impossible-choice',
      position: 2,
      wanted: 'i1',
      offered: ['0', '1'],
      schedule: '1*2',
    });
    expect(describeResult(result)).toMatch(
      /^the schedule does not fit this run: choice 2 is i1, possible are 0, 1/,
    );
  });
});

describe('two tasks that take two locks in opposite order', () => {
  function opposite(policy: Policy): RunResult {
    const world = makeWorld(2, policy);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    const left = new RwSemaphore('left');
    const right = new RwSemaphore('right');
    const both = function* (task: SchedTask, first: RwSemaphore, second: RwSemaphore): Task<void> {
      yield* first.downWrite(task);
      yield* second.downWrite(task);
      yield* second.upWrite(task);
      yield* first.upWrite(task);
    };
    world.loop.start(a, both(a, left, right));
    world.loop.start(b, both(b, right, left));
    return world.loop.run();
  }

  const firstDeadlock = () => {
    for (let seed = 0; ; seed++) {
      const result = opposite(new RandomPolicy(seed));
      if (result.kind === 'deadlock') return result;
    }
  };

  it('come to a deadlock under some schedules and not under others', () => {
    const kinds = new Set(Array.from({ length: 50 }, (_, seed) => opposite(new RandomPolicy(seed)).kind));
    expect([...kinds].sort()).toEqual(['deadlock', 'finished']);
  });

  it('are reported with what each waits for, who holds it, and the cycle', () => {
    const result = firstDeadlock();
    expect(result).toMatchObject({
      cycle: ['a', 'b'],
      waits: [
        { task: 'a', operation: 'down_write', object: 'right', holders: [{ name: 'b', mode: 'write' }] },
        { task: 'b', operation: 'down_write', object: 'left', holders: [{ name: 'a', mode: 'write' }] },
      ],
    });
    expect(describeResult(result).split('\n')).toEqual([
      `deadlock after ${result.steps} steps: a → b → a`,
      '  a on cpu 0 waits in down_write of right, held by b (write)',
      '  b on cpu 1 waits in down_write of left, held by a (write)',
      `  schedule ${result.schedule}`,
    ]);
  });

  it('come to the same deadlock again when its schedule is replayed', () => {
    const result = firstDeadlock();
    expect(opposite(new ReplayPolicy(parseSchedule(result.schedule)))).toEqual(result);
  });

  it('deadlock at this schedule, kept because it is the shortest', () => {
    expect(opposite(new ReplayPolicy(parseSchedule('0*2 1*2'), new RoundRobinPolicy())).kind).toBe(
      'deadlock',
    );
  });
});
