/** The kernel's own order of locks: kept by what it does, and told of where a path breaks it without any deadlock. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { describeLockdepReport } from '../../../src/kernel/lock/lockdep.ts';
import { mmapReadLock, mmapReadTrylock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { lockVmaUnderRcu } from '../../../src/kernel/mm/lock-vma-under-rcu.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { vmaEndRead } from '../../../src/kernel/mm/vma-lock.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function watchedWorld(seed = 0): ProcessWorld {
  return new ProcessWorld({ cpus: 3, policy: new RandomPolicy(seed), kernel: { lockdep: true } });
}

const reports = ({ kernel }: ProcessWorld): string[] =>
  (kernel.lockdep?.reports ?? []).map(describeLockdepReport);

describe('waiting for mmap_lock while holding the lock of a VMA', () => {
  const underVmaLock = function* (task: TaskStruct, body: Task<unknown>): Task<void> {
    const vma = (yield* lockVmaUnderRcu(task, mmOf(task), BASE_PAGE)) as VmArea;
    yield* body;
    yield* vmaEndRead(task, vma);
  };

  it('is told of, though nobody else runs', () => {
    const world = watchedWorld();
    const task = world.process('reader');
    world.map(task, 0, 4, RW);
    const mm = mmOf(task);
    const body = function* (): Task<void> {
      yield* mmapReadLock(task, mm);
      yield* mmapReadUnlock(task, mm);
    };
    world.run(task, underVmaLock(task, body()));
    const [report] = world.kernel.lockdep?.reports ?? [];
    expect(report?.problem).toBe('mmap_lock under a VMA lock');
    expect(report?.stacks[0]?.locks).toEqual([
      'vma_start_read vma 1 of mm of reader',
      'down_read mmap_lock mm of reader',
    ]);
    // Once a writer has waited for a VMA under mmap_lock, both sides are there.
    world.run(task, sysMunmap(task, addressOf(0), 0x1000n));
    const [, circle] = world.kernel.lockdep?.reports ?? [];
    expect(circle?.problem).toBe('circle');
    expect(circle?.stacks.map(({ locks }) => locks.map((lock) => lock.split(' ')[0]))).toEqual([
      ['down_write_killable', 'vma_start_write'],
      ['vma_start_read', 'down_read'],
    ]);
  });

  it('an attempt is allowed', () => {
    const world = watchedWorld();
    const task = world.process('reader');
    world.map(task, 0, 4, RW);
    const mm = mmOf(task);
    const body = function* (): Task<void> {
      if (yield* mmapReadTrylock(task, mm)) yield* mmapReadUnlock(task, mm);
    };
    world.run(task, underVmaLock(task, body()));
    expect(reports(world)).toEqual([]);
  });
});

/** A bit of everything that takes locks. */
function* program(task: TaskStruct, n: number): Task<void> {
  const one = Uint8Array.of(n);
  for (let round = 0; round < 3; round++) {
    yield* userStore(task, addressOf(n), one);
    yield* userLoad(task, addressOf(n + 1), one);
    yield* sysMprotect(task, addressOf(n), 0x2000n, PROT_READ);
    yield* sysMprotect(task, addressOf(n), 0x2000n, RW);
    yield* userStore(task, addressOf(n + 8), one);
    yield* sysMremap(task, addressOf(n + 4), 0x1000n, 0x3000n, 1, 0n);
    yield* sysMunmap(task, addressOf(n + 6), 0x1000n);
  }
}

describe('what the kernel does', () => {
  it('keeps the documented order, on 30 schedules', () => {
    for (let seed = 0; seed < 30; seed++) {
      const world = watchedWorld(seed);
      const first = world.process('first');
      world.map(first, 0, 8, RW);
      world.map(first, 8, 8, RW, seed % 2 === 0 ? MAP_SHARED : MAP_PRIVATE);
      world.store(first, 0, 1);
      const child = world.fork(first);
      const second = world.thread(first, 'second', 1);
      const third = world.thread(child, 'third', 2);
      const { loop } = world.system;
      for (const [n, task] of [first, second, third].entries()) loop.start(task, program(task, n));
      expect(loop.run().kind).toBe('finished');
      world.run(child, doExit(child, 0));
      expect(reports(world)).toEqual([]);
      // Every VMA that was made is in a tree or was given back.
      expect(world.kernel.vmAreas.live).toBe(mmOf(first).mapCount + mmOf(third).mapCount);
      for (const task of [first, second, third]) expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
    }
  });

  it('is not looked at unless asked', () => {
    expect(new ProcessWorld().kernel.lockdep).toBe(null);
  });
});
