/**
 * Huge pages made, split, moved and taken away while others use them, under random schedules and with every translation
 * kept that the architecture lets a CPU keep. What was written stays, no frame is freed under a mapping (the frame table
 * throws), and in the end every count and translation agrees.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPages } from '../../../../src/kernel/gup/get-user-pages.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { MADV_COLLAPSE, MADV_DONTNEED, MADV_HUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { khugepagedDoScan } from '../../../../src/kernel/mm/thp/khugepaged.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import { SIGSEGV } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { advise, bytes } from '../madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { expectSound, FIRST, HUGE, type HugeScene, hugeScene, RW } from './support.ts';

const SEEDS = Array.from({ length: 25 }, (_, seed) => seed);
/** Pages that are written and read, in runs of contiguous ptes of their own and not. */
const AT = [0, 1, 17, 300, 511];

interface Actors extends HugeScene {
  readonly second: TaskStruct;
  readonly third: TaskStruct;
}

/** Three threads; `small`: the pages are there as small ones, else as a huge one. */
function actors(seed: number, small: boolean): Actors {
  const scene = hugeScene({
    cpus: 3,
    policy: new RandomPolicy(seed),
    memoryBytes: 0x800_0000,
    advised: !small,
  });
  const { world, task } = scene;
  for (const page of AT) world.store(task, FIRST + page, 1);
  if (small) advise(world, task, FIRST, HUGE, MADV_HUGEPAGE);
  const second = world.thread(task, 'second', 1);
  const third = world.thread(task, 'third', 2);
  return { ...scene, second, third };
}

function race(all: Actors, paths: readonly (readonly [TaskStruct, Task<unknown>])[]): void {
  for (const [task, path] of paths) all.world.system.loop.start(task, path);
  expect(all.world.system.loop.run().kind).toBe('finished');
  expectSound(all);
}

/** Writes each page and reads it back; nobody else writes there. */
function* writeAndCheck(
  task: TaskStruct,
  rounds: number,
  wrong: string[],
  at: readonly number[] = AT,
): Task<void> {
  const byte = new Uint8Array(1);
  for (let round = 1; round <= rounds; round++) {
    for (const page of at) {
      const signal = yield* userStore(task, addressOf(FIRST + page, round), Uint8Array.of(round));
      if (signal !== null) wrong.push(`store to page ${page}: signal ${signal.signal}`);
      yield* userLoad(task, addressOf(FIRST + page, round), byte);
      if (byte[0] !== round) wrong.push(`page ${page} has ${byte[0]} in round ${round}`);
    }
  }
}

function* pinAndCheck(task: TaskStruct, times: number, wrong: string[]): Task<void> {
  for (let i = 0; i < times; i++) {
    const got: number[] = [];
    yield* mmapReadLock(task, mmOf(task));
    const count = yield* pinUserPages(task, BASE_PAGE + FIRST + 16, 3, FOLL_WRITE, got);
    yield* mmapReadUnlock(task, mmOf(task));
    if (count !== 3) wrong.push(`pinned ${count} pages`);
    const { frames } = task.kernel;
    for (const frame of got) if (!frames.maybeDmaPinned(frame)) wrong.push('a pin that nobody sees');
    yield task.startPoint;
    yield* unpinUserPages(task, got, count);
  }
}

const madvise = (task: TaskStruct, page: number, pages: number, advice: number): Task<unknown> =>
  sysMadvise(task, addressOf(FIRST + page), bytes(pages), advice);

function* dontneedHere(task: TaskStruct, pages: readonly number[]): Task<void> {
  for (const page of pages) yield* madvise(task, page, 1, MADV_DONTNEED);
}

