import { describe, expect, it } from 'vitest';
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../src/base/task.ts';
import type { Policy } from '../../src/sched/policy/policy.ts';
import { RandomPolicy } from '../../src/sched/policy/random.ts';
import { ReplayPolicy } from '../../src/sched/policy/replay.ts';
import { RoundRobinPolicy } from '../../src/sched/policy/round-robin.ts';
import { describeResult, type RunResult } from '../../src/sched/run-result.ts';
import { formatSchedule, parseSchedule } from '../../src/sched/schedule-text.ts';
import type { SchedTask } from '../../src/sched/task.ts';
import { counting, makeTasks, makeWorld, type World, waitPoint, writePoint } from './support.ts';

/** Interrupts CPUs and spins until every handler has run, as a TLB flush does. */
function* callFunction(world: World, task: SchedTask, targets: readonly number[]): Task<void> {
  const object = new SharedObject('call');
  let outstanding = targets.length;
  task.preemptDisabled++;
  yield new SchedPoint(PointKind.Write, object, 'send', StepCost.InterruptSend);
  const handler = function* (): Task<void> {
    yield new SchedPoint(PointKind.Write, object, 'acknowledge', StepCost.AtomicUpdate);
    world.log.push(`handled for ${task.name}`);
    outstanding--;
  };
  world.machine.interconnect.sendInterrupt(task.cpu, targets, handler, 'call function');
  yield new SchedPoint(PointKind.Wait, object, 'csd_lock_wait', StepCost.SharedLoad, () => outstanding === 0);
  task.preemptDisabled--;
  world.log.push(`${task.name} done`);
}

const policies: readonly [string, () => Policy | undefined, boolean][] = [
  ['virtual time', () => undefined, false],
  ['virtual time, prompt', () => undefined, true],
  ['round-robin', () => new RoundRobinPolicy(), false],
  ...Array.from({ length: 20 }, (_, seed): [string, () => Policy, boolean] => [
    `random ${seed}`,
    () => new RandomPolicy(seed),
    seed % 2 === 0,
  ]),
];

describe.each(policies)('under %s, an interrupt', (_, policy, promptInterrupts) => {
  const make = (cpus: number) => makeWorld(cpus, policy(), { promptInterrupts });

  it('is taken by a CPU without a task', () => {
    const world = make(3);
    const [a] = makeTasks(0) as [SchedTask];
    world.loop.complete(a, callFunction(world, a, [1, 2]));
    expect(world.log).toEqual(['handled for a', 'handled for a', 'a done']);
    expect(
      world.events
        .ofKind('interrupt-take')
        .map(({ cpu, over }) => `${cpu} ${over}`)
        .sort(),
    ).toEqual(['1 idle/1', '2 idle/2']);
    expect(world.machine.cpus.map((cpu) => cpu.interruptsDisabled)).toEqual([0, 0, 0]);
  });

  it('is taken by a task that spins: two CPUs that interrupt each other both go on', () => {
    const world = make(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.loop.start(a, callFunction(world, a, [1]));
    world.loop.start(b, callFunction(world, b, [0]));
    expect(world.loop.run().kind).toBe('finished');
    expect([...world.log].sort()).toEqual(['a done', 'b done', 'handled for a', 'handled for b']);
  });

  it('is taken over a task that sleeps, which sleeps on', () => {
    const world = make(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    let open = false;
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield waitPoint('gate', () => open);
        world.log.push('b through');
      })(),
    );
    world.loop.start(
      a,
      (function* (): Task<void> {
        yield* callFunction(world, a, [1]);
        open = true;
      })(),
    );
    expect(world.loop.run().kind).toBe('finished');
    expect(world.log).toEqual(['handled for a', 'a done', 'b through']);
  });

  it('is not taken while its CPU has interrupts disabled', () => {
    const world = make(2);
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    world.loop.start(
      b,
      (function* (): Task<void> {
        world.machine.cpu(1).interruptsDisabled++;
        yield* counting(world, b, 4);
        world.machine.cpu(1).interruptsDisabled--;
      })(),
    );
    // b has them disabled before a sends.
    expect(world.loop.run({ maxSteps: 1 }).kind).toBe('step-limit');
    world.loop.start(a, callFunction(world, a, [1]));
    world.loop.run();
    expect(world.log.indexOf('b4')).toBeGreaterThanOrEqual(0);
    expect(world.log.indexOf('handled for a')).toBeGreaterThan(world.log.indexOf('b4'));
    expect(world.log).toContain('a done');
  });
});

