import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { Completion, WaitQueue } from '../../../src/kernel/lock/wait-queue.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { ReplayPolicy } from '../../../src/sched/policy/replay.ts';
import { parseSchedule } from '../../../src/sched/schedule-text.ts';
import { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld, writePoint } from '../../sched/support.ts';

class Killable extends SchedTask {
  killed = false;
  override fatalSignalPending(): boolean {
    return this.killed;
  }
}

describe('a wait queue', () => {
  it('loses no wake-up that comes after the change, under any schedule', () => {
    let slept = 0;
    for (let seed = 0; seed < 300; seed++) {
      const world = makeWorld(3, new RandomPolicy(seed));
      const queue = new WaitQueue('wait');
      const tasks = makeTasks(0, 1, 2);
      let value = 0;
      for (const task of tasks.slice(1))
        world.loop.start(
          task,
          queue.waitEvent(task, () => value === 1),
        );
      world.loop.start(
        tasks[0] as SchedTask,
        (function* (): Task<void> {
          yield writePoint('value');
          value = 1;
          yield* queue.wakeUp();
        })(),
      );
      const result = world.loop.run();
      expect(result.kind).toBe('finished');
      expect(queue.isActive()).toBe(false);
      if (result.kind === 'finished' && result.steps > 13) slept++;
    }
    expect(slept).toBeGreaterThan(0);
  });

  it('leaves a sleeper asleep when the change wakes nobody: a deadlock', () => {
    const kinds = new Set<string>();
    for (let seed = 0; seed < 100; seed++) {
      const world = makeWorld(2, new RandomPolicy(seed));
      const queue = new WaitQueue('wait');
      const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
      let value = 0;
      world.loop.start(
        a,
        queue.waitEvent(a, () => value === 1),
      );
      world.loop.start(
        b,
        (function* (): Task<void> {
          yield* queue.wakeUp();
          yield writePoint('value');
          value = 1;
        })(),
      );
      kinds.add(world.loop.run().kind);
    }
    expect([...kinds].sort()).toEqual(['deadlock', 'finished']);
  });
});

describe('sleepers of a wait queue', () => {
  it('are woken one at a time if exclusive, or all', () => {
    for (const all of [false, true]) {
      const world = makeWorld(3);
      const queue = new WaitQueue('wait');
      const [a, b, c] = makeTasks(0, 1, 2) as [SchedTask, SchedTask, SchedTask];
      let open = false;
      for (const task of [a, b])
        world.loop.start(
          task,
          queue.waitEventExclusive(task, () => open),
        );
      expect(world.loop.run().kind).toBe('deadlock');
      open = true;
      world.loop.start(c, all ? queue.wakeUpAll() : queue.wakeUp());
      expect(world.loop.run()).toMatchObject(
        all ? { kind: 'finished' } : { kind: 'deadlock', waits: [{ task: 'b' }] },
      );
    }
  });

  it('are each woken once: two wake-ups wake two exclusive sleepers, however slow the first is to leave', () => {
    const world = makeWorld(3);
    const queue = new WaitQueue('wait');
    const [a, b, c] = makeTasks(0, 1, 2) as [SchedTask, SchedTask, SchedTask];
    let open = false;
    for (const task of [a, b])
      world.loop.start(
        task,
        queue.waitEventExclusive(task, () => open),
      );
    world.loop.run();
    const wakeTwice = function* (): Task<void> {
      open = true;
      yield* queue.wakeUp();
      yield* queue.wakeUp();
    };
    world.loop.policy = new ReplayPolicy(parseSchedule('2'), new RandomPolicy(1));
    world.loop.start(c, wakeTwice());
    expect(world.loop.run().kind).toBe('finished');
  });

  it('go with -EINTR when they are killed', () => {
    const world = makeWorld(1);
    const queue = new WaitQueue('wait');
    const task = new Killable(0, 'a', 0);
    world.loop.start(
      task,
      queue.waitEventKillable(task, () => false),
    );
    expect(world.loop.run().kind).toBe('deadlock');
    task.killed = true;
    expect(world.loop.run().kind).toBe('finished');
    expect([task.result, queue.isActive()]).toEqual([-4, false]);
  });

  it('cannot be in atomic context', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    const body = function* (): Task<void> {
      a.preemptDisabled++;
      yield* new WaitQueue('wait').waitEvent(a, () => true);
    };
    expect(() => world.loop.complete(a, body())).toThrow(
      'sleeping in atomic context: a in wait_event on wait',
    );
  });
});

describe('a completion', () => {
  it('lets one waiter through each time, before or after it comes, under any schedule', () => {
    for (let seed = 0; seed < 200; seed++) {
      const world = makeWorld(4, new RandomPolicy(seed));
      const done = new Completion('done');
      const [a, b, c, d] = makeTasks(0, 1, 2, 3) as [SchedTask, SchedTask, SchedTask, SchedTask];
      for (const task of [a, b, c]) world.loop.start(task, done.waitForCompletion(task));
      world.loop.start(
        d,
        (function* (): Task<void> {
          yield* done.complete();
          yield* done.complete();
        })(),
      );
      const result = world.loop.run();
      expect(result.kind).toBe('deadlock');
      if (result.kind === 'deadlock') expect(result.waits).toHaveLength(1);
      world.loop.start(d, done.complete());
      expect(world.loop.run().kind).toBe('finished');
    }
  });

  it('lets everybody through for good once it is complete for all', () => {
    const world = makeWorld(2);
    const done = new Completion('done');
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.loop.start(a, done.waitForCompletion(a));
    world.loop.complete(b, done.completeAll());
    expect(world.loop.run().kind).toBe('finished');
    for (let round = 0; round < 3; round++) world.loop.complete(b, done.waitForCompletion(b));
  });

  it('is not used up by a waiter that was killed', () => {
    const world = makeWorld(2);
    const done = new Completion('done');
    const task = new Killable(0, 'a', 0);
    const other = new SchedTask(1, 'b', 1);
    world.loop.start(task, done.waitForCompletionKillable(task));
    world.loop.run();
    task.killed = true;
    world.loop.run();
    expect(task.result).toBe(-4);
    world.loop.complete(other, done.complete());
    world.loop.complete(other, done.waitForCompletion(other));
  });
});
