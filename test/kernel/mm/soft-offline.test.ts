/** MADV_SOFT_OFFLINE: pages move to other frames, and nobody notices. @see Linux mm/memory-failure.c, mm/migrate.c */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EBUSY } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import {
  MADV_DONTNEED,
  MADV_PAGEOUT,
  MADV_SOFT_OFFLINE,
  MADV_WILLNEED,
} from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { sysMlock } from '../../../src/kernel/mm/mlock.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { advise, bytes, scene } from './madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

/** Whether the frame at page 0 is another one than `old`, which nobody gets any more. */
function expectMoved(world: ProcessWorld, task: TaskStruct, old: number): void {
  const { frames } = world.kernel;
  expect(world.pte(task, 0).frame).not.toBe(old);
  expect([frames.refcount(old), frames.hasFlag(old, FrameFlag.HwPoison)]).toEqual([1, true]);
  expect(world.inconsistencies()).toEqual([]);
}

describe('MADV_SOFT_OFFLINE', () => {
  it.each([
    ['private', MAP_PRIVATE],
    ['shared', MAP_SHARED],
  ])('moves a %s page with its data, and the pte keeps what it was', (_name, flags) => {
    const { world, task } = scene({ lockdep: true });
    world.map(task, 0, 2, RW, flags);
    world.store(task, 0, 7, 5);
    const [before, { frame }] = [world.page(task, 0), world.pte(task, 0)];
    const free = world.kernel.frames.freeFrames;
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('ok');
    expect(world.page(task, 0)).toBe(before);
    expect(world.load(task, 0, 5)).toBe(7);
    expect(task.pendingSignals).toEqual([]);
    expect(world.kernel.frames.freeFrames).toBe(free - 1);
    expectMoved(world, task, frame);
    expect(world.kernel.lockdep?.reports).toEqual([]);
    world.run(task, sysMunmap(task, addressOf(0), bytes(2)));
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['private', MAP_PRIVATE, 'A2'],
    ['shared', MAP_SHARED, 'Fwd2'],
  ])('moves a %s page for everybody who maps it', (_name, flags, shown) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW, flags);
    world.store(task, 0, 7);
    const child = world.fork(task);
    world.load(child, 0);
    const { frame } = world.pte(task, 0);
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('ok');
    expect(world.pte(child, 0).frame).toBe(world.pte(task, 0).frame);
    expect(world.page(task, 0).replace('d', '')).toBe(shown.replace('d', ''));
    expectMoved(world, task, frame);
    world.store(child, 0, 8);
    expect(world.load(task, 0)).toBe(flags === MAP_SHARED ? 8 : 7);
  });
});

describe('MADV_SOFT_OFFLINE of pages that are something special', () => {
  it('keeps the slot of a page that swap has a copy of', () => {
    const { world, task } = scene({ swapPages: 8 });
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    advise(world, task, 0, 1, MADV_PAGEOUT);
    advise(world, task, 0, 1, MADV_WILLNEED);
    expect(world.load(task, 0)).toBe(7);
    const { frame } = world.pte(task, 0);
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('ok');
    expect(world.load(task, 0)).toBe(7);
    expectMoved(world, task, frame);
  });

  it('leaves locked memory locked', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.run(task, sysMlock(task, addressOf(0), bytes(1)));
    const { frame } = world.pte(task, 0);
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('ok');
    expect(world.kernel.frames.hasFlag(world.pte(task, 0).frame, FrameFlag.Unevictable)).toBe(true);
    expectMoved(world, task, frame);
  });

  it('splits a huge page and moves one page of it', () => {
    const world = new ProcessWorld({
      memoryBytes: 0x100_0000,
      kernel: { transparentHugepage: 'always', lockdep: true },
    });
    const task = world.process();
    world.map(task, 8, 512, RW);
    world.store(task, 8, 1);
    world.store(task, 9, 2);
    expect(advise(world, task, 9, 1, MADV_SOFT_OFFLINE)).toBe('ok');
    expect([world.load(task, 8), world.load(task, 9), world.load(task, 10)]).toEqual([1, 2, 0]);
    expect(world.inconsistencies()).toEqual([]);
    expect(world.kernel.lockdep?.reports).toEqual([]);
  });
});

