/**
 * Pte tables that a collapse of a memfd takes out under those who are on their way to them: with the table's lock one sees
 * that the pmd has changed, without it one reads a table that maps nothing any more but is not free yet. And random
 * schedules of everything that meets huge pages of files.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPages } from '../../../../src/kernel/gup/get-user-pages.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { rcuReadLock, rcuReadUnlock } from '../../../../src/kernel/lock/rcu.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../../src/kernel/mm/fallocate.ts';
import { MADV_COLLAPSE, MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { PmdKind, pteIndex, type TablePage } from '../../../../src/kernel/mm/page-table.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../../../../src/kernel/mm/page-table-alloc.ts';
import { tryToFreePages } from '../../../../src/kernel/mm/reclaim/direct.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { architectureName } from '../../../support/architecture.ts';
import { Director } from '../../support/director.ts';
import { bytes } from '../madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { type FileScene, fileScene, mapFile } from './file-support.ts';
import { expectSound, FIRST, HUGE, pmdKindAt } from './support.ts';

interface Directed extends FileScene {
  readonly director: Director;
  /** Maps the file too, on another CPU; pages 3 and 17 are mapped there by ptes. */
  readonly reader: TaskStruct;
}

/** The first task is to collapse; the reader has its own address space. */
function directed(): Directed {
  const director = new Director();
  const scene = fileScene({ cpus: 2, policy: director.policy });
  const { world, task, file } = scene;
  director.loop = world.system.loop;
  for (const page of [3, 17]) world.store(task, FIRST + page, page);
  const reader = world.process('reader', 1);
  mapFile(world, reader, file);
  for (const page of [3, 17]) expect(world.load(reader, FIRST + page)).toBe(page);
  return { ...scene, director, reader };
}

const collapse = (task: TaskStruct): Task<number> =>
  sysMadvise(task, addressOf(FIRST), bytes(HUGE), MADV_COLLAPSE);

function tableOf({ world, reader }: Directed): TablePage {
  const { pageTables } = world.kernel;
  const table = pageTables.lookup(rootTable(mmOf(reader)), BASE_PAGE + FIRST, pageTables.lastLevel);
  if (table === null) throw new Error('no table');
  return table;
}

/** Reads the pte of page 3 in the table, without its lock. */
function presentIn({ world }: Directed, table: TablePage): boolean {
  const { pageTables } = world.kernel;
  pageTables.read(table, pteIndex(pageTables, BASE_PAGE + FIRST + 3));
  return !pageTables.format.isNone(pageTables.hi, pageTables.lo);
}

describe('a walker that has found the table, and not locked it, when the table is taken out', () => {
  it('finds with the lock that the pmd has changed; no mmap_lock or VMA lock of it was needed', () => {
    const scene = directed();
    const { world, director, task, reader } = scene;
    const table = tableOf(scene);
    let found: TablePage | null | 'nothing yet' = 'nothing yet';
    function* walk(): Task<void> {
      yield* mmapReadLock(reader, mmOf(reader));
      found = yield* pteOffsetMapLock(reader, mmOf(reader), BASE_PAGE + FIRST + 3);
      if (found !== null) yield* pteUnmapUnlock(reader, found);
      yield* mmapReadUnlock(reader, mmOf(reader));
    }
    director.start(reader, walk());
    director.untilPoint(reader, ({ object }) => object === table.lock);
    director.start(task, collapse(task));
    expect(director.finish(task)).toBe(0);
    expect([pmdKindAt({ ...scene, task: reader }, FIRST), table.freed]).toEqual([PmdKind.None, false]);
    director.finish(reader);
    expect([found, table.freed]).toEqual([null, true]);
    expect(world.load(reader, FIRST + 3)).toBe(3);
    expectSound(scene);
  });

  it('reads, without the lock and without looking again, a table that has nothing in it and is not freed', () => {
    const scene = directed();
    const { world, director, task, reader } = scene;
    const table = tableOf(scene);
    const seen: boolean[] = [];
    function* walk(): Task<void> {
      rcuReadLock(reader);
      seen.push(presentIn(scene, table));
      yield table.readEntry;
      seen.push(presentIn(scene, table), table.freed);
      rcuReadUnlock(reader);
    }
    director.start(reader, walk());
    director.untilPoint(reader, (point) => point === table.readEntry);
    director.start(task, collapse(task));
    expect(director.finish(task)).toBe(0);
    expect(table.freed).toBe(false);
    director.finish(reader);
    expect(seen).toEqual([true, false, false]);
    expect(table.freed).toBe(true);
    expect(world.load(reader, FIRST + 3)).toBe(3);
    expectSound(scene);
  });

  it('with interrupts off keeps the table too', () => {
    const scene = directed();
    const { world, director, task, reader } = scene;
    const table = tableOf(scene);
    world.system.machine.cpus[1]?.disableInterrupts();
    director.start(task, collapse(task));
    // x86-64 interrupts the CPU to flush its TLB, and so waits for it; arm64 does not, and the grace period does.
    if (architectureName === 'x86_64') director.until(task, 'csd_lock_wait');
    else expect(director.finish(task)).toBe(0);
    expect(table.freed).toBe(false);
    world.system.machine.cpus[1]?.enableInterrupts();
    if (architectureName === 'x86_64') expect(director.finish(task)).toBe(0);
    expect(table.freed).toBe(true);
    expect(world.load(reader, FIRST + 17)).toBe(17);
    expectSound(scene);
  });
});