describe('writes', () => {
  it.each(SEEDS)('survive a collapse and pins beside them (schedule %i)', (seed) => {
    const all = actors(seed, true);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 3, wrong)],
      [all.second, madvise(all.second, 0, HUGE, MADV_COLLAPSE)],
      [all.third, pinAndCheck(all.third, 3, wrong)],
    ]);
    expect(wrong).toEqual([]);
  });

  it.each(SEEDS)('survive a split and pins beside them (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong)],
      [all.second, dontneedHere(all.second, [40, 41, 200])],
      [all.third, pinAndCheck(all.third, 2, wrong)],
    ]);
    expect(wrong).toEqual([]);
  });

  it.each(SEEDS)('survive khugepaged, which undoes what another thread splits (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const wrong: string[] = [];
    function* scanTwice(): Task<void> {
      for (let i = 0; i < 2; i++) yield* khugepagedDoScan(all.third);
    }
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong)],
      [all.second, dontneedHere(all.second, [40, 200])],
      [all.third, scanTwice()],
    ]);
    expect(wrong).toEqual([]);
  });

  it.each(SEEDS)('survive fork: parent and child have pages of their own (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong)],
      [all.second, sysFork(all.second, 'child')],
      [all.third, writeAndCheck(all.third, 2, wrong, [18, 400])],
    ]);
    expect(wrong).toEqual([]);
    const child = [...all.world.kernel.tasks.values()].find(({ name }) => name === 'child');
    if (child === undefined) throw new Error('no child');
    for (const page of AT) expect(all.world.load(child, FIRST + page)).toBe(1);
    all.world.store(child, FIRST, 9);
    expect(all.world.load(all.task, FIRST)).toBe(1);
    expectSound(all);
  });
});

describe('first touches', () => {
  it.each(SEEDS)('of one huge page by three threads map it once (schedule %i)', (seed) => {
    const all = actors(seed, true);
    advise(all.world, all.task, FIRST, HUGE, MADV_DONTNEED);
    const wrong: string[] = [];
    function* read(): Task<void> {
      const byte = new Uint8Array(1);
      yield* userLoad(all.third, addressOf(FIRST + 5, 9), byte);
      if (byte[0] !== 0) wrong.push(`read ${byte[0]}`);
    }
    race(all, [
      [all.task, writeAndCheck(all.task, 1, wrong, [0])],
      [all.second, writeAndCheck(all.second, 1, wrong, [1])],
      [all.third, read()],
    ]);
    expect(wrong).toEqual([]);
    expect(mmOf(all.task).residentPages).toBe(HUGE);
  });
});

describe('taking pages away', () => {
  it.each(SEEDS)('while they are written: DONTNEED of all, of a part, munmap (schedule %i)', (seed) => {
    const all = actors(seed, seed % 2 === 0);
    function* write(task: TaskStruct): Task<void> {
      for (const page of AT) {
        const signal = yield* userStore(task, addressOf(FIRST + page), Uint8Array.of(7));
        if (signal !== null && signal.signal !== SIGSEGV) throw new Error(`signal ${signal.signal}`);
      }
    }
    function* take(): Task<void> {
      yield* madvise(all.second, 0, HUGE, MADV_DONTNEED);
      yield* madvise(all.second, 16, 32, MADV_DONTNEED);
      yield* sysMunmap(all.second, addressOf(FIRST + 256), bytes(HUGE - 256));
    }
    race(all, [
      [all.task, write(all.task)],
      [all.second, take()],
      [all.third, madvise(all.third, 0, HUGE, MADV_COLLAPSE)],
    ]);
  });

  it.each(SEEDS)('and rights: a CPU that may not write any more does not (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const wrong: string[] = [];
    function* protect(): Task<void> {
      yield* sysMprotect(all.second, addressOf(FIRST + 17), bytes(1), PROT_READ);
      const signal = yield* userStore(all.second, addressOf(FIRST + 17), Uint8Array.of(9));
      if (signal?.signal !== SIGSEGV) wrong.push('a write to a page that is read-only');
      yield* sysMprotect(all.second, addressOf(FIRST + 17), bytes(1), RW);
    }
    race(all, [
      [all.task, writeAndCheck(all.task, 2, wrong, [0, 1, 300])],
      [all.second, protect()],
      [all.third, madvise(all.third, 0, HUGE, MADV_COLLAPSE)],
    ]);
    expect(wrong).toEqual([]);
  });

  it.each(SEEDS)('by exit, while khugepaged is at it (schedule %i)', (seed) => {
    const all = actors(seed, true);
    const { world } = all;
    const other = world.process('other', 2);
    for (const task of [all.third]) world.run(task, doExit(task, 0));
    race(all, [
      [all.task, doExit(all.task, 0)],
      [all.second, doExit(all.second, 0)],
      [other, khugepagedDoScan(other)],
    ]);
    world.run(other, khugepagedDoScan(other));
    expect(world.kernel.khugepaged.mms).toEqual([]);
  });
});
