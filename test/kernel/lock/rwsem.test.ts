import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { RoundRobinPolicy } from '../../../src/sched/policy/round-robin.ts';
import { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld, writePoint } from '../../sched/support.ts';
import { RwsemActors } from './actors.ts';

/** @see Linux kernel/locking/rwsem.c for every row; the functions are named where the rule is not obvious */
describe('an rwsem', () => {
  it.each([
    ['aR bR cR', 'R(a b c)', 'readers share'],
    ['aW bR', 'W(a) < Rb', 'a reader waits for a writer'],
    ['aR bW', 'R(a) < Wb', 'a writer waits for a reader'],
    ['aR bW cR', 'R(a) < Wb Rc', 'a waiting writer holds back later readers'],
    ['aR bW cR a-', 'W(b) < Rc', 'the writer at the head comes first'],
    ['aR bW cR a- b-', 'R(c)', 'then the reader behind it'],
    ['aW bR cR dW a-', 'R(b c) < Wd', 'readers at the head come in together'],
    ['aW bR cW dR eW fR a-', 'R(b d f) < Wc We', 'and those behind writers with them (rwsem_mark_wake)'],
    ['aW bR cW dR a- b-', 'R(d) < Wc', 'the writer waits for the last of them'],
    ['aW bR cW dR a- b- d-', 'W(c)', 'and then has it alone'],
    ['aW bW cW a-', 'W(b) < Wc', 'writers come one by one, in order'],
    ['aR aR a-', 'R(a)', 'a task may hold it twice for reading'],
    ['aR bW a-', 'W(b)', 'it is handed over, not free, in between'],
    ['aR bW aR', 'R(a) < Wb Ra', 'a second read behind a writer waits: a deadlock by itself'],
  ])('%s gives %s: %s', (words, picture) => {
    const actors = new RwsemActors();
    actors.play(words);
    expect(actors.picture()).toBe(picture);
  });

  it('wakes at most 256 readers at once; the rest stay at the head', () => {
    const actors = new RwsemActors();
    const names = Array.from({ length: 300 }, (_, index) => `r${index}`);
    actors.play(`aW ${names.map((name) => `${name}R`).join(' ')} a-`);
    expect(actors.sem.holders()).toHaveLength(256);
    expect(actors.sem.waiters()[0]).toEqual({ name: 'r256', mode: 'read' });
    // The first to leave wakes nobody; the last one does.
    actors.play('r0-');
    expect(actors.sem.waiters()).toHaveLength(44);
    actors.play(
      names
        .slice(1, 256)
        .map((name) => `${name}-`)
        .join(' '),
    );
    expect(actors.sem.holders()).toHaveLength(44);
  });
});

describe('an rwsem beside plain taking and releasing', () => {
  it.each([
    ['aR bT', 'R(a b)', ['b true'], 'with other readers'],
    ['aW bT', 'W(a)', ['b false'], 'not with a writer'],
    ['aR bW cT', 'R(a) < Wb', ['c false'], 'not past a waiting writer'],
    ['aU', 'W(a)', ['a true'], 'for writing when it is free'],
    ['aR bU', 'R(a)', ['b false'], 'not for writing with a reader'],
  ])('trylock: %s gives %s: %4$s', (words, picture, results) => {
    const actors = new RwsemActors();
    actors.play(words);
    expect([actors.picture(), actors.results]).toEqual([picture, results]);
  });

  it.each([
    ['aW aD', 'R(a)', 'from writing to reading'],
    ['aW bR cR aD', 'R(a b c)', 'readers at the head come in'],
    ['aW bR cW dR aD', 'R(a b d) < Wc', 'and those behind a writer (rwsem_downgrade_wake)'],
    ['aW bW cR aD', 'R(a) < Wb Rc', 'a writer at the head keeps all waiting'],
    ['aW bW cR aD a-', 'W(b) < Rc', 'until the lock is released'],
  ])('downgrade: %s gives %s: %s', (words, picture) => {
    const actors = new RwsemActors();
    actors.play(words);
    expect(actors.picture()).toBe(picture);
  });

  it.each([
    ['aW bRk bK', 'W(a)', ['b -4'], 'a killed reader leaves'],
    ['aW bWk bK', 'W(a)', ['b -4'], 'a killed writer leaves'],
    ['aR bWk cR dR bK', 'R(a c d)', ['b -4'], 'a killed writer at the head lets the readers behind it in'],
    ['aR bWk cR dW eR bK', 'R(a c e) < Wd', ['b -4'], 'also those behind the next writer'],
    ['aR bWk cW bK', 'R(a) < Wc', ['b -4'], 'but no writer while a reader holds the lock'],
    ['aR bW cWk dR cK', 'R(a) < Wb Rd', ['c -4'], 'one that is not at the head lets nobody in'],
    ['aW bRk cR bK', 'W(a) < Rc', ['b -4'], 'nobody comes in while a writer holds the lock'],
    ['aW bRk cRk bK a-', 'R(c)', ['b -4', 'c 0'], 'the others get it later, as if it had not been there'],
    ['bK bRk', 'R(b)', ['b 0'], 'a fatal signal does not matter where there is no waiting'],
    ['bK aW bRk', 'W(a)', ['b -4'], 'and ends the wait at once where there is'],
    ['aW bR bK', 'W(a) < Rb', [], 'an unkillable wait goes on'],
  ])('killable: %s gives %s: %4$s', (words, picture, results) => {
    const actors = new RwsemActors();
    actors.play(words);
    expect([actors.picture(), actors.results]).toEqual([picture, results]);
  });
});

