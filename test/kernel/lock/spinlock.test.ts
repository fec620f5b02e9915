import { describe, expect, it } from 'vitest';
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../src/base/task.ts';
import {
  localIrqRestore,
  localIrqSave,
  preemptDisable,
  preemptEnable,
} from '../../../src/kernel/lock/irq.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { SpinLock } from '../../../src/kernel/lock/spinlock.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { describeResult, type RunResult } from '../../../src/sched/run-result.ts';
import type { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld, type World, writePoint } from '../../sched/support.ts';

function* locked(lock: SpinLock, task: SchedTask, inside: () => void): Task<void> {
  yield* lock.lock(task);
  inside();
  yield writePoint('inside');
  yield* lock.unlock(task);
}

const waitsOf = (world: World, { name }: SchedTask): number =>
  world.events.ofKind('lock-wait').filter(({ task }) => task === name).length;
const waiting = (world: World): number =>
  world.events.ofKind('lock-wait').length - world.events.ofKind('lock-acquire').length;

describe('a spinlock', () => {
  it('lets one in at a time, in the order of coming', () => {
    for (let seed = 0; seed < 200; seed++) {
      const world = makeWorld(4, new RandomPolicy(seed));
      const lock = new SpinLock('ptl');
      let inside = 0;
      const order: string[] = [];
      const body = function* (task: SchedTask): Task<void> {
        for (let round = 0; round < 3; round++) {
          const waitsBefore = waitsOf(world, task);
          yield* lock.lock(task);
          // Whoever came straight in found nobody waiting.
          if (waitsOf(world, task) === waitsBefore) expect(waiting(world)).toBe(0);
          expect(++inside).toBe(1);
          order.push(task.name);
          yield writePoint('inside');
          inside--;
          yield* lock.unlock(task);
          expect(task.preemptDisabled).toBe(0);
        }
      };
      for (const task of makeTasks(0, 1, 2, 3)) world.loop.start(task, body(task));
      expect(world.loop.run().kind).toBe('finished');
      expect(order).toHaveLength(12);
      const waits = world.events.ofKind('lock-wait').map(({ task }) => task);
      const acquires = world.events.ofKind('lock-acquire').map(({ task }) => task);
      expect(acquires).toEqual(waits);
    }
  });

  it('keeps its CPU: another task of the CPU runs only after the release', () => {
    for (let seed = 0; seed < 50; seed++) {
      const world = makeWorld(1, new RandomPolicy(seed));
      const lock = new SpinLock('ptl');
      const tasks = makeTasks(0, 0);
      for (const task of tasks) {
        world.loop.start(
          task,
          locked(lock, task, () => {
            world.log.push(task.name);
          }),
        );
      }
      // On one CPU nobody ever spins: the holder cannot be preempted.
      expect(world.loop.run().kind).toBe('finished');
      expect(world.events.ofKind('lock-wait')).toEqual([]);
    }
  });
});

describe('one task and a spinlock:', () => {
  it('taken twice it is a deadlock of one', () => {
    const world = makeWorld(1);
    const lock = new SpinLock('ptl');
    const [a] = makeTasks(0) as [SchedTask];
    world.loop.start(
      a,
      (function* (): Task<void> {
        yield* lock.lock(a);
        yield* lock.lock(a);
      })(),
    );
    const result = world.loop.run();
    expect(result).toMatchObject({ kind: 'deadlock', cycle: ['a'] });
    expect(describeResult(result)).toContain('a on cpu 0 spins in spin_lock of ptl, held by a (spin)');
  });

  it('trylock takes it or leaves everything as it was', () => {
    const world = makeWorld(1);
    const lock = new SpinLock('ptl');
    const [a] = makeTasks(0) as [SchedTask];
    const body = function* (): Task<boolean[]> {
      const first = yield* lock.trylock(a);
      const second = yield* lock.trylock(a);
      expect(a.preemptDisabled).toBe(1);
      yield* lock.unlock(a);
      return [first, second];
    };
    expect(world.loop.complete(a, body())).toEqual([true, false]);
  });
});

