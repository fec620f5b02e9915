import { describe, expect, it } from 'vitest';
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../src/base/task.ts';
import type { Candidate, Policy } from '../../src/sched/policy/policy.ts';
import { RandomPolicy } from '../../src/sched/policy/random.ts';
import { RoundRobinPolicy } from '../../src/sched/policy/round-robin.ts';
import { VirtualTimePolicy } from '../../src/sched/policy/virtual-time.ts';
import { TaskFailure, UnfinishedRun } from '../../src/sched/run-result.ts';
import { formatSchedule } from '../../src/sched/schedule-text.ts';
import { SchedTask, yieldCpu } from '../../src/sched/task.ts';
import { counting, makeTasks, makeWorld, startCounting, waitPoint, writePoint } from './support.ts';

/** Follows a list of task ids; fails the test when one cannot be chosen. */
const following = (ids: readonly number[]): Policy => {
  const rest = [...ids];
  return {
    name: 'list',
    choose(candidates, count) {
      const wanted = rest.shift();
      const index = candidates.slice(0, count).findIndex(({ task }) => task?.id === wanted);
      if (index < 0) throw new Error(`task ${wanted} is not among the candidates`);
      return index;
    },
  };
};

describe('one task alone', () => {
  it('runs to its end and gives its result', () => {
    const world = makeWorld(1);
    const [task] = makeTasks(0) as [SchedTask];
    expect(world.loop.complete(task, counting(world, task, 5))).toBe(5);
    expect(world.log).toEqual(['a1', 'a2', 'a3', 'a4', 'a5']);
    // The start and five points are six steps; there was no choice.
    expect(world.loop.steps).toBe(6);
    expect(formatSchedule(world.loop.schedule)).toBe('-');
  });

  it('can be started again after its end, and not before', () => {
    const world = makeWorld(1);
    const [task] = makeTasks(0) as [SchedTask];
    for (let round = 0; round < 3; round++) world.loop.complete(task, counting(world, task, 1));
    expect(world.log).toEqual(['a1', 'a1', 'a1']);
    world.loop.start(task, counting(world, task, 1));
    expect(() => world.loop.start(task, counting(world, task, 1))).toThrow('task a is started twice');
  });

  it('is charged the cost of each point, once', () => {
    const world = makeWorld(1, undefined, { profile: 'sapphire-rapids' });
    const [task] = makeTasks(0) as [SchedTask];
    world.loop.complete(task, counting(world, task, 10));
    expect(world.machine.cpu(0).time).toBe(1 + 10 * 20);
  });

  it('stops at the bound on steps and goes on from there', () => {
    const world = makeWorld(1);
    const [task] = makeTasks(0) as [SchedTask];
    world.loop.start(task, counting(world, task, 9));
    expect(world.loop.run({ maxSteps: 4 })).toMatchObject({ kind: 'step-limit', steps: 4 });
    expect(world.log).toEqual(['a1', 'a2', 'a3']);
    expect(world.loop.run()).toEqual({ kind: 'finished', steps: 10 });
  });

  it('that throws ends the run with the schedule that leads there', () => {
    const world = makeWorld(2, new RoundRobinPolicy());
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.loop.start(a, counting(world, a, 9));
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield writePoint('y');
        throw new Error('refcount below zero');
      })(),
    );
    let failure: unknown;
    try {
      world.loop.run();
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(TaskFailure);
    expect(failure).toMatchObject({ task: 'b', schedule: '0 1 0 1' });
    expect((failure as TaskFailure).message).toBe('b: refcount below zero (schedule 0 1 0 1)');
  });

  it('may not end while it holds preemption off', () => {
    const world = makeWorld(1);
    const [task] = makeTasks(0) as [SchedTask];
    const body = (function* (): Task<void> {
      yield writePoint('x');
      task.preemptDisabled++;
    })();
    expect(() => world.loop.complete(task, body)).toThrow('a ended with preemption or interrupts disabled');
  });
});

