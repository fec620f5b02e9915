import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { localIrqRestore, localIrqSave } from '../../../src/kernel/lock/irq.ts';
import {
  callRcu,
  Rcu,
  type RcuTask,
  rcuReadLock,
  rcuReadUnlock,
  synchronizeRcu,
} from '../../../src/kernel/lock/rcu.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { SchedTask } from '../../../src/sched/task.ts';
import { makeWorld, writePoint } from '../../sched/support.ts';
import { Director } from '../support/director.ts';

class Reader extends SchedTask implements RcuTask {
  readonly kernel: { readonly rcu: Rcu };
  constructor(id: number, kernel: { readonly rcu: Rcu }) {
    super(id, `task ${id}`, id);
    this.kernel = kernel;
  }
}

const point = writePoint('inside');
let director: Director;
let kernel: { readonly rcu: Rcu };
let tasks: Reader[];
let world: ReturnType<typeof makeWorld>;

beforeEach(() => {
  director = new Director();
  world = makeWorld(4, director.policy);
  director.loop = world.loop;
  kernel = { rcu: new Rcu(world.machine.cpus) };
  tasks = [0, 1, 2, 3].map((id) => new Reader(id, kernel));
});

const task = (id: number): Reader => tasks[id] as Reader;

/** A section with `depth` nested ones and a point inside. */
function* section(current: Reader, depth = 1): Task<void> {
  for (let i = 0; i < depth; i++) rcuReadLock(current);
  for (let i = 0; i < depth; i++) {
    yield point;
    rcuReadUnlock(current);
  }
}

/** Enters a section, up to the point inside. */
function enter(id: number, depth = 1): void {
  director.start(task(id), section(task(id), depth));
  director.untilPoint(task(id), (stands) => stands === point);
}

function called(): { done: boolean } {
  const call = { done: false };
  callRcu(kernel, () => {
    call.done = true;
  });
  return call;
}

describe('call_rcu', () => {
  it('calls at once when nobody reads, and begins no grace period', () => {
    expect(called().done).toBe(true);
    expect(kernel.rcu.gracePeriods).toBe(0);
  });

  it('waits for the sections that are under way, in the last of which it is called', () => {
    enter(0);
    enter(1);
    const call = called();
    director.finish(task(0));
    expect(call.done).toBe(false);
    director.finish(task(1));
    expect([call.done, kernel.rcu.pendingCallbacks]).toEqual([true, 0]);
  });

  it('does not wait for sections that begin later', () => {
    enter(0);
    const call = called();
    enter(1);
    director.finish(task(0));
    expect(call.done).toBe(true);
    director.finish(task(1));
  });

  it('does not wait for a task that has left and entered again', () => {
    enter(0);
    enter(1);
    const call = called();
    director.finish(task(0));
    enter(0);
    director.finish(task(1));
    expect(call.done).toBe(true);
    director.finish(task(0));
  });

  it('waits for the outermost of nested sections', () => {
    enter(0, 3);
    const call = called();
    director.step(task(0));
    expect([call.done, task(0).rcuReadDepth]).toEqual([false, 2]);
    director.finish(task(0));
    expect(call.done).toBe(true);
  });
});

describe('call_rcu', () => {
  it('from inside a section waits for that', () => {
    rcuReadLock(task(0));
    const call = called();
    expect(call.done).toBe(false);
    rcuReadUnlock(task(0));
    expect(call.done).toBe(true);
  });

  it('calls in the order of the calls, those of one moment in one grace period', () => {
    const order: number[] = [];
    const call = (n: number): void => callRcu(kernel, () => order.push(n));
    enter(0);
    call(1);
    call(2);
    enter(1);
    call(3);
    expect(kernel.rcu.gracePeriods).toBe(2);
    director.finish(task(0));
    expect(order).toEqual([1, 2]);
    director.finish(task(1));
    expect(order).toEqual([1, 2, 3]);
  });

  it('waits for a CPU with interrupts disabled, to the end of the outermost such section', () => {
    const body = function* (): Task<void> {
      localIrqSave(task(0));
      localIrqSave(task(0));
      yield point;
      localIrqRestore(task(0));
      yield point;
      localIrqRestore(task(0));
    };
    director.start(task(0), body());
    director.step(task(0));
    enter(1);
    const call = called();
    director.step(task(0));
    director.finish(task(1));
    expect(call.done).toBe(false);
    director.finish(task(0));
    expect(call.done).toBe(true);
  });
});

