/**
 * Who may come before those that are queued, and until when: stealing, and the hand-off bit after 4 ms of virtual time.
 * @see Linux kernel/locking/rwsem.c, `rwsem_try_write_lock`, `rwsem_down_read_slowpath`, `rwsem_mark_wake`
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EINTR } from '../../../src/kernel/errno.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { SchedTask } from '../../../src/sched/task.ts';
import { makeWorld } from '../../sched/support.ts';
import { Director } from '../support/director.ts';

class Killable extends SchedTask {
  killed = false;
  signalled = false;
  override fatalSignalPending(): boolean {
    return this.killed;
  }
  override signalPending(): boolean {
    return this.killed || this.signalled;
  }
}

let sem: RwSemaphore;
let director: Director;
let tasks: Killable[];
let milliseconds: number;

beforeEach(() => {
  sem = new RwSemaphore('sem');
  director = new Director();
  const world = makeWorld(6, director.policy);
  director.loop = world.loop;
  milliseconds = 1_000_000 * world.machine.profile.gigahertz;
  tasks = [...'abcdef'].map((name, cpu) => new Killable(cpu, name, cpu));
});

const task = (name: string): Killable => tasks['abcdef'.indexOf(name)] as Killable;
const begin = (name: string, path: Task<unknown>): void => director.start(task(name), path);

/** `aR`, `bW`: takes at once, or is left waiting. `a-`: releases. */
function play(...words: readonly string[]): void {
  for (const word of words) {
    const name = word[0] as string;
    const actor = task(name);
    if (word[1] === '-') begin(name, sem.isWrittenBy(actor) ? sem.upWrite(actor) : sem.upRead(actor));
    else begin(name, word[1] === 'R' ? sem.downReadKillable(actor) : sem.downWriteKillable(actor));
    director.runOn(actor);
  }
}

/** `name` releases, up to just before it wakes the next; or, if `woken`, to the end, with the woken task not run yet. */
function release(name: string, woken: boolean): void {
  const actor = task(name);
  begin(name, sem.isWrittenBy(actor) ? sem.upWrite(actor) : sem.upRead(actor));
  director.until(actor, 'rwsem_wake');
  if (woken) director.finish(actor);
}

/** Holders, then the queue. */
const picture = (): string =>
  [sem.holders(), sem.waiters()]
    .map((side) => side.map(({ name, mode }) => (mode === 'write' ? name.toUpperCase() : name)).join(''))
    .join(' < ');

describe('a free lock with a writer that was woken and has not run', () => {
  it.each([
    ['a reader', 'R', 'c < B', { readSteals: 1, writeSteals: 0 }],
    ['a writer', 'W', 'C < B', { readSteals: 0, writeSteals: 1 }],
  ] as const)(
    'is stolen by %s that comes now; the woken one goes on waiting',
    (_who, mode, taken, events) => {
      play('aW', 'bW');
      release('a', true);
      play(`c${mode}`);
      expect(picture()).toBe(taken);
      director.runOn(task('b'));
      expect([picture(), sem.handoff]).toEqual([taken, false]);
      expect(sem.events).toMatchObject(events);
      play('c-');
      director.runOn(task('b'));
      expect(picture()).toBe('B < ');
    },
  );

  it('is stolen by one reader only: the next one queues, as the lock is held by a reader and somebody waits', () => {
    play('aW', 'bW');
    release('a', true);
    play('cR', 'dR');
    expect(picture()).toBe('c < Bd');
  });

  it('is not given to an attempt that would not wait', () => {
    play('aW', 'bW');
    release('a', true);
    for (const [name, path] of [
      ['c', sem.downReadTrylock(task('c'))],
      ['d', sem.downWriteTrylock(task('d'))],
    ] as const) {
      begin(name, path);
      expect(director.finish(task(name))).toBe(false);
    }
  });
});

describe('after 4 ms', () => {
  /** b waits for 5 ms, is woken, finds the lock stolen by c and sets the hand-off bit. */
  function handOff(thief: 'cR' | 'cW'): void {
    play('aW', 'bW');
    task('b').processor?.advance(5 * milliseconds);
    release('a', true);
    play(thief);
    director.runOn(task('b'));
    expect([sem.handoff, sem.events.handoffs]).toEqual([true, 1]);
  }

  it.each(['cR', 'cW'] as const)(
    'a writer that finds the lock stolen (%s) sets the hand-off bit',
    (thief) => {
      handOff(thief);
      release('c', true);
      // Free, b is woken and has not run: nobody may steal.
      play('dR', 'eW');
      expect(picture()).toBe(' < Bde'.replace('e', 'E'));
      director.runOn(task('b'));
      expect([picture(), sem.handoff]).toEqual(['B < dE', false]);
    },
  );

  it('and not before', () => {
    play('aW', 'bW');
    task('b').processor?.advance(4 * milliseconds - 1000);
    release('a', true);
    play('cR');
    director.runOn(task('b'));
    expect(sem.handoff).toBe(false);
  });

  it('a waiter that is killed takes the bit with it when nobody else waits', () => {
    handOff('cW');
    task('b').killed = true;
    expect(director.finish(task('b'))).toBe(-EINTR);
    expect([picture(), sem.handoff]).toEqual(['C < ', false]);
  });

  it('the bit of a killed waiter does not bar the next one', () => {
    handOff('cW');
    play('dW');
    task('b').killed = true;
    director.finish(task('b'));
    play('c-');
    director.runOn(task('d'));
    expect([picture(), sem.handoff]).toEqual(['D < ', false]);
  });

  it('a reader at the head that finds the lock stolen by a writer has the bit set', () => {
    play('aW', 'bR');
    for (const { processor } of tasks) processor?.advance(5 * milliseconds);
    release('a', false);
    play('cW');
    // Only now does a come to wake the reader, and finds c.
    director.finish(task('a'));
    expect([picture(), sem.handoff]).toEqual(['C < b', true]);
    release('c', false);
    play('dW');
    // d may not steal, and as it queues it lets b in (rwsem_cond_wake_waiter).
    expect([picture(), sem.handoff]).toEqual(['b < D', false]);
    director.finish(task('c'));
    expect(picture()).toBe('b < D');
  });
});

describe('before a releaser has woken anybody', () => {
  it('a reader that comes steals the lock and lets in the readers at the head', () => {
    play('aW', 'bR', 'cW', 'dR');
    release('a', false);
    play('eR');
    expect(picture()).toBe('ebd < C');
    director.finish(task('a'));
    expect(picture()).toBe('ebd < C');
  });
});

describe('an interruptible reader', () => {
  it('leaves the queue on any signal, a killable one on a fatal one only', () => {
    play('aW', 'bR');
    begin('c', sem.downReadInterruptible(task('c')));
    director.runOn(task('c'));
    task('b').signalled = true;
    task('c').signalled = true;
    expect(director.finish(task('c'))).toBe(-EINTR);
    director.runOn(task('b'));
    expect(picture()).toBe('A < b');
  });

  it('takes a free lock, signal or not', () => {
    task('c').signalled = true;
    begin('c', sem.downReadInterruptible(task('c')));
    expect(director.finish(task('c'))).toBe(0);
  });
});