describe('tasks on one CPU', () => {
  it('interleave as the policy says when preemption is on', () => {
    const world = makeWorld(1, following([0, 0, 1, 1, 0, 1]));
    startCounting(world, makeTasks(0, 0), 2);
    world.loop.run();
    expect(world.log).toEqual(['a1', 'b1', 'a2', 'b2']);
    expect(formatSchedule(world.loop.schedule)).toBe('0*2 1*2 0');
  });

  it('do not interleave while the running one holds preemption off', () => {
    const world = makeWorld(1, new RoundRobinPolicy());
    const tasks = makeTasks(0, 0);
    for (const task of tasks) {
      const body = function* (): Task<void> {
        task.preemptDisabled++;
        yield* counting(world, task, 3);
        task.preemptDisabled--;
      };
      world.loop.start(task, body());
    }
    world.loop.run();
    expect(world.log.join(' ')).toBe('a1 a2 a3 b1 b2 b3');
  });

  it('do not interleave while the CPU has interrupts or preemption off', () => {
    for (const gate of ['interruptsDisabled', 'preemptDisabled'] as const) {
      const world = makeWorld(1, new RoundRobinPolicy());
      const cpu = world.machine.cpu(0);
      for (const task of makeTasks(0, 0)) {
        const body = function* (): Task<void> {
          cpu[gate]++;
          yield* counting(world, task, 3);
          cpu[gate]--;
        };
        world.loop.start(task, body());
      }
      world.loop.run();
      expect(world.log.join(' ')).toBe('a1 a2 a3 b1 b2 b3');
    }
  });
});

describe('the CPU of several tasks', () => {
  it('runs one while another one waits, and lets that go on when it is ready', () => {
    const world = makeWorld(1);
    const [a, b] = makeTasks(0, 0) as [SchedTask, SchedTask];
    let open = false;
    world.loop.start(
      a,
      (function* (): Task<void> {
        yield waitPoint('gate', () => open);
        world.log.push('a through');
      })(),
    );
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield* counting(world, b, 1);
        open = true;
        yield* counting(world, b, 1);
      })(),
    );
    expect(world.loop.run().kind).toBe('finished');
    expect(world.log).toEqual(['b1', 'b1', 'a through']);
  });

  it('goes to the next when the running one has used its slice', () => {
    const world = makeWorld(1, new VirtualTimePolicy(4));
    startCounting(world, makeTasks(0, 0), 6);
    world.loop.run();
    expect(world.log.join(' ')).toBe('a1 a2 a3 b1 b2 b3 a4 a5 a6 b4 b5 b6');
  });

  it('is offered to the others by yielding', () => {
    const world = makeWorld(1);
    const tasks = makeTasks(0, 0);
    const yielding = function* (task: SchedTask): Task<void> {
      for (let round = 0; round < 2; round++) {
        yield* counting(world, task, 2);
        yield* yieldCpu(task);
      }
    };
    for (const task of tasks) world.loop.start(task, yielding(task));
    world.loop.run();
    expect(world.log.join(' ')).toBe('a1 a2 b1 b2 a1 a2 b1 b2');
  });
});

describe('a context switch', () => {
  it('runs the work of switching on the CPU before the task, with interrupts disabled', () => {
    const world = makeWorld(1, following([0, 1, 1]));
    const tasks = makeTasks(0, 0);
    world.loop.onSwitch = function* (cpu, previous, next): Task<void> {
      yield writePoint('loaded mm');
      world.log.push(`${previous?.name ?? 'nobody'}→${next.name} ${cpu.interruptsDisabled}`);
    };
    startCounting(world, tasks, 1);
    world.loop.policy = new RoundRobinPolicy();
    world.loop.run();
    expect(world.log).toEqual(['nobody→a 1', 'a→b 1', 'b→a 1', 'a1', 'a→b 1', 'b1']);
    expect(world.machine.cpu(0).interruptsDisabled).toBe(0);
    expect(tasks.map((task) => task.preemptDisabled)).toEqual([0, 0]);
  });

  it('costs nothing on a CPU that was never used, and one context switch on any other', () => {
    const world = makeWorld(1, undefined, { profile: 'sapphire-rapids' });
    const [a, b] = makeTasks(0, 0) as [SchedTask, SchedTask];
    world.loop.complete(a, counting(world, a, 0));
    expect(world.machine.cpu(0).time).toBe(1);
    world.loop.complete(b, counting(world, b, 0));
    expect(world.machine.cpu(0).time).toBe(1 + 4500 + 1);
    world.loop.complete(b, counting(world, b, 0));
    expect(world.machine.cpu(0).time).toBe(1 + 4500 + 2);
  });

  it('is told to the policy: who would be preempted, and who only steps in', () => {
    const seen: string[] = [];
    const policy: Policy = {
      name: 'look',
      choose(candidates, count) {
        const tell = ({ task, switches, preempts }: Candidate) =>
          `${task?.name}${switches ? ' switches' : ''}${preempts ? ' preempts' : ''}`;
        seen.push(candidates.slice(0, count).map(tell).join(', '));
        return 0;
      },
    };
    const world = makeWorld(2, policy);
    startCounting(world, makeTasks(0, 0, 1), 1);
    world.loop.run();
    expect(seen.slice(0, 2)).toEqual([
      'a switches, b switches, c switches',
      'a, b switches preempts, c switches',
    ]);
  });
});