describe('misuse of an rwsem is a broken invariant:', () => {
  it.each([
    ['a-', 'a releases sem, which it does not hold for reading'],
    ['aR b-', 'b releases sem, which it does not hold for reading'],
    ['aR aD', 'downgrade_write: a does not hold sem for writing'],
    ['aW bD', 'downgrade_write: b does not hold sem for writing'],
  ])('%s throws %s', (words, message) => {
    expect(() => new RwsemActors().play(words)).toThrow(message);
  });

  it('taking it with preemption or interrupts disabled throws, even when it is free', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    const body = function* (): Task<void> {
      a.preemptDisabled++;
      yield* new RwSemaphore('mmap_lock 1').downRead(a);
    };
    expect(() => world.loop.complete(a, body())).toThrow(
      'sleeping in atomic context: a in down_read on mmap_lock 1 (preempt disabled 1, interrupts disabled 0)',
    );
  });

  it('but trying it there is allowed', () => {
    const world = makeWorld(1);
    const [a] = makeTasks(0) as [SchedTask];
    const body = function* (): Task<boolean> {
      a.preemptDisabled++;
      const taken = yield* new RwSemaphore('sem').downReadTrylock(a);
      a.preemptDisabled--;
      return taken;
    };
    expect(world.loop.complete(a, body())).toBe(true);
  });
});

describe('a waiter that was handed the lock', () => {
  it('has it, even if it is killed before it wakes', () => {
    class Killable extends SchedTask {
      killed = false;
      override fatalSignalPending(): boolean {
        return this.killed;
      }
    }
    const world = makeWorld(2);
    const sem = new RwSemaphore('sem');
    const holder = new SchedTask(0, 'holder', 0);
    const waiter = new Killable(1, 'waiter', 1);
    world.loop.complete(holder, sem.downWrite(holder));
    world.loop.start(waiter, sem.downWriteKillable(waiter));
    expect(world.loop.run().kind).toBe('deadlock');
    const release = function* (): Task<void> {
      yield* sem.upWrite(holder);
      waiter.killed = true;
    };
    world.loop.start(holder, release());
    world.loop.run();
    expect([waiter.result, sem.isWrittenBy(waiter)]).toEqual([0, true]);
  });
});

describe('an rwsem under the scheduler', () => {
  it('excludes writers from everybody and lets everybody through, under any schedule', () => {
    const point = writePoint('inside');
    for (let seed = 0; seed < 300; seed++) {
      const world = makeWorld(3, new RandomPolicy(seed));
      const sem = new RwSemaphore('sem');
      let readers = 0;
      let writers = 0;
      const body = function* (task: SchedTask): Task<void> {
        for (let round = 0; round < 4; round++) {
          if ((task.id + round) % 3 === 0) {
            yield* sem.downWrite(task);
            writers++;
            expect([readers, writers]).toEqual([0, 1]);
            yield point;
            writers--;
            yield* sem.upWrite(task);
          } else {
            yield* sem.downRead(task);
            readers++;
            expect(writers).toBe(0);
            yield point;
            readers--;
            yield* sem.upRead(task);
          }
        }
      };
      for (const task of makeTasks(0, 1, 2, 0, 1)) world.loop.start(task, body(task));
      expect(world.loop.run().kind).toBe('finished');
      expect([sem.isLocked(), sem.isContended()]).toEqual([false, false]);
    }
  });

  it('tells its waits as events, and says nothing when there was none', () => {
    const world = makeWorld(2, new RoundRobinPolicy());
    const sem = new RwSemaphore('sem');
    const [a, b] = makeTasks(0, 1) as [SchedTask, SchedTask];
    const body = function* (task: SchedTask): Task<void> {
      yield* sem.downWrite(task);
      yield writePoint('inside');
      yield* sem.upWrite(task);
    };
    world.loop.complete(a, body(a));
    expect(world.events.ofKind('lock-wait')).toEqual([]);
    world.loop.start(a, body(a));
    world.loop.start(b, body(b));
    world.loop.run();
    expect(world.events.ofKind('lock-wait').map(({ lock, operation }) => `${operation} ${lock}`)).toEqual([
      'down_write sem',
    ]);
    expect(world.events.ofKind('lock-acquire')).toHaveLength(1);
  });
});
