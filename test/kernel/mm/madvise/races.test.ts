/** Advices against faults of another thread, under random schedules. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import {
  MADV_DONTNEED,
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_GUARD_REMOVE,
  MADV_PAGEOUT,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import type { SignalInfo } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { addressOf, mmOf, ProcessWorld } from '../process-world.ts';
import { bytes } from './support.ts';

const RW = PROT_READ | PROT_WRITE;
/** The first page of the arena that begins a table. */
const TABLE = 8;
const PAGES = 512;
const seeds = Array.from({ length: 30 }, (_, seed) => [seed]);

function start(seed: number, swapPages = 0) {
  const world = new ProcessWorld({
    cpus: 2,
    policy: new RandomPolicy(seed),
    kernel: { perVmaLocks: true, swapPages },
  });
  const advisor = world.process('advisor');
  world.map(advisor, TABLE, PAGES, RW);
  world.store(advisor, TABLE, 1);
  return { world, advisor, toucher: world.thread(advisor, 'toucher', 1) };
}

/** Runs both to their end. */
function together(world: ProcessWorld, tasks: readonly (readonly [TaskStruct, Task<void>])[]): void {
  for (const [task, body] of tasks) world.system.loop.start(task, body);
  expect(world.system.loop.run().kind).toBe('finished');
}

function* advising(task: TaskStruct, advice: number, rounds: number, results: number[]): Task<void> {
  for (let round = 0; round < rounds; round++) {
    results.push(yield* sysMadvise(task, addressOf(TABLE), bytes(PAGES), advice));
  }
}

/** Stores a number and loads it again, on the first pages in turn. */
function* touching(task: TaskStruct, rounds: number, seen: (number | SignalInfo)[]): Task<void> {
  for (let round = 0; round < rounds; round++) {
    const address = addressOf(TABLE + (round % 3));
    const stored = yield* userStore(task, address, Uint8Array.of(round + 1));
    const byte = new Uint8Array(1);
    const loaded = yield* userLoad(task, address, byte);
    seen.push(stored ?? loaded ?? (byte[0] as number));
  }
}

const settled = (world: ProcessWorld, task: TaskStruct): void => {
  expect(mmOf(task).mmapLock.isLocked()).toBe(false);
  expect(world.inconsistencies()).toEqual([]);
};

describe("MADV_DONTNEED under the VMA's read lock, which frees the table as well", () => {
  it.each(seeds)('against faults in the same pages, schedule %i: each load gives its store or 0', (seed) => {
    const { world, advisor, toucher } = start(seed);
    const results: number[] = [];
    const seen: (number | SignalInfo)[] = [];
    together(world, [
      [advisor, advising(advisor, MADV_DONTNEED, 4, results)],
      [toucher, touching(toucher, 9, seen)],
    ]);
    expect(results).toEqual([0, 0, 0, 0]);
    seen.forEach((value, round) => {
      expect([0, round + 1]).toContain(value);
    });
    settled(world, advisor);
  });

  it.each(seeds)('against mprotect that splits the VMA, schedule %i', (seed) => {
    const { world, advisor, toucher } = start(seed);
    const results: number[] = [];
    const splitting = function* (): Task<void> {
      for (const prot of [PROT_READ, RW, PROT_READ, RW]) {
        results.push(yield* sysMprotect(toucher, addressOf(TABLE + 100), bytes(50), prot));
      }
    };
    together(world, [
      [advisor, advising(advisor, MADV_DONTNEED, 4, results)],
      [toucher, splitting()],
    ]);
    expect(results).toEqual(Array(8).fill(0));
    settled(world, advisor);
  });
});

describe('other advices against faults in the same pages', () => {
  it.each(seeds)('MADV_FREE loses no store without reclaim, schedule %i', (seed) => {
    const { world, advisor, toucher } = start(seed);
    const seen: (number | SignalInfo)[] = [];
    together(world, [
      [advisor, advising(advisor, MADV_FREE, 4, [])],
      [toucher, touching(toucher, 9, seen)],
    ]);
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    settled(world, advisor);
  });

  it.each(seeds)('MADV_PAGEOUT to swap loses no store, schedule %i', (seed) => {
    const { world, advisor, toucher } = start(seed, 64);
    const seen: (number | SignalInfo)[] = [];
    together(world, [
      [advisor, advising(advisor, MADV_PAGEOUT, 4, [])],
      [toucher, touching(toucher, 9, seen)],
    ]);
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    settled(world, advisor);
  });

  it.each(seeds)('guards are there when the call returns, whatever is faulted in, schedule %i', (seed) => {
    const { world, advisor, toucher } = start(seed);
    const guards: number[] = [];
    const guarding = function* (): Task<void> {
      for (let round = 0; round < 3; round++) {
        yield* sysMadvise(advisor, addressOf(TABLE), bytes(3), MADV_GUARD_INSTALL);
        const signal = yield* userLoad(advisor, addressOf(TABLE + round), new Uint8Array(1));
        guards.push(signal?.signal ?? 0);
        yield* sysMadvise(advisor, addressOf(TABLE), bytes(3), MADV_GUARD_REMOVE);
      }
    };
    together(world, [
      [advisor, guarding()],
      [toucher, touching(toucher, 9, [])],
    ]);
    expect(guards).toEqual([11, 11, 11]);
    settled(world, advisor);
  });
});