describe('MADV_SOFT_OFFLINE refuses', () => {
  it('the zero page: EIO', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('EIO');
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a pinned page: EBUSY, and everything is as before', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    const before = world.page(task, 0);
    const { frame } = world.pte(task, 0);
    const pinner = world.process('pinner');
    const frames = [-1];
    const mm = mmOf(task);
    world.run(pinner, mmapReadLock(pinner, mm));
    world.run(pinner, pinUserPagesRemote(pinner, mm, BASE_PAGE, 1, FOLL_WRITE, frames, null));
    world.run(pinner, mmapReadUnlock(pinner, mm));
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('EBUSY');
    expect([world.page(task, 0), world.pte(task, 0).frame]).toEqual([before, frame]);
    world.run(pinner, unpinUserPages(pinner, frames, 1));
    expect(advise(world, task, 0, 1, MADV_SOFT_OFFLINE)).toBe('ok');
    expect(world.load(task, 0)).toBe(7);
    expectMoved(world, task, frame);
  });
});

it('a reference that comes while the data is copied keeps the page where it is', () => {
  const { world, task } = scene();
  const { frames } = world.kernel;
  world.map(task, 0, 1, RW, MAP_SHARED);
  world.store(task, 0, 7);
  const [before, { frame }] = [world.page(task, 0), world.pte(task, 0)];
  let copies = 0;
  const meddling = function* (): Task<number> {
    const call = sysMadvise(task, addressOf(0), bytes(1), MADV_SOFT_OFFLINE);
    for (;;) {
      const step = call.next();
      if (step.done === true) return step.value;
      yield step.value;
      if (step.value.operation === 'copy_user_highpage' && copies++ === 0) frames.get(frame);
    }
  };
  expect(world.run(task, meddling())).toBe(-EBUSY);
  expect([copies, world.page(task, 0), world.pte(task, 0).frame]).toEqual([1, before, frame]);
  frames.put(frame);
  expect(world.load(task, 0)).toBe(7);
  expect(world.inconsistencies()).toEqual([]);
});

describe.each([
  ['private memory', MAP_PRIVATE, false],
  ['shared memory', MAP_SHARED, false],
  // Comes to the page through the file, with a reference that no pte explains.
  ['shared memory that is unmapped again and again', MAP_SHARED, true],
])('in %s', (_name, flags, unmaps) => {
  it.each(Array.from({ length: 12 }, (_, seed) => [seed]))(
    'no store of another thread is lost, schedule %i',
    (seed) => {
      const world = new ProcessWorld({
        cpus: 2,
        policy: new RandomPolicy(seed),
        kernel: { perVmaLocks: true, lockdep: true },
      });
      const mover = world.process('mover');
      world.map(mover, 0, 1, RW, flags);
      world.store(mover, 0, 0);
      const writer = world.thread(mover, 'writer', 1);
      const seen: unknown[] = [];
      const writing = function* () {
        for (let value = 1; value < 20; value++) {
          const stored = yield* userStore(writer, addressOf(0), Uint8Array.of(value));
          if (unmaps) yield* sysMadvise(writer, addressOf(0), bytes(1), MADV_DONTNEED);
          const byte = new Uint8Array(1);
          const loaded = yield* userLoad(writer, addressOf(0), byte);
          seen.push(stored ?? loaded ?? byte[0]);
        }
      };
      const moving = function* () {
        for (let round = 0; round < 8; round++) {
          yield* sysMadvise(mover, addressOf(0), bytes(1), MADV_SOFT_OFFLINE);
        }
      };
      world.system.loop.start(writer, writing());
      world.system.loop.start(mover, moving());
      expect(world.system.loop.run().kind).toBe('finished');
      expect(seen).toEqual(Array.from({ length: 19 }, (_, i) => i + 1));
      expect(world.inconsistencies()).toEqual([]);
      expect(world.kernel.lockdep?.reports).toEqual([]);
    },
  );
});
