/**
 * The place of the folio lock in the documented order: outside i_mmap_rwsem and anon_vma, but inside them for huge pages of a
 * pool that a file has; for anonymous ones outside the fault mutex.
 */
import { describe, expect, it } from 'vitest';
import { atomically, type Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { SpinLock } from '../../../src/kernel/lock/spinlock.ts';
import { folioLock, folioTrylock, folioUnlock } from '../../../src/kernel/mm/fault/folio-lock.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { mmOf, ProcessWorld } from './process-world.ts';

type Path = (task: TaskStruct) => Task<void>;

function watched() {
  const world = new ProcessWorld({ kernel: { lockdep: true } });
  const task = world.process('task');
  world.map(task, 0, 2, PROT_READ | PROT_WRITE);
  for (const page of [0, 1]) world.store(task, page, 1);
  const frames = [0, 1].map((page) => world.pte(task, page).frame) as [number, number];
  return {
    world,
    task,
    frames,
    problems: () => world.kernel.lockdep?.reports.map(({ problem, summary }) => `${problem}: ${summary}`),
  };
}

/** Makes the anonymous page one of a pool of huge pages, and of a file. Returns what undoes that. */
function asHugePage({ kernel }: ProcessWorld, frame: number, anonymous: boolean): () => void {
  const { frames } = kernel;
  frames.setFlags(frame, FrameFlag.Hugetlb);
  if (!anonymous) frames.clearFlags(frame, FrameFlag.Anon);
  return () => {
    frames.clearFlags(frame, FrameFlag.Hugetlb);
    frames.setFlags(frame, FrameFlag.Anon);
  };
}

const nothing: Path = function* () {};

/** Runs `inner` while a semaphore is held. */
const inside = (name: string, inner: Path): Path =>
  function* (task) {
    const lock = new RwSemaphore(name);
    yield* lock.downRead(task);
    yield* inner(task);
    yield* lock.upRead(task);
  };

const locked = (frame: number, inner: Path = nothing): Path =>
  function* (task) {
    yield* folioLock(task, frame);
    yield* inner(task);
    yield* folioUnlock(task, frame);
  };

const tried = (frame: number): Path =>
  function* (task) {
    if (yield* folioTrylock(task, frame)) yield* folioUnlock(task, frame);
  };

describe('a folio lock that is waited for', () => {
  it.each(['i_mmap_rwsem file', 'anon_vma 1'])('inside %s is told of, the lock being free or not', (name) => {
    const { world, task, frames, problems } = watched();
    world.run(task, inside(name, locked(frames[0]))(task));
    expect(problems()).toEqual([
      `order: task takes folio_lock 0x${frames[0].toString(16)} inside ${name}; folio_lock belongs outside ${name.split(' ')[0]}`,
    ]);
    expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
  });

  it('outside them is as it should be, and so is an attempt anywhere', () => {
    const { world, task, frames, problems } = watched();
    const rmap = inside('i_mmap_rwsem file', inside('anon_vma 1', tried(frames[1])));
    world.run(task, locked(frames[0], rmap)(task));
    expect(problems()).toEqual([]);
    expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
  });

  it('of a second folio is no recursion: nothing but the rank is looked at', () => {
    const { world, task, frames, problems } = watched();
    world.run(task, locked(frames[0], locked(frames[1]))(task));
    expect(problems()).toEqual([]);
  });

  it('makes no circle with a lock without a place in the order', () => {
    const { world, task, frames, problems } = watched();
    world.run(task, inside('other_lock', locked(frames[0]))(task));
    world.run(task, locked(frames[0], inside('other_lock', nothing))(task));
    expect(problems()).toEqual([]);
  });
});

describe('the folio lock of a huge page of a pool', () => {
  it.each([
    ['hugetlb_fault_mutex 1', 'i_mmap_rwsem file', []],
    ['i_mmap_rwsem file', 'hugetlb_fault_mutex 1', ['order']],
  ])('that a file has is waited for inside all of hugetlb: %s, %s, folio', (outer, inner, expected) => {
    const { world, task, frames } = watched();
    const undo = asHugePage(world, frames[0], false);
    world.run(task, inside(outer, inside(inner, locked(frames[0])))(task));
    undo();
    expect(world.kernel.lockdep?.reports.map(({ problem }) => problem)).toEqual(expected);
    expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
  });

  it.each(['hugetlb_fault_mutex 1', 'hugetlb_vma_lock 1', 'i_mmap_rwsem file'])(
    'that is anonymous is not waited for inside %s, but tried there, and held outside',
    (name) => {
      const { world, task, frames, problems } = watched();
      const undo = asHugePage(world, frames[0], true);
      world.run(task, inside(name, tried(frames[0]))(task));
      world.run(task, locked(frames[0], inside(name, nothing))(task));
      expect(problems()).toEqual([]);
      world.run(task, inside(name, locked(frames[0]))(task));
      undo();
      expect(problems()).toEqual([
        expect.stringContaining(`takes hugetlb anon_folio_lock 0x${frames[0].toString(16)} inside ${name}`),
      ]);
      expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
    },
  );

  it('is let go under the name that it was taken by, though the page has become anonymous', () => {
    const { world, task, frames } = watched();
    const undo = asHugePage(world, frames[0], false);
    const becomes = () => atomically(() => world.kernel.frames.setFlags(frames[0], FrameFlag.Anon));
    world.run(task, locked(frames[0], becomes)(task));
    undo();
    expect(world.kernel.lockdep?.heldBy(task)).toEqual([]);
  });
});

describe('what is waited for inside a folio lock', () => {
  it('must not be mmap_lock', () => {
    const { world, task, frames, problems } = watched();
    const readLock: Path = function* (current) {
      yield* mmapReadLock(current, mmOf(current));
      yield* mmapReadUnlock(current, mmOf(current));
    };
    world.run(task, locked(frames[0], readLock)(task));
    expect(problems()).toEqual([expect.stringContaining('order: task takes mmap_lock')]);
  });

  it('inside an attempt that succeeded counts as well', () => {
    const { world, task, frames, problems } = watched();
    const path: Path = function* (current) {
      yield* folioTrylock(current, frames[0]);
      yield* inside('i_rwsem file', nothing)(current);
      yield* folioUnlock(current, frames[0]);
    };
    world.run(task, path(task));
    expect(problems()).toEqual([expect.stringContaining('order: task takes i_rwsem')]);
  });

  it('may be the lock of a page table', () => {
    const { world, task, frames, problems } = watched();
    const lock = new SpinLock('ptl pte 1');
    const path: Path = function* (current) {
      yield* lock.lock(current);
      yield* lock.unlock(current);
    };
    world.run(task, locked(frames[0], path)(task));
    expect(problems()).toEqual([]);
  });
});
