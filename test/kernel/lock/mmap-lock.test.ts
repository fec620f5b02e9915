import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import {
  type MmapLocked,
  mmapAssertLocked,
  mmapAssertWriteLocked,
  mmapLockSpeculateRetry,
  mmapLockSpeculateTryBegin,
  mmapReadLock,
  mmapReadLockKillable,
  mmapReadTrylock,
  mmapReadUnlock,
  mmapWriteDowngrade,
  mmapWriteLock,
  mmapWriteLockKillable,
  mmapWriteTrylock,
  mmapWriteUnlock,
} from '../../../src/kernel/lock/mmap-lock.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { SchedTask } from '../../../src/sched/task.ts';
import { makeTasks, makeWorld, writePoint } from '../../sched/support.ts';

type Step = (current: SchedTask, mm: MmapLocked) => Task<unknown>;

const makeMm = (sequence = 0): MmapLocked => ({
  mmapLock: new RwSemaphore('mmap_lock 1'),
  mmLockSeq: sequence,
});

/** Runs the steps one after another and gives the sequence number after each. */
function sequences(mm: MmapLocked, steps: readonly Step[]): number[] {
  const world = makeWorld(1);
  const [task] = makeTasks(0) as [SchedTask];
  return steps.map((step) => {
    world.loop.complete(task, step(task, mm));
    return mm.mmLockSeq;
  });
}

/** @see Linux include/linux/mmap_lock.h, mm_lock_seqcount_begin and _end */
describe('mm_lock_seq', () => {
  it.each<[string, readonly Step[], readonly number[]]>([
    ['write lock and unlock', [mmapWriteLock, mmapWriteUnlock, mmapWriteLock, mmapWriteUnlock], [1, 2, 3, 4]],
    ['killable write lock', [mmapWriteLockKillable, mmapWriteUnlock], [1, 2]],
    ['write trylock', [mmapWriteTrylock, mmapWriteUnlock], [1, 2]],
    ['downgrade', [mmapWriteLock, mmapWriteDowngrade, mmapReadUnlock], [1, 2, 2]],
    ['read locks', [mmapReadLock, mmapReadUnlock, mmapReadLockKillable, mmapReadUnlock], [0, 0, 0, 0]],
    ['failed write trylock', [mmapReadLock, mmapWriteTrylock, mmapReadUnlock], [0, 0, 0]],
    ['failed read trylock', [mmapWriteLock, mmapReadTrylock, mmapWriteUnlock], [1, 1, 2]],
  ])('moves with the write lock only: %s', (_, steps, expected) => {
    expect(sequences(makeMm(), steps)).toEqual(expected);
  });

  it('wraps at 32 bits and stays odd while locked', () => {
    expect(sequences(makeMm(0xffff_fffe), [mmapWriteLock, mmapWriteUnlock])).toEqual([0xffff_ffff, 0]);
  });

  it('lets speculation begin only without a writer, and tells whether one has been', () => {
    const mm = makeMm();
    expect(mmapLockSpeculateTryBegin(mm)).toBe(0);
    sequences(mm, [mmapWriteLock]);
    expect(mmapLockSpeculateTryBegin(mm)).toBeNull();
    expect(mmapLockSpeculateRetry(mm, 0)).toBe(true);
    const other = makeMm();
    sequences(other, [mmapReadLock, mmapReadUnlock]);
    expect(mmapLockSpeculateRetry(other, 0)).toBe(false);
  });
});

describe('asserting mmap_lock', () => {
  it.each([
    ['read', mmapReadLock, mmapReadUnlock],
    ['write', mmapWriteLock, mmapWriteUnlock],
  ] as const)('throws for everybody but who holds it, to %s', (mode, lock, unlock) => {
    const world = makeWorld(1);
    const [a, b] = makeTasks(0, 0) as [SchedTask, SchedTask];
    const mm = makeMm();
    expect(() => mmapAssertLocked(a, mm)).toThrow('a needs mmap_lock 1, held by nobody');
    world.loop.complete(a, lock(a, mm));
    expect(() => mmapAssertLocked(a, mm)).not.toThrow();
    expect(() => mmapAssertLocked(b, mm)).toThrow(`b needs mmap_lock 1, held by a (${mode})`);
    world.loop.complete(a, unlock(a, mm));
    expect(() => mmapAssertLocked(a, mm)).toThrow('held by nobody');
  });

  it('for writing throws for everybody but the writer', () => {
    const world = makeWorld(1);
    const [a, b] = makeTasks(0, 0) as [SchedTask, SchedTask];
    const mm = makeMm();
    world.loop.complete(a, mmapWriteLock(a, mm));
    expect(() => mmapAssertWriteLocked(a, mm)).not.toThrow();
    expect(() => mmapAssertWriteLocked(b, mm)).toThrow('b needs mmap_lock 1 for writing, held by a (write)');
    world.loop.complete(a, mmapWriteDowngrade(a, mm));
    expect(() => mmapAssertWriteLocked(a, mm)).toThrow('a needs mmap_lock 1 for writing, held by a (read)');
    expect(() => world.loop.complete(b, mmapWriteUnlock(b, mm))).toThrow('b needs mmap_lock 1 for writing');
  });
});

describe('a killed waiter for mmap_lock', () => {
  it('gets -EINTR, leaves the sequence alone, and lets readers behind it in', () => {
    const world = makeWorld(3);
    const mm = makeMm();
    class Killable extends SchedTask {
      killed = false;
      override fatalSignalPending(): boolean {
        return this.killed;
      }
    }
    const holder = new SchedTask(0, 'holder', 0);
    const writer = new Killable(1, 'writer', 1);
    const reader = new SchedTask(2, 'reader', 2);
    const until = (condition: () => boolean): void => {
      world.loop.run({ afterStep: () => !condition() });
    };
    world.loop.start(
      holder,
      (function* (): Task<void> {
        yield* mmapReadLock(holder, mm);
        while (reader.result !== 'read') yield writePoint('work');
        yield* mmapReadUnlock(holder, mm);
      })(),
    );
    until(() => mm.mmapLock.isLocked());
    world.loop.start(writer, mmapWriteLockKillable(writer, mm));
    until(() => mm.mmapLock.isContended());
    world.loop.start(
      reader,
      (function* (): Task<string> {
        yield* mmapReadLock(reader, mm);
        yield* mmapReadUnlock(reader, mm);
        return 'read';
      })(),
    );
    until(() => mm.mmapLock.waiters().length === 2);
    writer.killed = true;
    expect(world.loop.run().kind).toBe('finished');
    expect([writer.result, reader.result, mm.mmLockSeq]).toEqual([-4, 'read', 0]);
  });
});
