/**
 * Reclaim beside everything that it can meet, under random schedules: faults, writes, fork, munmap, mremap, another
 * reclaimer. Nothing may be lost, no frame is freed while somebody maps it (the frame table throws), and in the end every
 * count and TLB agrees.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import { fput, type MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { tryToFreePages } from '../../../src/kernel/mm/reclaim/direct.ts';
import { folioIsolateLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { pageoutFolio } from '../../../src/kernel/mm/reclaim/pageout.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { addressOf, type ProcessWorld } from './process-world.ts';
import { SWAP_PAGES, swapWorld } from './swap-world.ts';

const RW = PROT_READ | PROT_WRITE;
const PAGES = 6;
const SEEDS = Array.from({ length: 30 }, (_, seed) => seed);

interface Actors {
  readonly world: ProcessWorld;
  /** Writes and reads pages 0 … PAGES - 1. */
  readonly writer: TaskStruct;
  /** Threads of the same process. */
  readonly second: TaskStruct;
  readonly third: TaskStruct;
}

function actors(seed: number, flags = MAP_PRIVATE): Actors {
  const world = swapWorld({ cpus: 3, policy: new RandomPolicy(seed) });
  const writer = world.process('writer', 0);
  const second = world.thread(writer, 'second', 1);
  const third = world.thread(writer, 'third', 2);
  world.map(writer, 0, PAGES, RW, flags);
  return { world, writer, second, third };
}

/** Writes each page, and reads it back: nobody else writes to it. The last values are `rounds`. */
function* writeAndCheck(task: TaskStruct, rounds: number, wrong: string[]): Task<void> {
  const byte = new Uint8Array(1);
  for (let round = 1; round <= rounds; round++) {
    for (let page = 0; page < PAGES; page++) {
      const signal = yield* userStore(task, addressOf(page, round), Uint8Array.of(round));
      if (signal !== null) wrong.push(`store to page ${page}: signal ${signal.signal}`);
      for (let before = 1; before <= round; before++) {
        yield* userLoad(task, addressOf(page, before), byte);
        if (byte[0] !== before) wrong.push(`page ${page} has ${byte[0]} at ${before}`);
      }
    }
  }
}

/** Pages out whatever is mapped, one page after the other. */
function* pageOut(task: TaskStruct, times: number): Task<void> {
  const { frames } = task.kernel;
  for (let i = 0; i < times; i++) {
    for (const list of [0, 1] as const) {
      const folio = frames.lru.tail(list);
      yield task.startPoint;
      if (folio !== -1 && frames.lru.listOf(folio) === list && folioIsolateLru(frames, folio)) {
        yield* pageoutFolio(task, folio);
      }
    }
  }
}

function* reclaim(task: TaskStruct, times: number): Task<void> {
  for (let i = 0; i < times; i++) yield* tryToFreePages(task, 1);
}

/** Runs the paths at once, then looks at everything. */
function race({ world }: Actors, paths: readonly (readonly [TaskStruct, Task<void>])[]): void {
  for (const [task, path] of paths) world.system.loop.start(task, path);
  expect(world.system.loop.run().kind).toBe('finished');
  expect(world.inconsistencies()).toEqual([]);
  expect(world.kernel.lockdep?.reports).toEqual([]);
}

function expectContents(world: ProcessWorld, task: TaskStruct, rounds: number): void {
  for (let page = 0; page < PAGES; page++) {
    for (let round = 1; round <= rounds; round++) expect(world.load(task, page, round)).toBe(round);
  }
}

describe('pages that are written while they are paged out', () => {
  it.each(SEEDS)('keep what was written last (schedule %i)', (seed) => {
    const all = actors(seed);
    const wrong: string[] = [];
    race(all, [
      [all.writer, writeAndCheck(all.writer, 3, wrong)],
      [all.second, pageOut(all.second, 12)],
      [all.third, reclaim(all.third, 3)],
    ]);
    expect(wrong).toEqual([]);
    expectContents(all.world, all.writer, 3);
  });

  it.each(SEEDS)('keep it in shared memory too (schedule %i)', (seed) => {
    const all = actors(seed, MAP_SHARED);
    const wrong: string[] = [];
    race(all, [
      [all.writer, writeAndCheck(all.writer, 3, wrong)],
      [all.second, pageOut(all.second, 12)],
      [all.third, reclaim(all.third, 3)],
    ]);
    expect(wrong).toEqual([]);
    expectContents(all.world, all.writer, 3);
  });
});

describe('fork while pages are paged out and written', () => {
  it.each(SEEDS)('gives the child a copy of one moment of each page (schedule %i)', (seed) => {
    const all = actors(seed);
    const { world, writer, second, third } = all;
    const wrong: string[] = [];
    const children: TaskStruct[] = [];
    race(all, [
      [writer, writeAndCheck(writer, 3, wrong)],
      [second, pageOut(second, 12)],
      [
        third,
        (function* (): Task<void> {
          const child = yield* sysFork(third, 'child', 2);
          if (typeof child !== 'number') children.push(child);
        })(),
      ],
    ]);
    expect(wrong).toEqual([]);
    expectContents(world, writer, 3);
    const [child] = children;
    if (child === undefined) throw new Error('no child');
    for (let page = 0; page < PAGES; page++) {
      const seen = [1, 2, 3].map((round) => world.load(child, page, round));
      expect(['0,0,0', '1,0,0', '1,2,0', '1,2,3']).toContain(seen.join());
    }
    world.store(child, 0, 77, 1);
    expect(world.load(writer, 0, 1)).toBe(1);
    world.run(child, doExit(child, 0));
    expect(world.inconsistencies()).toEqual([]);
  });
});

