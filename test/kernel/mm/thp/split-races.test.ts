/** A huge page is split while others fault on it, take it away, fork it, pin it and change its rights. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPages } from '../../../../src/kernel/gup/get-user-pages.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { MADV_COLLAPSE, MADV_DONTNEED, MADV_PAGEOUT } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import { deferredSplitScan } from '../../../../src/kernel/mm/thp/deferred-split.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { bytes } from '../madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { lockAndSplit } from './split-support.ts';
import {
  expectNothingLeft,
  expectSound,
  FIRST,
  HUGE,
  type HugeScene,
  hugeFrame,
  hugeScene,
  RW,
} from './support.ts';

const SEEDS = Array.from({ length: 16 }, (_, seed) => seed);
const AT = [0, 1, 17, 300, 511];

interface Actors extends HugeScene {
  readonly second: TaskStruct;
  readonly third: TaskStruct;
  /** First frame of the huge page. */
  readonly head: number;
}

/** Three threads with a huge page of which some pages are written. */
function actors(seed: number): Actors {
  const kernel = { swapPages: 1024 };
  const scene = hugeScene({ cpus: 3, policy: new RandomPolicy(seed), memoryBytes: 0x800_0000, kernel });
  const { world, task } = scene;
  for (const page of AT) world.store(task, FIRST + page, 1);
  const head = hugeFrame(scene, FIRST);
  return { ...scene, second: world.thread(task, 'second', 1), third: world.thread(task, 'third', 2), head };
}

function race(all: Actors, paths: readonly (readonly [TaskStruct, Task<unknown>])[]): void {
  for (const [task, path] of paths) all.world.system.loop.start(task, path);
  expect(all.world.system.loop.run().kind).toBe('finished');
  expectSound(all);
}

function finish(all: Actors, ...others: readonly TaskStruct[]): void {
  expectNothingLeft(all, all.second, all.third, ...others);
}

/** Tries until somebody has split it, or it is gone. */
function* splitAgain(all: Actors, task: TaskStruct): Task<void> {
  const { frames } = task.kernel;
  for (let tries = 0; tries < 8; tries++) {
    yield frames.refPoint(all.head);
    if (!frames.isLarge(all.head)) return;
    if ((yield* lockAndSplit(task, all.head)) === 0) return;
  }
}

function* writeAndCheck(task: TaskStruct, rounds: number, wrong: string[], at = AT): Task<void> {
  const byte = new Uint8Array(1);
  for (let round = 2; round < 2 + rounds; round++) {
    for (const page of at) {
      yield* userLoad(task, addressOf(FIRST + page), byte);
      if (byte[0] !== round - 1) wrong.push(`page ${page} has ${byte[0]} before round ${round}`);
      const signal = yield* userStore(task, addressOf(FIRST + page), Uint8Array.of(round));
      if (signal !== null) wrong.push(`store to page ${page}: signal ${signal.signal}`);
    }
  }
}

function* pinAndCheck(task: TaskStruct, times: number, wrong: string[]): Task<void> {
  const { frames } = task.kernel;
  for (let i = 0; i < times; i++) {
    const got: number[] = [];
    yield* mmapReadLock(task, mmOf(task));
    const count = yield* pinUserPages(task, BASE_PAGE + FIRST + 16, 3, FOLL_WRITE, got);
    yield* mmapReadUnlock(task, mmOf(task));
    if (count !== 3) wrong.push(`pinned ${count} pages`);
    yield task.startPoint;
    const { pageTables } = task.kernel;
    for (const [at, frame] of got.entries()) {
      if (!frames.maybeDmaPinned(frame)) wrong.push('a pin that nobody sees');
      const level = pageTables.lookupLeaf(pageTables.tableAt(mmOf(task).pgd), BASE_PAGE + FIRST + 16 + at);
      const there = level === -1 ? -1 : pageTables.frameInLeaf(BASE_PAGE + FIRST + 16 + at, level);
      if (there !== frame) wrong.push(`page ${16 + at} is 0x${there.toString(16)}, not what is pinned`);
    }
    yield* unpinUserPages(task, got, count);
  }
}