describe('synchronize_rcu', () => {
  it('returns at once when nobody reads', () => {
    director.start(task(0), synchronizeRcu(task(0)));
    director.finish(task(0));
    expect(kernel.rcu.gracePeriods).toBe(0);
  });

  it('sleeps until the sections that had begun have ended', () => {
    enter(0);
    director.start(task(1), synchronizeRcu(task(1)));
    expect(director.block(task(1))).toBe('synchronize_rcu');
    enter(2);
    director.finish(task(0));
    director.finish(task(1));
    director.finish(task(2));
  });

  it('names the readers when they never leave', () => {
    const lock = new RwSemaphore('lock');
    const blocked = function* (): Task<void> {
      rcuReadLock(task(0));
      yield* lock.downReadTrylock(task(0));
      yield point;
      rcuReadUnlock(task(0));
    };
    director.start(task(0), blocked());
    director.untilPoint(task(0), (stands) => stands === point);
    expect(kernel.rcu.holders()).toEqual([{ name: 'task 0', mode: 'rcu read' }]);
    director.finish(task(0));
  });

  it('in a section would wait for itself, which is said at once', () => {
    const body = function* (): Task<void> {
      rcuReadLock(task(0));
      yield* synchronizeRcu(task(0));
    };
    director.start(task(0), body());
    expect(() => director.finish(task(0))).toThrow(
      'deadlock: task 0 waits in synchronize_rcu for its own RCU section',
    );
  });
});

describe('a section', () => {
  it('must not sleep', () => {
    const body = function* (): Task<void> {
      rcuReadLock(task(0));
      yield* new RwSemaphore('lock').downRead(task(0));
    };
    director.start(task(0), body());
    expect(() => director.finish(task(0))).toThrow(
      'sleeping in atomic context: task 0 in down_read on lock (preempt disabled 0, interrupts disabled 0, rcu read depth 1)',
    );
  });

  it('must have ended when its task ends, and cannot end twice', () => {
    director.start(
      task(0),
      (function* (): Task<void> {
        yield point;
        rcuReadLock(task(0));
      })(),
    );
    expect(() => director.finish(task(0))).toThrow('ended with');
    expect(() => rcuReadUnlock(task(1))).toThrow('leaves an RCU section that it is not in');
  });
});

describe('what readers see under any schedule', () => {
  it('is never freed before they have left', () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = makeWorld(4, new RandomPolicy(seed));
      const own = { rcu: new Rcu(random.machine.cpus) };
      let live = { freed: false };
      const reader = function* (current: Reader): Task<void> {
        for (let round = 0; round < 5; round++) {
          yield point;
          rcuReadLock(current);
          const seen = live;
          for (let step = 0; step < 3; step++) {
            yield point;
            expect(seen.freed).toBe(false);
          }
          rcuReadUnlock(current);
        }
      };
      const writer = function* (current: Reader): Task<void> {
        for (let round = 0; round < 5; round++) {
          yield point;
          const old = live;
          live = { freed: false };
          if (round % 2 === 0) callRcu(own, () => Object.assign(old, { freed: true }));
          else {
            yield* synchronizeRcu(current);
            old.freed = true;
          }
        }
      };
      const actors = [0, 1, 2, 3].map((id) => new Reader(id, own));
      for (const actor of actors) random.loop.start(actor, actor.id < 3 ? reader(actor) : writer(actor));
      expect(random.loop.run().kind).toBe('finished');
      expect(own.rcu.pendingCallbacks).toBe(0);
    }
  });
});