describe('a task that was alone', () => {
  it('is not alone any more once it starts another', () => {
    const world = makeWorld(2, new RoundRobinPolicy());
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    const parent = function* (): Task<void> {
      yield* counting(world, a, 2);
      world.loop.start(b, counting(world, b, 2));
      yield* counting(world, a, 3);
    };
    world.loop.start(a, parent());
    world.loop.run();
    expect(world.log.join(' ')).toBe('a1 a2 a1 b1 a2 b2 a3');
  });

  it('does not hold up an interrupt that it sends', () => {
    const world = makeWorld(2, new RoundRobinPolicy());
    const [a] = makeTasks(0) as [SchedTask];
    const handler = () => {
      world.log.push('handler');
      return counting(world, a, 0) as Task<never>;
    };
    const body = function* (): Task<void> {
      yield* counting(world, a, 1);
      world.machine.interconnect.sendInterrupt(0, 1, handler, 'call');
      yield* counting(world, a, 3);
    };
    world.loop.complete(a, body());
    expect(world.log.join(' ')).toBe('a1 handler a1 a2 a3');
  });
});

describe('tasks on several CPUs', () => {
  it('go on in the order of their clocks', () => {
    const world = makeWorld(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.machine.cpu(1).advance(2);
    startCounting(world, [a, b], 3);
    world.loop.run();
    // a is alone until its clock reaches 2.
    expect(world.log.slice(0, 2)).toEqual(['a1', 'a2']);
    expect(world.machine.cpus.map((cpu) => cpu.time)).toEqual([4, 6]);
  });

  it('cannot be starved by steps that cost nothing', () => {
    const world = makeWorld(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    let stop = false;
    world.loop.start(
      a,
      (function* (): Task<void> {
        while (!stop) yield a.startPoint;
      })(),
    );
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield* counting(world, b, 3);
        stop = true;
      })(),
    );
    expect(world.loop.run({ maxSteps: 100 }).kind).toBe('finished');
  });
});

describe('virtual time', () => {
  it('passes in a wait: a waiter goes on at the time at which it was let go', () => {
    const world = makeWorld(2, undefined, { profile: 'sapphire-rapids' });
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    let open = false;
    world.loop.start(
      a,
      (function* (): Task<void> {
        yield waitPoint('gate', () => open);
      })(),
    );
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield* counting(world, b, 50);
        open = true;
      })(),
    );
    world.loop.run();
    expect(world.machine.cpus.map((cpu) => cpu.time)).toEqual([1002, 1001]);
  });

  it('of a new task starts at the step that started it', () => {
    const world = makeWorld(2, undefined, { profile: 'sapphire-rapids' });
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.loop.complete(
      a,
      (function* (): Task<void> {
        yield* counting(world, a, 5);
        world.loop.start(b, counting(world, b, 1));
      })(),
    );
    world.loop.run();
    expect(world.machine.cpu(1).time).toBe(1 + 5 * 20 + 1 + 20);
  });

  it('goes on where it was for a path that is started after another one ended, on any CPU', () => {
    const world = makeWorld(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.loop.complete(a, counting(world, a, 5));
    world.loop.complete(b, counting(world, b, 1));
    expect(world.machine.cpus.map((cpu) => cpu.time)).toEqual([6, 8]);
  });

  it('pays for a cache line that another CPU has', () => {
    const world = makeWorld(2, new RoundRobinPolicy(), { profile: 'sapphire-rapids' });
    const shared = writePoint('line');
    const tasks = makeTasks(0, 1);
    for (const task of tasks) world.loop.start(task, counting(world, task, 4, shared));
    world.loop.run();
    // Eight turns; the first finds the line with nobody.
    expect(world.machine.cpus.map((cpu) => cpu.time)).toEqual([1 + 4 * 20 + 3 * 177, 1 + 4 * 20 + 4 * 177]);
  });
});