describe('a fault', () => {
  it('while pages are replaced waits for the huge page', () => {
    const scene = directed();
    const { world, director, task, reader } = scene;
    director.start(task, collapse(task));
    director.until(task, 'copy_user_highpage');
    const byte = new Uint8Array(1);
    director.start(reader, userLoad(reader, addressOf(FIRST + 3), byte));
    expect(director.block(reader)).toBe('folio_lock');
    expect(director.finish(task)).toBe(0);
    expect(director.finish(reader)).toBeNull();
    expect(byte[0]).toBe(3);
    expect(pmdKindAt({ ...scene, task: reader }, FIRST)).toBe(PmdKind.Huge);
    expect(world.load(reader, FIRST + 17)).toBe(17);
    expectSound(scene);
  });

  it('of a hole, which is filled before the huge page is there, makes the collapse fail', () => {
    const scene = directed();
    const { world, director, task, reader } = scene;
    director.start(task, collapse(task));
    director.until(task, 'copy_user_highpage');
    director.start(reader, userStore(reader, addressOf(FIRST + 100), Uint8Array.of(100)));
    expect(director.finish(reader)).toBeNull();
    expect(director.finish(task)).toBe(-11);
    expect([3, 17, 100].map((page) => world.load(task, FIRST + page))).toEqual([3, 17, 100]);
    expectSound(scene);
  });
});

const SEEDS = Array.from({ length: 15 }, (_, seed) => seed);
/** Pages that are written and read, in runs of contiguous ptes of their own and not. */
const AT = [0, 1, 17, 300, 511];

interface Actors extends FileScene {
  /** Of an address space of its own. */
  readonly second: TaskStruct;
  readonly third: TaskStruct;
}

/** The pages are there; `huge`: as one. */
function actors(seed: number, huge: boolean, swapPages = 0): Actors {
  const scene = fileScene({
    cpus: 3,
    policy: new RandomPolicy(seed),
    kernel: { swapPages, shmemEnabled: 'advise' },
  });
  const { world, task, file } = scene;
  for (const page of AT) world.store(task, FIRST + page, 1);
  if (huge) expect(world.run(task, collapse(task))).toBe(0);
  const second = world.process('second', 1);
  mapFile(world, second, file);
  const third = world.thread(task, 'third', 2);
  return { ...scene, second, third };
}

function race(all: Actors, paths: readonly (readonly [TaskStruct, Task<unknown>])[]): void {
  for (const [task, path] of paths) all.world.system.loop.start(task, path);
  expect(all.world.system.loop.run().kind).toBe('finished');
  expectSound(all);
}

/** Writes each page and reads it back; nobody else writes there. */
function* writeAndCheck(task: TaskStruct, wrong: string[], at: readonly number[] = AT): Task<void> {
  const byte = new Uint8Array(1);
  for (let round = 1; round <= 2; round++) {
    for (const page of at) {
      const signal = yield* userStore(task, addressOf(FIRST + page, round), Uint8Array.of(round));
      if (signal !== null) wrong.push(`store to page ${page}: signal ${signal.signal}`);
      yield* userLoad(task, addressOf(FIRST + page, round), byte);
      if (byte[0] !== round) wrong.push(`page ${page} has ${byte[0]} in round ${round}`);
    }
  }
}

