/**
 * One task cuts a file, punches holes into it and fills it, while others use mappings of it: whatever the schedule, no
 * page beyond the end stays in the file or in any page table, and every access sees the file or gets SIGBUS.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../src/kernel/mm/fallocate.ts';
import { sysPwrite } from '../../../src/kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import { fput, type MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { SIGBUS } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { addressOf, ProcessWorld } from './process-world.ts';
import { finish } from './support.ts';

const RW = PROT_READ | PROT_WRITE;
const PAGES = 4;
/** Where the file is mapped for sharing, and privately. */
const SHARED = 0;
const PRIVATE = 6;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const bytes = (pages: number): bigint => BigInt(pages) << 12n;

function* mapBoth(task: TaskStruct, file: MappedFile): Task<void> {
  yield* sysMmap(task, addressOf(SHARED), bytes(PAGES), RW, MAP_SHARED | MAP_FIXED, file, 0n);
  yield* sysMmap(task, addressOf(PRIVATE), bytes(PAGES), RW, MAP_PRIVATE | MAP_FIXED, file, 0n);
}

/** Signals other than SIGBUS are wrong: the memory is mapped all the time. */
function* touch(task: TaskStruct, signals: number[], first: number): Task<void> {
  const byte = new Uint8Array(1);
  for (let round = 0; round < 2; round++) {
    for (let page = 0; page < PAGES; page++) {
      const at = addressOf(first + ((page + round) % PAGES));
      const store = (page + round) % 2 === 0;
      const signal = yield* store ? userStore(task, at, Uint8Array.of(0x5a)) : userLoad(task, at, byte);
      if (signal !== null) signals.push(signal.signal);
      else if (!store && byte[0] !== 0 && byte[0] !== 0x5a) signals.push(-(byte[0] as number));
    }
  }
}

function* cut(task: TaskStruct, file: MappedFile, answers: number[]): Task<void> {
  answers.push(yield* fileTruncate(task, file, bytes(2)));
  answers.push(yield* fileTruncate(task, file, bytes(PAGES)));
  answers.push(yield* fileFallocate(task, file, PUNCH, 0x800n, bytes(3)));
  answers.push(yield* fileFallocate(task, file, 0, 0n, bytes(PAGES)));
  answers.push(yield* fileTruncate(task, file, 0x1800n));
  answers.push(yield* fileTruncate(task, file, bytes(1)));
}

/** Maps and unmaps beside it, so that the tree of mappings changes under the walks. */
function* remap(task: TaskStruct, file: MappedFile): Task<void> {
  for (let round = 0; round < 3; round++) {
    const at = addressOf(12);
    yield* sysMmap(task, at, bytes(PAGES), RW, MAP_SHARED | MAP_FIXED, file, 0n);
    yield* sysMprotect(task, at + bytes(1), bytes(1), PROT_READ);
    yield* sysMunmap(task, at, bytes(PAGES));
  }
}

describe('a file that is cut while it is used', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'keeps nothing beyond its end in schedule %i',
    (seed) => {
      const world = new ProcessWorld({
        cpus: 4,
        policy: new RandomPolicy(seed),
        retention: 'adversarial',
        kernel: { lockdep: true },
      });
      const user = world.process('user', 0);
      const other = world.fork(user, 'other');
      const cutter = world.process('cutter', 2);
      const mapper = world.thread(user, 'mapper', 3);
      const file = memfdCreate(world.kernel, 'f');
      world.run(cutter, fileTruncate(cutter, file, bytes(PAGES)));
      world.run(user, mapBoth(user, file));
      world.run(other, mapBoth(other, file));
      const signals: number[] = [];
      const answers: number[] = [];
      const { loop } = world.system;
      loop.start(user, touch(user, signals, SHARED));
      loop.start(other, touch(other, signals, PRIVATE));
      loop.start(cutter, cut(cutter, file, answers));
      loop.start(mapper, remap(mapper, file));
      expect(loop.run().kind).toBe('finished');
      expect(answers).toEqual([0, 0, 0, 0, 0, 0]);
      expect(signals.filter((signal) => signal !== SIGBUS)).toEqual([]);
      expect(file.mapping.indexes(1)).toEqual([]);
      for (const task of [user, other]) {
        for (const first of [SHARED, PRIVATE]) {
          for (let page = 1; page < PAGES; page++) expect(world.page(task, first + page)).toBe('-');
        }
      }
      expect(world.kernel.lockdep?.reports).toEqual([]);
      world.run(cutter, fput(world.kernel.frames, file));
      expect(world.inconsistencies()).toEqual([]);
    },
  );
});

