import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EINTR } from '../../../src/kernel/errno.ts';
import {
  mmapReadLock,
  mmapReadUnlock,
  mmapWriteLock,
  mmapWriteUnlock,
} from '../../../src/kernel/lock/mmap-lock.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import {
  VM_REFCNT_EXCLUDE_READERS_FLAG,
  VM_REFCNT_LIMIT,
  vmaEndRead,
  vmaStartReadLocked,
  vmaStartWrite,
  vmaStartWriteKillable,
} from '../../../src/kernel/mm/vma-lock.ts';
import { VmaLockFailure } from '../../../src/kernel/mm/vma-lock-counters.ts';
import { vmAreaFree } from '../../../src/kernel/mm/vma-slab.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import { addressOf, BASE_PAGE, mmOf } from './process-world.ts';
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

const FLAG = VM_REFCNT_EXCLUDE_READERS_FLAG;

beforeEach(beginWorld);

describe('the count of a VMA (vm_refcnt)', () => {
  it('is 1 without readers, one more for each, and 0 once it is out of the tree', () => {
    const vma = vmaAt(0);
    expect(vma.refcount).toBe(1);
    expect(world.run(reader, lock(0))).toBe(vma);
    expect(world.run(writer, lock(3, writer))).toBe(vma);
    expect([vma.refcount, vma.holders().map(({ name }) => name)]).toEqual([3, ['reader', 'writer']]);
    world.run(writer, vmaEndRead(writer, vma));
    world.run(reader, vmaEndRead(reader, vma));
    expect(vma.refcount).toBe(1);
    world.run(writer, sysMunmap(writer, addressOf(0), 0x4000n));
    expect([vma.refcount, vma.detached]).toEqual([0, true]);
  });

  it('holds FLAG + 1 while a writer is alone, and more while it waits', () => {
    const vma = vmaAt(0);
    world.run(reader, lock(0));
    director.start(writer, asWriter(writer, vmaStartWrite(writer, mm(), vma)));
    expect(director.block(writer)).toBe('vma_start_write');
    expect(vma.refcount).toBe(FLAG + 2);
    director.start(reader, vmaEndRead(reader, vma));
    director.finish(reader);
    expect(vma.refcount).toBe(FLAG + 1);
    // It is write-locked now and lets readers count themselves, who then see that it is.
    director.until(writer, 'vma_end_write_all');
    expect([vma.refcount, vma.vmLockSeq]).toEqual([1, mm().mmLockSeq]);
    director.finish(writer);
    expect(world.run(reader, lock(0))).toBe(vma);
  });

  it('is raised under mmap_lock without asking, unless it would overflow', () => {
    const vma = vmaAt(0);
    world.run(reader, mmapReadLock(reader, mm()));
    expect(world.run(reader, vmaStartReadLocked(reader, vma))).toBe(true);
    world.run(reader, mmapReadUnlock(reader, mm()));
    expect(vma.refcount).toBe(2);
    world.run(reader, vmaEndRead(reader, vma));
    world.run(reader, mmapReadLock(reader, mm()));
    vma.refcount = VM_REFCNT_LIMIT;
    expect(world.run(reader, vmaStartReadLocked(reader, vma))).toBe(false);
    vma.refcount = 1;
    world.run(reader, mmapReadUnlock(reader, mm()));
  });
});

describe('what readers rely on', () => {
  it.each(['start', 'end', 'flags', 'flagsHigh', 'pgoff'] as const)(
    'changes only in a VMA that is write-locked: %s',
    (field) => {
      const vma = vmaAt(0);
      const touch = (): void => {
        vma[field] += 1;
      };
      const touching = (before: Task<void> | null) =>
        world.run(
          writer,
          asWriter(
            writer,
            (function* (): Task<void> {
              if (before !== null) yield* before;
              touch();
            })(),
          ),
        );
      const was = vma[field];
      expect(touch).toThrow('changed without being write-locked');
      world.run(reader, mmapReadLock(reader, mm()));
      expect(touch).toThrow('changed without being write-locked');
      world.run(reader, mmapReadUnlock(reader, mm()));
      touching(vmaStartWrite(writer, mm(), vma));
      expect(vma[field]).toBe(was + 1);
      // The write section is over, and with it the lock.
      expect(touch).toThrow('changed without being write-locked');
      expect(() => touching(null)).toThrow('changed without being write-locked');
    },
  );
});