const dontneed = (task: TaskStruct, page: number, pages: number): Task<number> =>
  sysMadvise(task, addressOf(FIRST + page), bytes(pages), MADV_DONTNEED);

const punchHole = (task: TaskStruct, { file }: FileScene, page: number, pages: number): Task<number> =>
  fileFallocate(task, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, bytes(page), bytes(pages));

describe('writes to a memfd', () => {
  it.each(SEEDS)('by two address spaces survive its collapse (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const wrong: string[] = [];
    race(all, [
      [all.task, writeAndCheck(all.task, wrong)],
      [all.second, writeAndCheck(all.second, wrong, [2, 18, 400])],
      [all.third, collapse(all.third)],
    ]);
    expect(wrong).toEqual([]);
  });

  it.each(SEEDS)('survive holes that are punched beside them, and a collapse after (schedule %i)', (seed) => {
    const all = actors(seed, true);
    const wrong: string[] = [];
    function* punchAndCollapse(): Task<void> {
      yield* punchHole(all.third, all, 40, 60);
      yield* collapse(all.third);
      yield* punchHole(all.third, all, 450, 2);
    }
    race(all, [
      [all.task, writeAndCheck(all.task, wrong)],
      [all.second, writeAndCheck(all.second, wrong, [2, 18, 400])],
      [all.third, punchAndCollapse()],
    ]);
    expect(wrong).toEqual([]);
    expect(all.world.load(all.task, FIRST + 451)).toBe(0);
  });

  it.each(SEEDS)('survive reclaim, which splits the huge page (schedule %i)', (seed) => {
    const all = actors(seed, true, 1024);
    const wrong: string[] = [];
    function* reclaim(): Task<void> {
      for (let i = 0; i < 3; i++) yield* tryToFreePages(all.third, 600);
    }
    race(all, [
      [all.task, writeAndCheck(all.task, wrong)],
      [all.second, writeAndCheck(all.second, wrong, [2, 18])],
      [all.third, reclaim()],
    ]);
    expect(wrong).toEqual([]);
  });

  it.each(SEEDS)('survive pins, DONTNEED and reads by others beside a collapse (schedule %i)', (seed) => {
    const all = actors(seed, seed % 2 === 0);
    const wrong: string[] = [];
    function* pinAndDrop(): Task<void> {
      const got: number[] = [];
      yield* mmapReadLock(all.third, mmOf(all.third));
      const count = yield* pinUserPages(all.third, BASE_PAGE + FIRST + 16, 3, FOLL_WRITE, got);
      yield* mmapReadUnlock(all.third, mmOf(all.third));
      if (count !== 3) wrong.push(`pinned ${count} pages`);
      yield* dontneed(all.third, 0, HUGE);
      yield* dontneed(all.third, 17, 3);
      for (const frame of got) if (!all.world.kernel.frames.maybeDmaPinned(frame)) wrong.push('a lost pin');
      yield* unpinUserPages(all.third, got, count);
    }
    race(all, [
      [all.task, writeAndCheck(all.task, wrong)],
      [all.second, collapse(all.second)],
      [all.third, pinAndDrop()],
    ]);
    expect(wrong).toEqual([]);
  });
});

describe('address spaces that go', () => {
  it.each(SEEDS)('while a collapse takes their tables: fork, munmap, exit (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const { world, second, third, task } = all;
    for (const page of AT) world.load(second, FIRST + page);
    function* forkAndGo(): Task<void> {
      yield* sysFork(second, 'child');
      yield* sysMunmap(second, addressOf(FIRST), bytes(HUGE));
      yield* doExit(second, 0);
    }
    race(all, [
      [second, forkAndGo()],
      [third, collapse(third)],
    ]);
    const child = [...world.kernel.tasks.values()].find(({ name }) => name === 'child');
    if (child === undefined) throw new Error('no child');
    for (const page of AT) expect(world.load(child, FIRST + page)).toBe(1);
    for (const page of AT) expect(world.load(task, FIRST + page)).toBe(1);
    expectSound(all);
  });

  it.each(SEEDS)('while two collapse the same pages (schedule %i)', (seed) => {
    const all = actors(seed, false);
    const { world, second, third, task } = all;
    race(all, [
      [second, collapse(second)],
      [third, collapse(third)],
      [task, doExit(task, 0)],
    ]);
    for (const page of AT) expect(world.load(second, FIRST + page)).toBe(1);
    expectSound(all);
  });
});
