/** lock_next_vma, walks under a VMA lock, and what is asserted of VMA locks. */
import { beforeEach, describe, expect, it } from 'vitest';
import { atomically, type Task } from '../../../src/base/task.ts';
import { EINTR } from '../../../src/kernel/errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../../../src/kernel/lock/rcu.ts';
import { lockNextVma } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { PROT_READ } from '../../../src/kernel/mm/mman.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import {
  assertVmaLocked,
  assertVmaStabilised,
  vmaAssertAttached,
  vmaAssertDetached,
  vmaEndRead,
  vmaMarkAttached,
  vmaMarkDetached,
  vmaStartWrite,
} from '../../../src/kernel/mm/vma-lock.ts';
import { HugeVerdict, walkPageTables } from '../../../src/kernel/mm/walk-page-tables.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import { BASE_PAGE, mmOf } from './process-world.ts';
import {
  asWriter,
  beginWorld,
  counters,
  director,
  lock,
  mm,
  other,
  RW,
  reader,
  result,
  vmaAt,
  world,
  writer,
} from './vma-lock-world.ts';

beforeEach(beginWorld);

describe('lock_next_vma', () => {
  const next = function* (page: number): Task<VmArea | number | null> {
    rcuReadLock(reader);
    const vma = yield* lockNextVma(reader, mm(), BASE_PAGE + page);
    rcuReadUnlock(reader);
    return vma;
  };

  it('gives the VMA at a page or the next above, locked; null at the end', () => {
    world.map(reader, 8, 2, PROT_READ);
    expect(world.run(reader, next(2))).toBe(vmaAt(0));
    expect(world.run(reader, next(4))).toBe(vmaAt(8));
    expect(world.run(reader, next(10))).toBe(null);
    expect([vmaAt(0).refcount, vmaAt(8).refcount]).toEqual([2, 2]);
  });

  it('takes mmap_lock when a writer has the VMA, and returns without it', () => {
    director.start(writer, asWriter(writer, vmaStartWrite(writer, mm(), vmaAt(0))));
    director.until(writer, 'vma_end_write_all');
    director.start(reader, next(0));
    expect(director.block(reader)).toBe('down_read_killable');
    expect(reader.rcuReadDepth).toBe(0);
    director.finishAll(writer, reader);
    expect([result(reader), mm().mmapLock.isLocked(), vmaAt(0).refcount]).toEqual([vmaAt(0), false, 2]);
  });

  it('sees a VMA that was put into the gap before the one it found', () => {
    world.map(reader, 8, 2, PROT_READ);
    director.start(reader, next(4));
    director.until(reader, 'vma_start_read');
    world.map(writer, 5, 1, RW);
    director.finish(reader);
    expect(result(reader)).toBe(vmaAt(5));
    expect(vmaAt(8).refcount).toBe(1);
  });

  it('believes what it found when the gap is still one, though somebody has changed something else', () => {
    world.map(reader, 8, 2, PROT_READ);
    director.start(reader, next(4));
    director.until(reader, 'vma_start_read');
    world.map(writer, 20, 1, RW);
    director.finish(reader);
    expect(result(reader)).toBe(vmaAt(8));
    expect(counters().abort).toBe(0);
  });

  it('is -EINTR when killed while it waits for mmap_lock', () => {
    director.start(writer, asWriter(writer, vmaStartWrite(writer, mm(), vmaAt(0))));
    director.until(writer, 'vma_end_write_all');
    director.start(reader, next(0));
    director.block(reader);
    reader.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(director.finish(reader)).toBe(-EINTR);
  });

  it('needs an RCU section', () => {
    expect(() => world.run(reader, lockNextVma(reader, mm(), BASE_PAGE))).toThrow('in no RCU section');
  });
});

describe('a walk of the page tables', () => {
  it('needs a lock of its own on the VMA: that another task has one is not enough', () => {
    const vma = vmaAt(0);
    const visitor = { ptes: () => atomically(() => 0), huge: () => atomically(() => HugeVerdict.Done) };
    const walk = () => walkPageTables(reader, vma, vma.start, vma.end, visitor);
    expect(() => walk().next()).toThrow('without being write-locked');
    world.run(writer, mmapReadLock(writer, mm()));
    expect(() => walk().next()).toThrow('without being write-locked');
    world.run(writer, mmapReadUnlock(writer, mm()));
    world.run(reader, lock(0));
    expect(world.run(reader, walk())).toBe(0);
  });
});

describe('the end of an address space', () => {
  it('write-locks each VMA before it leaves its anon_vma', () => {
    world.map(other, 0, 4, RW);
    world.store(other, 0, 1);
    const memory = mmOf(other);
    const vma = vmaAt(0, memory);
    const seen: boolean[] = [];
    const { loop } = world.system;
    loop.start(other, doExit(other, 0));
    let chained = vma.anonVma !== null;
    expect(chained).toBe(true);
    loop.run({
      afterStep: () => {
        if (chained && vma.anonVma === null) seen.push(vma.vmLockSeq === memory.lockSequence);
        chained = vma.anonVma !== null;
        return true;
      },
    });
    expect(seen).toEqual([true]);
  });
});

describe('what is asserted of VMA locks', () => {
  it('a VMA is locked by a reader that holds it, or by a writer', () => {
    const vma = vmaAt(0);
    expect(() => assertVmaLocked(reader, vma)).toThrow('without being write-locked');
    world.run(reader, lock(0));
    assertVmaLocked(reader, vma);
    assertVmaStabilised(reader, vma);
    expect(() => assertVmaLocked(writer, vma)).toThrow();
    expect(() => assertVmaStabilised(writer, vma)).toThrow();
    world.run(writer, mmapReadLock(writer, mm()));
    assertVmaStabilised(writer, vma);
    world.run(writer, mmapReadUnlock(writer, mm()));
  });

  it('a VMA is attached once and detached once, write-locked both times', () => {
    const vma = vmaAt(0);
    vmaAssertAttached(vma);
    expect(() => vmaAssertDetached(vma)).toThrow('is attached');
    expect(() => vmaMarkAttached(vma)).toThrow('without being write-locked');
    expect(() => world.run(writer, vmaMarkDetached(writer, vma))).toThrow('for writing, held by nobody');
  });

  it('a reader ends only what it has begun', () => {
    expect(() => world.run(reader, vmaEndRead(reader, vmaAt(0)))).toThrow('that it has not begun');
  });
});