/** Maps, fills, changes and unmaps pages beside those of the writer. */
function* mapAndUnmap(task: TaskStruct, rounds: number): Task<void> {
  const at = addressOf(20);
  for (let round = 0; round < rounds; round++) {
    yield* sysMmap(task, at, 0x4000n, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, null, 0n);
    for (let page = 20; page < 24; page++) yield* userStore(task, addressOf(page), Uint8Array.of(page));
    yield* sysMprotect(task, at, 0x1000n, PROT_READ);
    yield* sysMremap(task, addressOf(22), 0x2000n, 0x2000n, 3, addressOf(30));
    yield* sysMunmap(task, at, 0x2000n);
    yield* sysMunmap(task, addressOf(30), 0x2000n);
  }
}

describe('munmap, mprotect and mremap while pages are paged out', () => {
  it.each(SEEDS)('leave nothing behind (schedule %i)', (seed) => {
    const all = actors(seed);
    const { world, writer, second, third } = all;
    const wrong: string[] = [];
    race(all, [
      [writer, writeAndCheck(writer, 2, wrong)],
      [second, pageOut(second, 14)],
      [third, mapAndUnmap(third, 2)],
    ]);
    expect(wrong).toEqual([]);
    world.run(writer, sysMunmap(writer, addressOf(0), BigInt(PAGES) << 12n));
    // Who found a page locked by reclaim has left it to reclaim.
    world.run(writer, tryToFreePages(writer, 100));
    expect(world.kernel.swap?.cachedFrames).toBe(0);
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('three tasks that need more memory than there is', () => {
  it.each(SEEDS.slice(0, 12))('all get through, each with its data (schedule %i)', (seed) => {
    const world = swapWorld({ cpus: 3, policy: new RandomPolicy(seed), frameLimit: 60 });
    const tasks = [0, 1, 2].map((cpu) => world.process(`p${cpu}`, cpu));
    const wrong: string[] = [];
    for (const task of tasks) {
      world.map(task, 0, 40, RW);
      world.system.loop.start(task, fillAndCheck(task, 40, wrong));
    }
    expect(world.system.loop.run().kind).toBe('finished');
    expect(wrong).toEqual([]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

function* fillAndCheck(task: TaskStruct, pages: number, wrong: string[]): Task<void> {
  const byte = new Uint8Array(1);
  for (let page = 0; page < pages; page++) {
    const signal = yield* userStore(task, addressOf(page), Uint8Array.of(page + task.pid));
    if (signal !== null) wrong.push(`${task.name} page ${page}: signal ${signal.signal}`);
  }
  for (let page = 0; page < pages; page++) {
    yield* userLoad(task, addressOf(page), byte);
    if (byte[0] !== page + task.pid) wrong.push(`${task.name} page ${page} has ${byte[0]}`);
  }
}

describe('a file that is truncated and grown while its pages are paged out and read', () => {
  it.each(SEEDS)('has only zeros, or what was written since (schedule %i)', (seed) => {
    const world = swapWorld({ cpus: 3, policy: new RandomPolicy(seed) });
    const reader = world.process('reader', 0);
    const second = world.thread(reader, 'second', 1);
    const third = world.thread(reader, 'third', 2);
    const file = memfdCreate(world.kernel, 'f');
    world.run(reader, fileTruncate(reader, file, BigInt(PAGES) << 12n));
    const flags = MAP_SHARED | MAP_FIXED;
    world.run(reader, sysMmap(reader, addressOf(0), BigInt(PAGES) << 12n, RW, flags, file, 0n));
    for (let page = 0; page < PAGES; page++) world.store(reader, page, 7);
    const seen: number[] = [];
    race({ world, writer: reader, second, third }, [
      [reader, readAll(reader, 3, seen)],
      [second, pageOut(second, 10)],
      [third, truncateAndGrow(third, file)],
    ]);
    expect(seen.filter((value) => value !== 7 && value !== 0)).toEqual([]);
    const contents = Array.from({ length: PAGES }, (_, page) => world.load(reader, page));
    expect(contents).toEqual([7, 7, 0, 0, 0, 0]);
    world.run(reader, sysMunmap(reader, addressOf(0), BigInt(PAGES) << 12n));
    world.run(reader, fput(world.kernel.frames, file));
    world.run(reader, tryToFreePages(reader, 100));
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.inconsistencies()).toEqual([]);
  });
});

/** Whatever each page holds, a page beyond the end counting as zeros. */
function* readAll(task: TaskStruct, rounds: number, seen: number[]): Task<void> {
  const byte = new Uint8Array(1);
  for (let round = 0; round < rounds; round++) {
    for (let page = 0; page < PAGES; page++) {
      const signal = yield* userLoad(task, addressOf(page), byte);
      if (signal === null) seen.push(byte[0] as number);
    }
  }
}

function* truncateAndGrow(task: TaskStruct, file: MappedFile): Task<void> {
  for (let round = 0; round < 2; round++) {
    yield* fileTruncate(task, file, 0x2000n);
    yield* fileTruncate(task, file, BigInt(PAGES) << 12n);
  }
}