const madvise = (task: TaskStruct, page: number, pages: number, advice: number): Task<unknown> =>
  sysMadvise(task, addressOf(FIRST + page), bytes(pages), advice);

describe('a split', () => {
  it.each(SEEDS)('beside writes and pins loses no write and no pin (schedule %i)', (seed) => {
    const all = actors(seed);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 3, wrong)],
      [all.second, splitAgain(all, all.second)],
      [all.third, pinAndCheck(all.third, 3, wrong)],
    ]);
    expect(wrong).toEqual([]);
    finish(all);
  });

  it.each(SEEDS)('beside another of the same folio happens once (schedule %i)', (seed) => {
    const all = actors(seed);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 3, wrong)],
      [all.second, splitAgain(all, all.second)],
      [all.third, splitAgain(all, all.third)],
    ]);
    expect(wrong).toEqual([]);
    expect(all.world.kernel.frames.isLarge(all.head)).toBe(false);
    finish(all);
  });

  it.each(SEEDS)('beside fork leaves parent and child their own pages (schedule %i)', (seed) => {
    const all = actors(seed);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong, [1, 300])],
      [all.second, splitAgain(all, all.second)],
      [all.third, sysFork(all.third, 'child')],
    ]);
    expect(wrong).toEqual([]);
    const child = [...all.world.kernel.tasks.values()].find(({ name }) => name === 'child');
    if (child === undefined) throw new Error('no child');
    for (const page of [0, 17, 511]) expect(all.world.load(child, FIRST + page)).toBe(1);
    all.world.store(child, FIRST, 9);
    expect(all.world.load(all.task, FIRST)).toBe(1);
    expectSound(all);
    finish(all, child);
  });
});

describe('a split beside what takes pages away', () => {
  it.each(SEEDS)('and brings them together again (schedule %i)', (seed) => {
    const all = actors(seed);
    function* take(): Task<void> {
      yield* madvise(all.third, 16, 32, MADV_DONTNEED);
      yield* madvise(all.third, 0, HUGE, seed % 2 === 0 ? MADV_COLLAPSE : MADV_PAGEOUT);
      yield* madvise(all.third, 256, 256, MADV_DONTNEED);
      yield* deferredSplitScan(all.third);
    }
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong, [0, 1])],
      [all.second, splitAgain(all, all.second)],
      [all.third, take()],
    ]);
    expect(wrong).toEqual([]);
    expect(all.world.load(all.task, FIRST + 300)).toBe(0);
    finish(all);
  });

  it.each(SEEDS)('mprotect and mremap: rights and places are what they say (schedule %i)', (seed) => {
    const all = actors(seed);
    function* change(): Task<void> {
      yield* sysMprotect(all.third, addressOf(FIRST + 16), bytes(16), PROT_READ);
      const target = addressOf(FIRST + 3 * HUGE + (seed % 2));
      const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
      yield* sysMremap(all.third, addressOf(FIRST + 256), bytes(256), bytes(256), flags, target);
      yield* sysMprotect(all.third, addressOf(FIRST + 16), bytes(16), RW);
    }
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong, [0, 1])],
      [all.second, splitAgain(all, all.second)],
      [all.third, change()],
    ]);
    expect(wrong).toEqual([]);
    expect(all.world.load(all.task, FIRST + 3 * HUGE + (seed % 2) + 44)).toBe(1);
    expect(all.world.load(all.task, FIRST + 17)).toBe(1);
    finish(all);
  });

  it.each(SEEDS)('exit of everybody who has them (schedule %i)', (seed) => {
    const all = actors(seed);
    const other = all.world.process('other', 2);
    all.world.run(all.third, doExit(all.third, 0));
    race(all, [
      [all.task, doExit(all.task, 0)],
      [all.second, doExit(all.second, 0)],
      [other, splitAgain(all, other)],
    ]);
  });
});