describe('a writer', () => {
  it('write-locks a VMA once in a section, and the end of the section unlocks all', () => {
    world.map(reader, 8, 2, PROT_READ);
    const [first, second] = [vmaAt(0), vmaAt(8)];
    director.start(
      writer,
      asWriter(
        writer,
        (function* (): Task<void> {
          yield* vmaStartWrite(writer, mm(), first);
          yield* vmaStartWrite(writer, mm(), second);
          yield* vmaStartWrite(writer, mm(), first);
        })(),
      ),
    );
    director.until(writer, 'vma_end_write_all');
    expect([world.run(reader, lock(0)), world.run(reader, lock(8))]).toEqual([null, null]);
    director.finish(writer);
    expect([world.run(reader, lock(0)), world.run(reader, lock(8))]).toEqual([first, second]);
  });

  it('that is killed while it waits lets the VMA go as it was', () => {
    const vma = vmaAt(0);
    world.run(reader, lock(0));
    director.start(writer, asWriter(writer, vmaStartWriteKillable(writer, mm(), vma)));
    director.block(writer);
    writer.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(director.finish(writer)).toBe(-EINTR);
    expect(vma.refcount).toBe(2);
    expect(world.run(other, lockVmaUnderRcu(other, mm(), BASE_PAGE))).toBe(vma);
  });

  it('waits in vma_mark_detached for a reader that has counted itself and not yet looked again', () => {
    const vma = vmaAt(0);
    director.start(reader, lock(0));
    director.until(reader, 'vma_start_read');
    director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
    director.until(writer, 'vma_mark_detached');
    director.step(reader);
    expect(vma.refcount).toBe(2);
    expect(director.block(writer)).toBe('vma_mark_detached');
    expect(vma.refcount).toBe(FLAG + 1);
    director.until(reader, 'rcuwait_wake_up');
    expect(vma.refcount).toBe(FLAG);
    director.finish(reader);
    director.finish(writer);
    expect([result(reader), writer.result, vma.refcount]).toEqual([null, 0, 0]);
    expect(counters().of(VmaLockFailure.WriteLockedMeanwhile)).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('cannot be without mmap_lock held for writing', () => {
    const start = () => vmaStartWrite(writer, mm(), vmaAt(0));
    expect(() => start().next()).toThrow('for writing, held by nobody');
    world.run(reader, mmapWriteLock(reader, mm()));
    expect(() => start().next()).toThrow('for writing, held by reader (write)');
    world.run(reader, mmapWriteUnlock(reader, mm()));
  });
});

describe('detaching a VMA', () => {
  it('does not wait for a reader that leaves between its two steps', () => {
    const vma = vmaAt(0);
    director.start(reader, lock(0));
    director.until(reader, 'vma_start_read');
    director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
    director.until(writer, 'vma_mark_detached');
    director.step(reader);
    director.step(writer);
    expect([vma.refcount, writer.pendingPoint()?.operation]).toEqual([1, 'vma_mark_detached']);
    director.finish(reader);
    expect([result(reader), vma.refcount]).toEqual([null, 0]);
    // Nobody has woken it, and nobody needs to.
    expect([director.finish(writer), vma.refcount]).toEqual([0, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

/** Stops the reader just before it counts itself in the VMA that it found, lets `meanwhile` happen, and goes on. */
function readWhile(page: number, meanwhile: () => void): VmArea | null {
  director.start(reader, lock(page));
  director.until(reader, 'vma_start_read');
  meanwhile();
  director.finish(reader);
  return result(reader);
}

/** How often each reason was counted, those that were. */
function reasons(): Record<string, number> {
  const all = Object.values(VmaLockFailure).map((reason) => [reason, counters().of(reason)] as const);
  return Object.fromEntries(all.filter(([, count]) => count > 0));
}

/** @see Linux mm/mmap_lock.c, `lock_vma_under_rcu` and `vma_start_read` */
describe('lock_vma_under_rcu gives no VMA', () => {
  it('where there is none', () => {
    expect(world.run(reader, lock(9))).toBe(null);
    expect(reasons()).toEqual({ hole: 1 });
    expect([counters().abort, counters().miss]).toEqual([1, 0]);
  });

  it('while a writer has it', () => {
    director.start(writer, asWriter(writer, vmaStartWrite(writer, mm(), vmaAt(0))));
    director.until(writer, 'vma_end_write_all');
    expect(world.run(reader, lock(0))).toBe(null);
    expect(reasons()).toEqual({ 'write-locked': 1 });
  });

  it('while a writer waits for earlier readers', () => {
    const vma = vmaAt(0);
    expect(world.run(other, lockVmaUnderRcu(other, mm(), BASE_PAGE))).toBe(vma);
    director.start(writer, asWriter(writer, vmaStartWrite(writer, mm(), vma)));
    director.block(writer);
    expect(world.run(reader, lock(0))).toBe(null);
    expect(reasons()).toEqual({ 'writer waits for readers': 1 });
  });

  it('that has as many readers as can be counted', () => {
    vmaAt(0).refcount = VM_REFCNT_LIMIT;
    expect(world.run(reader, lock(0))).toBe(null);
    expect(reasons()).toEqual({ 'reference count overflow': 1 });
    vmaAt(0).refcount = VM_REFCNT_LIMIT - 1;
    expect(world.run(reader, lock(0))).toBe(vmaAt(0));
  });

  it('when its sequence number happens to be that of the mm: a wrapped counter only refuses', () => {
    vmaAt(0).vmLockSeq = mm().mmLockSeq;
    expect(world.run(reader, lock(0))).toBe(null);
    expect(reasons()).toEqual({ 'write-locked': 1 });
  });
});

describe('lock_vma_under_rcu gives no VMA', () => {
  it('that a writer has locked between the look and the count', () => {
    const vma = vmaAt(0);
    const got = readWhile(0, () => {
      director.start(writer, asWriter(writer, vmaStartWrite(writer, mm(), vma)));
      director.until(writer, 'vma_end_write_all');
    });
    expect(got).toBe(null);
    expect([reasons(), vma.refcount]).toEqual([{ 'write-locked meanwhile': 1 }, 1]);
    director.finish(writer);
  });

  it('that no longer holds the address', () => {
    const vma = vmaAt(3);
    const got = readWhile(3, () => {
      director.start(writer, sysMprotect(writer, addressOf(0), 0x2000n, PROT_READ));
      director.finish(writer);
    });
    expect([got, vma.end]).toEqual([null, BASE_PAGE + 2]);
    expect([reasons(), vma.refcount]).toEqual([{ 'range changed': 1 }, 1]);
  });

  it('that has left the tree: it is looked up again, which counts a miss, and there is none', () => {
    const got = readWhile(0, () => {
      director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
      director.finish(writer);
    });
    expect(got).toBe(null);
    expect(reasons()).toEqual({ detached: 1, hole: 1 });
    expect([counters().abort, counters().miss]).toEqual([1, 1]);
  });

  it('whose object has become a VMA of another process', () => {
    const vma = vmaAt(0);
    const mmCount = mmOf(other).mmCount;
    const got = readWhile(0, () => {
      director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
      director.finish(writer);
      world.map(other, 0, 4, RW);
    });
    expect(vmaAt(0, mmOf(other))).toBe(vma);
    expect(got).toBe(null);
    expect([reasons(), vma.refcount, mmOf(other).mmCount]).toEqual([{ 'foreign mm': 1 }, 1, mmCount]);
    expect(vma.name).toBe('vma 1 of mm of other');
  });
});

describe('a freed VMA', () => {
  it('is handed out again at once, last given first, under a new name', () => {
    const vma = vmaAt(0);
    const name = vma.name;
    world.run(writer, sysMunmap(writer, addressOf(0), 0x4000n));
    expect([vma.refcount, vma.start]).toEqual([0, Number.NaN]);
    world.map(reader, 20, 1, PROT_READ);
    expect(vmaAt(20)).toBe(vma);
    expect(vma.name).not.toBe(name);
    expect(vma).toMatchObject({
      start: BASE_PAGE + 20,
      end: BASE_PAGE + 21,
      refcount: 1,
      anonVma: null,
      file: null,
    });
  });

  it('that became another of the same process at the same place is locked: the reader cannot tell and need not', () => {
    const got = readWhile(0, () => {
      director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
      director.finish(writer);
      world.map(writer, 0, 1, PROT_READ);
    });
    expect(got).toBe(vmaAt(0));
    expect(got?.end).toBe(BASE_PAGE + 1);
  });

  it('that became one elsewhere in the same process is let go', () => {
    const got = readWhile(0, () => {
      director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
      director.finish(writer);
      world.map(writer, 30, 1, PROT_READ);
    });
    expect([got, vmaAt(30).refcount]).toEqual([null, 1]);
    expect(reasons()).toEqual({ 'range changed': 1 });
  });

  it('keeps the other process’ mm while its writer is woken, even if that process is gone by then', () => {
    const exits = function* (): Task<void> {
      yield* doExit(other, 0);
    };
    const foreign = mmOf(other);
    const got = readWhile(0, () => {
      director.start(writer, sysMunmap(writer, addressOf(0), 0x4000n));
      director.finish(writer);
      world.map(other, 0, 4, RW);
      // The reader counts itself in the foreign VMA; the process exits and waits for it.
      director.step(reader);
      director.start(other, exits());
      director.block(other);
      director.until(reader, 'rcuwait_wake_up');
      expect(foreign.mmCount).toBeGreaterThan(1);
    });
    expect(got).toBe(null);
    director.finish(other);
    expect(foreign.mmUsers).toBe(0);
  });

  it('must have no readers', () => {
    expect(() => vmAreaFree(vmaAt(0))).toThrow('freed with reference count 1');
  });
});
