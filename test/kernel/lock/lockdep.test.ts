/** Orders of locks that could deadlock, planted in tasks that run one after the other and never do. */
import { beforeEach, describe, expect, it } from 'vitest';
import { PointKind, SchedPoint, SharedObject, type Task } from '../../../src/base/task.ts';
import { SINGLE_DEPTH_NESTING } from '../../../src/kernel/lock/lock-classes.ts';
import { describeLockdepReport, Lockdep } from '../../../src/kernel/lock/lockdep.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { SpinLock } from '../../../src/kernel/lock/spinlock.ts';
import { RoundRobinPolicy } from '../../../src/sched/policy/round-robin.ts';
import type { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld } from '../../sched/support.ts';

let world: ReturnType<typeof makeWorld>;
let lockdep: Lockdep;
let a: SchedTask;
let b: SchedTask;

beforeEach(() => {
  world = makeWorld(2, new RoundRobinPolicy());
  lockdep = new Lockdep();
  [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
  a.lockWatcher = lockdep;
  b.lockWatcher = lockdep;
});

type Taking = {
  readonly take: (task: SchedTask) => Task<unknown>;
  readonly release: (task: SchedTask) => Task<void>;
};
const read = (lock: RwSemaphore): Taking => ({
  take: (t) => lock.downRead(t),
  release: (t) => lock.upRead(t),
});
const write = (lock: RwSemaphore): Taking => ({
  take: (t) => lock.downWrite(t),
  release: (t) => lock.upWrite(t),
});
const tryRead = (lock: RwSemaphore): Taking => ({
  take: (t) => lock.downReadTrylock(t),
  release: (t) => lock.upRead(t),
});
const spin = (lock: SpinLock, subclass = 0): Taking => ({
  take: (t) => lock.lock(t, subclass),
  release: (t) => lock.unlock(t),
});

/** Takes the locks one inside the other, and releases them in the opposite order. */
function nested(task: SchedTask, ...takings: readonly Taking[]): void {
  const body = function* (): Task<void> {
    for (const { take } of takings) yield* take(task);
    for (const { release } of takings.toReversed()) yield* release(task);
  };
  world.loop.complete(task, body());
}

const problems = (): string[] => lockdep.reports.map(({ problem }) => problem);

describe('lockdep', () => {
  it('tells of two classes taken in both orders by two tasks that never met, with what both held', () => {
    const [x, y] = [new RwSemaphore('x_lock one'), new RwSemaphore('y_lock one')];
    nested(a, read(x), write(y));
    expect(lockdep.reports).toEqual([]);
    nested(b, write(y), read(x));
    expect(lockdep.reports.map(describeLockdepReport)).toEqual([
      [
        'possible deadlock (circle): b takes x_lock one inside y_lock one; elsewhere y_lock is taken inside x_lock',
        '  b on cpu 1:',
        '    down_write y_lock one',
        '      down_read x_lock one',
        '  a on cpu 0:',
        '    down_read x_lock one',
        '      down_write y_lock one',
      ].join('\n'),
    ]);
  });

  it('knows classes, not locks: other locks of the same classes make the circle too', () => {
    nested(a, read(new RwSemaphore('x_lock 1')), read(new RwSemaphore('y_lock 1')));
    nested(b, read(new RwSemaphore('y_lock 2')), read(new RwSemaphore('x_lock 2')));
    expect(problems()).toEqual(['circle']);
  });

  it('finds longer circles, and tells of every step', () => {
    const [x, y, z] = ['x', 'y', 'z'].map((name) => new RwSemaphore(`${name}_lock`)) as [
      RwSemaphore,
      RwSemaphore,
      RwSemaphore,
    ];
    nested(a, read(x), read(y));
    nested(a, read(y), read(z));
    nested(b, read(z), read(x));
    expect(lockdep.reports).toHaveLength(1);
    expect(lockdep.reports[0]?.stacks.map(({ locks }) => locks)).toEqual([
      ['down_read z_lock', 'down_read x_lock'],
      ['down_read x_lock', 'down_read y_lock'],
      ['down_read y_lock', 'down_read z_lock'],
    ]);
  });

  it('tells of an order once', () => {
    const [x, y] = [new RwSemaphore('x_lock'), new RwSemaphore('y_lock')];
    nested(a, read(x), read(y));
    for (let round = 0; round < 3; round++) nested(b, read(y), read(x));
    expect(problems()).toEqual(['circle']);
  });
});

describe('lockdep and the documented order', () => {
  it.each([
    [
      'mmap_lock inside a page-table lock',
      (): void => nested(a, write(new RwSemaphore('anon_vma 1')), write(new RwSemaphore('mmap_lock mm'))),
    ],
    [
      'i_mmap_rwsem inside anon_vma',
      (): void => nested(a, read(new RwSemaphore('anon_vma 1')), read(new RwSemaphore('i_mmap_rwsem 1'))),
    ],
    [
      'i_rwsem inside mmap_lock',
      (): void => nested(a, read(new RwSemaphore('mmap_lock mm')), write(new RwSemaphore('i_rwsem file'))),
    ],
  ])('tells of %s although nobody has taken them the right way round', (_name, plant) => {
    plant();
    expect(problems()).toEqual(['order']);
  });

  it('says nothing about the documented order', () => {
    const names = ['i_rwsem f', 'mmap_lock m', 'invalidate_lock f', 'i_mmap_rwsem f', 'anon_vma 1'];
    nested(a, ...names.map((name) => write(new RwSemaphore(name))), spin(new SpinLock('page_table_lock m')));
    nested(b, read(new RwSemaphore('mmap_lock m')), spin(new SpinLock('ptl pte@1')));
    expect(lockdep.reports).toEqual([]);
  });
});

describe('lockdep and one class taken twice', () => {
  it('tells of it, unless the second one names its nesting', () => {
    const [one, two] = [new SpinLock('ptl pte@1'), new SpinLock('ptl pte@2')];
    nested(a, spin(one), spin(two, SINGLE_DEPTH_NESTING));
    expect(lockdep.reports).toEqual([]);
    nested(a, spin(one), spin(two));
    expect(problems()).toEqual(['recursion']);
    expect(lockdep.reports[0]?.summary).toContain(
      'takes ptl pte@2 while it holds ptl pte@1, of the same class',
    );
  });

  it('tells of a lock taken twice for reading, which a writer in between makes a deadlock', () => {
    const x = new RwSemaphore('x_lock');
    nested(a, read(x), read(x));
    expect(problems()).toEqual(['recursion']);
  });
});

describe('lockdep and attempts', () => {
  it('an attempt that does not wait makes no order, what is waited for under it does', () => {
    const [x, y, z] = [new RwSemaphore('x_lock'), new RwSemaphore('y_lock'), new RwSemaphore('z_lock')];
    nested(a, read(x), tryRead(y));
    nested(b, read(y), read(x));
    expect(lockdep.reports).toEqual([]);
    nested(a, tryRead(x), read(z));
    nested(b, read(z), read(x));
    expect(problems()).toEqual(['circle']);
  });

  it('forgets a lock that was released, in whatever order', () => {
    const [x, y] = [new RwSemaphore('x_lock'), new RwSemaphore('y_lock')];
    const body = function* (): Task<void> {
      yield* x.downWrite(a);
      yield* y.downRead(a);
      yield* x.downgradeWrite(a);
      yield* x.upRead(a);
      expect(lockdep.heldBy(a)).toEqual(['y_lock']);
      yield* y.upRead(a);
    };
    world.loop.complete(a, body());
    expect(lockdep.heldBy(a)).toEqual([]);
  });
});

describe('lockdep and interrupts', () => {
  const take = function* (lock: SpinLock, task: SchedTask): Task<void> {
    yield* lock.lock(task);
    yield* lock.unlock(task);
  };

  /** Has a handler on the CPU of `b` take the lock. */
  function inHandler(lock: SpinLock): void {
    const object = new SharedObject('loop');
    const body = function* (): Task<void> {
      yield new SchedPoint(PointKind.Read, object, 'read');
      yield new SchedPoint(PointKind.Read, object, 'read');
      yield new SchedPoint(PointKind.Read, object, 'read');
      yield new SchedPoint(PointKind.Read, object, 'read');
    };
    const sender = function* (): Task<void> {
      yield new SchedPoint(PointKind.Write, object, 'send');
      world.machine.interconnect.sendInterrupt(0, 1, () => take(lock, b), 'test');
    };
    world.loop.start(b, body());
    world.loop.start(a, sender());
    world.loop.run();
  }

  it('tells of a spinlock taken in a handler and elsewhere with interrupts enabled', () => {
    const lock = new SpinLock('x_lock');
    inHandler(lock);
    expect(lockdep.reports).toEqual([]);
    nested(a, spin(lock));
    expect(problems()).toEqual(['interrupt']);
    expect(lockdep.reports[0]?.stacks.map(({ task }) => task)).toEqual([b.name, a.name]);
  });

  it('and of one that is held, interrupts off, while waiting for another that is taken with them on', () => {
    const [inner, outer] = [new SpinLock('inner'), new SpinLock('outer')];
    inHandler(outer);
    nested(a, spin(inner));
    const body = function* (): Task<void> {
      yield* outer.lockIrqsave(a);
      yield* inner.lock(a);
      yield* inner.unlock(a);
      yield* outer.unlockIrqrestore(a);
    };
    world.loop.complete(a, body());
    expect(problems()).toEqual(['interrupt']);
    expect(lockdep.reports[0]?.summary).toBe(
      'outer, which an interrupt handler takes, is held while waiting for inner, which is taken with interrupts enabled',
    );
  });

  it('says nothing when interrupts are off wherever it is taken', () => {
    const lock = new SpinLock('x_lock');
    inHandler(lock);
    const body = function* (): Task<void> {
      yield* lock.lockIrqsave(a);
      yield* lock.unlockIrqrestore(a);
    };
    world.loop.complete(a, body());
    expect(lockdep.reports).toEqual([]);
  });
});