describe('interrupts that cannot be taken', () => {
  function stuck(policy?: Policy): RunResult {
    const world = makeWorld(2, policy);
    const tasks = makeTasks(0, 1) as [SchedTask, SchedTask];
    for (const [index, task] of tasks.entries()) {
      const body = function* (): Task<void> {
        const cpu = world.machine.cpu(index);
        cpu.interruptsDisabled++;
        yield* callFunction(world, task, [1 - index]);
        cpu.interruptsDisabled--;
      };
      world.loop.start(task, body());
    }
    return world.loop.run();
  }

  it('are a deadlock when both CPUs wait for each other with interrupts disabled', () => {
    const result = stuck();
    expect(result).toMatchObject({
      kind: 'deadlock',
      waits: [
        { task: 'a', operation: 'csd_lock_wait', object: 'call', spinning: true, blocked: true },
        { task: 'b', operation: 'csd_lock_wait', object: 'call', spinning: true, blocked: true },
      ],
      pending: [
        { cpu: 0, from: 1, name: 'call function' },
        { cpu: 1, from: 0, name: 'call function' },
      ],
    });
    expect(describeResult(result)).toContain(
      'cpu 0 has not taken "call function" from cpu 1: interrupts disabled',
    );
  });

  it('are the same deadlock when its schedule is replayed', () => {
    const first = stuck(new RandomPolicy(5));
    if (first.kind !== 'deadlock') throw new Error('not a deadlock');
    expect(stuck(new ReplayPolicy(parseSchedule(first.schedule)))).toEqual(first);
  });
});

/** A handler without a point: it is one step with the taking of the interrupt. */
const handler = (world: World) => () => {
  world.log.push('handler');
  return nothing();
};
function* nothing(): Task<void> {}

describe('delivery of an interrupt', () => {
  /** Every outcome over many seeds: did the target make its step before or after the handler? */
  function outcomes(promptInterrupts: boolean): Set<string> {
    const seen = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const world = makeWorld(2, new RandomPolicy(seed), { promptInterrupts });
      const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
      let sent = false;
      world.loop.start(
        a,
        (function* (): Task<void> {
          yield writePoint('line');
          world.machine.interconnect.sendInterrupt(0, 1, handler(world), 'flush');
          sent = true;
        })(),
      );
      world.loop.start(
        b,
        (function* (): Task<void> {
          yield writePoint('other');
          world.log.push(sent ? 'step after sending' : 'step before sending');
          yield writePoint('other');
        })(),
      );
      world.loop.run();
      seen.add(world.log.join(', '));
    }
    return seen;
  }

  it('may come after further steps of its target', () => {
    expect(outcomes(false)).toContain('step after sending, handler');
  });

  it('comes before the next step of its target when interrupts are prompt', () => {
    expect(outcomes(true)).not.toContain('step after sending, handler');
    expect(outcomes(true)).toContain('handler, step after sending');
  });

  it('takes the time the profile says, for the sender and for the target', () => {
    const world = makeWorld(2, undefined, { profile: 'sapphire-rapids' });
    const [a] = makeTasks(0) as [SchedTask];
    world.loop.complete(a, callFunction(world, a, [1]));
    const { figures } = world.machine.profile.data;
    const sent = 1 + figures.interruptSend.cycles + figures.interruptSendPerTarget.cycles;
    const handled =
      sent +
      figures.interruptLatency.cycles +
      figures.interruptEntry.cycles +
      figures.atomicUpdate.cycles +
      figures.lineTransfer.cycles;
    expect(world.machine.cpu(1).time).toBe(handled);
    expect(world.machine.cpu(0).time).toBe(handled + figures.l1Hit.cycles + figures.lineTransfer.cycles);
  });
});

describe('a task that is alone beside a handler of a CPU without a task', () => {
  /** The task does not wait for the handler, and the other CPU is in the middle of it. */
  function schedule(policy: Policy): string {
    const world = makeWorld(2, policy);
    const [a] = makeTasks(0) as [SchedTask];
    const long = function* (): Task<void> {
      for (let step = 0; step < 4; step++) yield writePoint('handler');
    };
    world.loop.start(
      a,
      (function* (): Task<void> {
        yield writePoint('line');
        world.machine.interconnect.sendInterrupt(0, 1, long, 'flush');
        yield* counting(world, a, 12);
      })(),
    );
    world.loop.run();
    return formatSchedule(world.loop.schedule);
  }

  it('is one choice of two at every step, whether the policy wants to be told of steps or not', () => {
    for (let seed = 0; seed < 20; seed++) {
      const quiet = new RandomPolicy(seed);
      const told = new RandomPolicy(seed);
      const telling: Policy = {
        name: 'told',
        choose: (offered, count) => told.choose(offered, count),
        beforeStep() {},
      };
      const recorded = schedule(quiet);
      expect(recorded).toBe(schedule(telling));
      expect(schedule(new ReplayPolicy(parseSchedule(recorded)))).toBe(recorded);
    }
  });
});