describe('misuse of a spinlock is a broken invariant:', () => {
  const failing = (body: (world: World, a: SchedTask, lock: SpinLock) => Task<void>, message: string) => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    expect(() => world.loop.complete(a, body(world, a, new SpinLock('ptl')))).toThrow(message);
  };

  it('sleeping while it is held', () => {
    failing(function* (_, a, lock) {
      yield* lock.lock(a);
      yield* new RwSemaphore('mmap_lock').downWrite(a);
    }, 'sleeping in atomic context: a in down_write on mmap_lock (preempt disabled 1');
  });

  it('releasing it without holding it', () => {
    failing((_, a, lock) => lock.unlock(a), 'a releases ptl, held by nobody');
  });

  it('needing it without holding it', () => {
    failing(function* (_, a, lock) {
      yield writePoint('pte');
      lock.assertHeld(a);
    }, 'a needs ptl, held by nobody');
  });

  it('ending while it is held', () => {
    failing((_, a, lock) => lock.lock(a), 'a ended with preemption or interrupts disabled');
  });

  it('opening what is not closed', () => {
    failing(function* (_, a) {
      yield writePoint('x');
      localIrqRestore(a);
    }, 'a restores interrupts that are not disabled');
    failing(function* (_, a) {
      yield writePoint('x');
      preemptEnable(a);
    }, 'a enables preemption that is not disabled');
  });
});

describe('closing interrupts and preemption', () => {
  it('nests', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    const cpu = world.machine.cpu(0);
    const depths: number[] = [];
    const body = function* (): Task<void> {
      yield writePoint('x');
      for (const step of [localIrqSave, localIrqSave, localIrqRestore, localIrqRestore]) {
        step(a);
        depths.push(cpu.interruptsDisabled);
      }
      for (const step of [preemptDisable, preemptDisable, preemptEnable, preemptEnable]) {
        step(a);
        depths.push(a.preemptDisabled);
      }
    };
    world.loop.complete(a, body());
    expect(depths).toEqual([1, 2, 1, 0, 1, 2, 1, 0]);
  });
});

describe('a CPU that spins on a lock', () => {
  /** a on CPU 0 holds the lock and interrupts CPU 1, where b wants the lock; a waits for the answer before it releases. */
  function interruptWhileSpinning(seed: number, irqsave: boolean): RunResult {
    const world = makeWorld(2, new RandomPolicy(seed));
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    const lock = new SpinLock('ptl');
    const call = new SharedObject('call');
    let answered = false;
    const handler = function* (): Task<void> {
      yield new SchedPoint(PointKind.Write, call, 'acknowledge', StepCost.AtomicUpdate);
      answered = true;
    };
    world.loop.start(
      a,
      (function* (): Task<void> {
        yield* lock.lock(a);
        yield new SchedPoint(PointKind.Write, call, 'send', StepCost.InterruptSend);
        world.machine.interconnect.sendInterrupt(0, 1, handler, 'tlb flush');
        yield new SchedPoint(PointKind.Wait, call, 'csd_lock_wait', StepCost.SharedLoad, () => answered);
        yield* lock.unlock(a);
      })(),
    );
    world.loop.start(
      b,
      (function* (): Task<void> {
        yield* irqsave ? lock.lockIrqsave(b) : lock.lock(b);
        yield* irqsave ? lock.unlockIrqrestore(b) : lock.unlock(b);
      })(),
    );
    return world.loop.run();
  }

  it('still takes interrupts, so the holder gets its answer under every schedule', () => {
    for (let seed = 0; seed < 200; seed++) expect(interruptWhileSpinning(seed, false).kind).toBe('finished');
  });

  it('does not when it spins with interrupts closed: a deadlock under some schedules', () => {
    const results = Array.from({ length: 200 }, (_, seed) => interruptWhileSpinning(seed, true));
    const deadlock = results.find((result) => result.kind === 'deadlock');
    expect(deadlock).toMatchObject({
      waits: [
        { task: 'a', operation: 'csd_lock_wait', object: 'call' },
        { task: 'b', operation: 'spin_lock', object: 'ptl', holders: [{ name: 'a', mode: 'spin' }] },
      ],
      pending: [{ cpu: 1, from: 0, name: 'tlb flush' }],
    });
    expect(results.some((result) => result.kind === 'finished')).toBe(true);
  });
});