/** The new size is there after a few steps already: it comes at any time of a fault only if it is put off. */
function* after(steps: number, task: TaskStruct, cutIt: Task<number>): Task<void> {
  for (let step = 0; step < steps; step++) yield task.credentialsWrite;
  yield* cutIt;
}

interface Race {
  readonly world: ProcessWorld;
  readonly user: TaskStruct;
  readonly file: MappedFile;
  readonly signal: number | undefined;
}

/** A file of `PAGES` pages, some in the cache, mapped twice; one access races with what is done to the file. */
function raceOnce(
  seed: number,
  page: number,
  write: boolean,
  filled: readonly number[],
  cutIt: (cutter: TaskStruct, file: MappedFile) => Task<number>,
): Race {
  const world = new ProcessWorld({ cpus: 2, policy: new RandomPolicy(seed), memoryBytes: 0x40_0000 });
  const user = world.process('user', 0);
  const cutter = world.process('cutter', 1);
  const file = memfdCreate(world.kernel, 'f');
  world.run(cutter, fileTruncate(cutter, file, bytes(PAGES)));
  for (const index of filled) world.run(cutter, fileWrite(cutter, file, index * 4096, Uint8Array.of(9)));
  world.run(user, mapBoth(user, file));
  const at = addressOf(page);
  let signal: number | undefined;
  const { loop } = world.system;
  loop.start(
    user,
    (function* (): Task<void> {
      const access = write ? userStore(user, at, Uint8Array.of(1)) : userLoad(user, at, new Uint8Array(1));
      signal = (yield* access)?.signal;
    })(),
  );
  loop.start(cutter, after(seed % 50, cutter, cutIt(cutter, file)));
  expect(loop.run().kind).toBe('finished');
  return { world, user, file, signal };
}

function checkEnd({ world, user, file }: Race): void {
  world.run(user, fput(world.kernel.frames, file));
  expect(world.inconsistencies()).toEqual([]);
}

describe('one access beyond the end that a file gets at the same time', () => {
  it.each<readonly [string, number, boolean, readonly number[]]>([
    ['a read of a hole', SHARED + 2, false, []],
    ['a read of a cached page, with its neighbours', SHARED + 2, false, [0, 1, 2, 3]],
    ['a read within the end, which maps cached pages beyond it', SHARED, false, [0, 1, 2, 3]],
    ['a shared write to a hole', SHARED + 2, true, []],
    ['a shared write to a cached page', SHARED + 2, true, [2]],
    ['a private write to a hole', PRIVATE + 2, true, []],
    ['a private write to a cached page', PRIVATE + 2, true, [2]],
  ])('leaves nothing behind: %s', (_what, page, write, filled) => {
    const came = new Set<boolean>();
    for (let seed = 0; seed < 100; seed++) {
      const race = raceOnce(seed, page, write, filled, (task, file) => fileTruncate(task, file, bytes(1)));
      came.add(race.signal === SIGBUS);
      expect(race.file.mapping.indexes(1)).toEqual([]);
      for (const first of [SHARED, PRIVATE]) {
        for (let index = 1; index < PAGES; index++)
          expect(race.world.page(race.user, first + index)).toBe('-');
      }
      checkEnd(race);
    }
    // Both come first in some schedule, where it matters who does.
    expect(came.size).toBe(page === SHARED ? 1 : 2);
  });
});

describe('one access while a hole is punched', () => {
  it.each<readonly [string, number, boolean, readonly number[]]>([
    ['a read beside it, which maps cached pages around', SHARED, false, [0, 1, 2, 3]],
    ['a read in it', SHARED + 2, false, [2]],
    ['a shared write in it', SHARED + 2, true, [2]],
    ['a private write in it', PRIVATE + 2, true, [2]],
  ])('finds the page of the file, before or after: %s', (_what, page, write, filled) => {
    for (let seed = 0; seed < 100; seed++) {
      const race = raceOnce(seed, page, write, filled, (task, file) =>
        fileFallocate(task, file, PUNCH, bytes(2), bytes(1)),
      );
      expect(race.signal).toBeUndefined();
      const { frame } = race.world.pte(race.user, SHARED + 2);
      if (frame !== -1) expect(race.file.mapping.frameAt(2)).toBe(frame);
      checkEnd(race);
    }
  });
});