describe('a cache line', () => {
  it('is shared by readers, each of whom fetches it once, until a writer takes it back', () => {
    const world = makeWorld(3, new RoundRobinPolicy(), { profile: 'sapphire-rapids' });
    const line = new SharedObject('line');
    const read = new SchedPoint(PointKind.Read, line, 'read', StepCost.SharedLoad);
    const write = new SchedPoint(PointKind.Write, line, 'write', StepCost.AtomicUpdate);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    const spent = (task: SchedTask, point: SchedPoint): number => {
      const cpu = world.machine.cpu(task.cpu);
      cpu.waitUntil(world.machine.cpus.reduce((latest, { time }) => Math.max(latest, time), 0));
      const before = cpu.time;
      world.loop.complete(task, counting(world, task, 1, point));
      return cpu.time - before - 1;
    };
    const steps: [SchedTask, SchedPoint][] = [
      [a, write],
      [a, read],
      [b, read],
      [a, read],
      [b, read],
      [b, write],
      [b, write],
      [a, read],
    ];
    expect(steps.map(([task, point]) => spent(task, point))).toEqual([
      20,
      5,
      5 + 177,
      5,
      5,
      20 + 177,
      20,
      5 + 177,
    ]);
  });
});

describe('a run', () => {
  it('does not wait for background tasks', () => {
    const world = makeWorld(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    b.background = true;
    world.loop.start(a, counting(world, a, 2));
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield waitPoint('work', () => false);
      })(),
    );
    expect(world.loop.run().kind).toBe('finished');
  });

  it('stops when its observer says so, after each step', () => {
    const world = makeWorld(2, new RandomPolicy(1));
    startCounting(world, makeTasks(0, 1), 5);
    const result = world.loop.run({ afterStep: () => world.log.length < 3 });
    expect(result).toMatchObject({ kind: 'stopped' });
    expect(world.log).toHaveLength(3);
  });

  it('tells a policy that asks of every step, also where there was no choice', () => {
    const seen: string[] = [];
    const world = makeWorld(1, {
      name: 'watch',
      choose: () => 0,
      beforeStep: ({ point }) => seen.push(`${point.operation} ${point.object.name} ${point.kind}`),
    });
    const [a] = makeTasks(0) as [SchedTask];
    world.loop.complete(a, counting(world, a, 2));
    const write = `write x ${PointKind.Write}`;
    expect(seen).toEqual([`start task a ${PointKind.Read}`, write, write]);
  });

  it('cannot be started from inside itself', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    const body = (function* (): Task<void> {
      yield writePoint('x');
      world.loop.run();
    })();
    expect(() => world.loop.complete(a, body)).toThrow('may not run the run loop');
  });

  it('refuses two live tasks with one id', () => {
    const world = makeWorld(1);
    world.loop.start(new SchedTask(3, 'one', 0), counting(world, new SchedTask(3, 'one', 0), 1));
    expect(() =>
      world.loop.start(new SchedTask(3, 'two', 0), counting(world, new SchedTask(3, 'x', 0), 1)),
    ).toThrow('two live tasks with id 3');
  });

  it('that cannot bring a path to its end says so when it was asked to', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    const body = (function* (): Task<void> {
      yield waitPoint('never', () => false);
    })();
    expect(() => world.loop.complete(a, body)).toThrow(UnfinishedRun);
  });
});

it('a task that is started inside a step begins after all that the step has cost so far', () => {
  const world = makeWorld(2);
  const [parent, child] = makeTasks(0, 1) as [SchedTask, SchedTask];
  function* forks(): Task<void> {
    yield writePoint('fork');
    world.machine.cpu(0).advance(500);
    world.loop.start(child, counting(world, child, 1));
  }
  world.loop.start(parent, forks());
  world.loop.run();
  const ofChild = world.events.events.filter(({ cpu }) => cpu === 1);
  expect(ofChild.map(({ time }) => time >= 500)).toEqual(ofChild.map(() => true));
  expect(ofChild[0]?.kind).toBe('task-start');
});