describe('a page that a fault adds after the file was cut', () => {
  it('does not stay: the fault looks at the size again', () => {
    const world = new ProcessWorld({ cpus: 2 });
    const user = world.process('user', 0);
    const cutter = world.process('cutter', 1);
    const file = memfdCreate(world.kernel, 'f');
    world.run(cutter, fileTruncate(cutter, file, bytes(PAGES)));
    world.run(user, mapBoth(user, file));
    const load = userLoad(user, addressOf(SHARED + 2), new Uint8Array(1));
    // Up to where the new page is about to be put into the cache.
    let additions = 0;
    while (additions < 2) {
      const step = load.next();
      if (step.done === true) throw new Error('the fault is over too early');
      if (step.value === file.mapping.change) additions++;
    }
    world.run(cutter, fileTruncate(cutter, file, bytes(1)));
    expect(finish(load)?.signal).toBe(SIGBUS);
    expect(file.mapping.indexes()).toEqual([]);
  });
});

describe('a fault of a page in a hole that is being punched', () => {
  it('waits, without mmap_lock, until the hole is there, and then finds a page of zeros', () => {
    const world = new ProcessWorld({ cpus: 2 });
    const user = world.process('user', 0);
    const cutter = world.process('cutter', 1);
    const file = memfdCreate(world.kernel, 'f');
    world.run(cutter, fileTruncate(cutter, file, bytes(PAGES)));
    world.run(user, mapBoth(user, file));
    world.store(user, SHARED + 1, 7);
    const { loop } = world.system;
    // As in the middle of a punch.
    file.mapping.hole = { first: 1, end: 2 };
    world.run(user, sysMunmap(user, addressOf(SHARED), bytes(PAGES)));
    world.run(user, mapBoth(user, file));
    const byte = Uint8Array.of(0xff);
    loop.start(
      user,
      (function* (): Task<void> {
        yield* userStore(user, addressOf(SHARED + 1, 8), Uint8Array.of(3));
        yield* userLoad(user, addressOf(SHARED + 1), byte);
      })(),
    );
    loop.run({ maxSteps: 400 });
    expect([byte[0], user.mm?.mmapLock.isLocked()]).toEqual([0xff, false]);
    file.mapping.hole = null;
    loop.start(cutter, fileFallocate(cutter, file, PUNCH, bytes(1), bytes(1)));
    expect(loop.run().kind).toBe('finished');
    expect(world.load(user, SHARED + 1)).toBe(0);
  });

  it('is not made to wait beside the hole', () => {
    const world = new ProcessWorld();
    const user = world.process('user');
    const file = memfdCreate(world.kernel, 'f');
    world.run(user, fileTruncate(user, file, bytes(PAGES)));
    world.run(user, mapBoth(user, file));
    file.mapping.hole = { first: 1, end: 3 };
    expect([world.load(user, SHARED), world.store(user, SHARED + 3, 1)]).toEqual([0, null]);
  });
});

describe('a write whose buffer is a mapping of the same file', () => {
  it('does not deadlock, on whatever schedule', () => {
    for (let seed = 0; seed < 10; seed++) {
      const world = new ProcessWorld({ cpus: 2, policy: new RandomPolicy(seed), kernel: { lockdep: true } });
      const user = world.process('user', 0);
      const cutter = world.process('cutter', 1);
      const file = memfdCreate(world.kernel, 'f');
      world.run(cutter, fileTruncate(cutter, file, bytes(PAGES)));
      world.run(user, mapBoth(user, file));
      const answers: number[] = [];
      const { loop } = world.system;
      loop.start(
        user,
        (function* (): Task<void> {
          answers.push(yield* sysPwrite(user, file, addressOf(SHARED), bytes(1), bytes(0)));
          answers.push(yield* sysPwrite(user, file, addressOf(SHARED + 1), bytes(1), bytes(2)));
        })(),
      );
      loop.start(cutter, fileFallocate(cutter, file, PUNCH, 0n, bytes(2)));
      expect(loop.run().kind).toBe('finished');
      expect(answers).toEqual([4096, 4096]);
      expect(world.kernel.lockdep?.reports).toEqual([]);
    }
  });
});
