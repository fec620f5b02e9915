/**
 * Faults, the manager that resolves them, and changes of the mapping at the same time, under random schedules. A wake that
 * is lost shows as a deadlock: nobody else would end the wait.
 */
import { describe, expect, it } from 'vitest';
import type { SchedPoint, Task } from '../../../../src/base/task.ts';
import { EEXIST } from '../../../../src/kernel/errno.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { TablePage } from '../../../../src/kernel/mm/page-table.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import { userfaultfdRead } from '../../../../src/kernel/mm/userfaultfd/read.ts';
import {
  userfaultfdRelease,
  userfaultfdUnregister,
} from '../../../../src/kernel/mm/userfaultfd/unregister.ts';
import { userfaultfdWake } from '../../../../src/kernel/mm/userfaultfd/wake.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import { sysProcessVmReadv } from '../../../../src/kernel/remote/process-vm.ts';
import { SIGKILL } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { describeResult } from '../../../../src/sched/run-result.ts';
import { userStore } from '../../../../src/userland/calls/access.ts';
import { Director } from '../../support/director.ts';
import { addressOf, BASE_PAGE } from '../process-world.ts';
import { bytesOf, loadByte, MISSING, pagesOf, RW, UffdWorld, WP } from './uffd-world.ts';

const SEEDS = 25;
const PAGE = 4096n;
const CASES = [true, false].flatMap((perVmaLocks) =>
  Array.from(
    { length: SEEDS },
    (_, seed) => [perVmaLocks ? 'VMA lock' : 'mmap_lock', perVmaLocks, seed] as const,
  ),
);

interface RaceWorld {
  readonly world: UffdWorld;
  /** Threads of the owner, on CPUs of their own. */
  readonly threads: readonly TaskStruct[];
  /** What each task got. */
  readonly results: unknown[];
}

/** Everything is set up under the same schedule in every case; then the policy of the seed takes over. */
function raceWorld(perVmaLocks: boolean, mode: bigint, flags?: number): RaceWorld {
  const world = new UffdWorld({ cpus: 4, kernel: { perVmaLocks, lockdep: true } }, 0, flags);
  world.map(world.owner, 0, 4, RW);
  const threads = [2, 3].map((cpu) => world.thread(world.owner, `thread ${cpu}`, cpu));
  world.register(0, 4, mode);
  return { world, threads, results: [] };
}

function race(
  { world }: RaceWorld,
  seed: number,
  paths: readonly (readonly [TaskStruct, Task<unknown>])[],
): void {
  const { loop } = world.system;
  loop.policy = new RandomPolicy(seed);
  for (const [task, path] of paths) loop.start(task, path);
  const result = loop.run({ maxSteps: 200_000 });
  expect(result.kind === 'finished' ? 'finished' : describeResult(result)).toBe('finished');
}

function* noting(results: unknown[], path: Task<unknown>): Task<void> {
  results.push(yield* path);
}

const load = (race: RaceWorld, task: TaskStruct, page: number): readonly [TaskStruct, Task<unknown>] => [
  task,
  noting(race.results, loadByte(task, page, 0, new Uint8Array(1))),
];

const store = (race: RaceWorld, task: TaskStruct, page: number): readonly [TaskStruct, Task<unknown>] => [
  task,
  noting(race.results, userStore(task, addressOf(page, 8), Uint8Array.of(9))),
];

/** Fills pages in without having read of any fault. */
function* fill({ world }: RaceWorld, pages: readonly number[], mode = 0n): Task<void> {
  const { manager, uffd } = world;
  for (const page of pages) {
    yield* userfaultfdCopy(manager, uffd, addressOf(page), pagesOf(5), PAGE, mode);
  }
}

/** Reads faults and resolves them, for ever. A page that is there already only wakes. */
function* serve({ world }: RaceWorld): Task<void> {
  const { manager, uffd } = world;
  for (;;) {
    const { messages } = yield* userfaultfdRead(manager, uffd, 64);
    for (const message of messages) {
      if (message.event !== 'pagefault') throw new Error(`unexpected ${message.event}`);
      const at = message.address;
      const { error } = yield* userfaultfdCopy(manager, uffd, at, pagesOf(5), PAGE, 0n);
      if (error === -EEXIST) yield* userfaultfdWake(manager, uffd, at, PAGE);
    }
  }
}

describe.each(CASES)('with the %s, schedule %#', (_name, perVmaLocks, seed) => {
  it('a page that is filled in at any moment wakes whoever waits for it', () => {
    const made = raceWorld(perVmaLocks, MISSING);
    const [first, second] = made.threads as [TaskStruct, TaskStruct];
    race(made, seed, [
      load(made, first, 0),
      store(made, second, 1),
      load(made, made.world.owner, 1),
      [made.world.manager, fill(made, [1, 0])],
    ]);
    expect(made.results.map(String).sort()).toEqual(['5', '5', 'null']);
    made.world.expectConsistent();
  });

  it('a manager that reads and fills serves everybody, though several wait for one page', () => {
    const made = raceWorld(perVmaLocks, MISSING, 0);
    const { world } = made;
    const [first, second] = made.threads as [TaskStruct, TaskStruct];
    world.manager.background = true;
    race(made, seed, [
      store(made, first, 2),
      load(made, second, 2),
      store(made, world.owner, 3),
      [world.manager, serve(made)],
    ]);
    expect(made.results.map(String).sort()).toEqual(['5', 'null', 'null']);
    expect(world.uffd.pending.length + world.uffd.faults.length).toBe(0);
  });

  it('taking write protection off wakes writers that come at any moment', () => {
    const made = raceWorld(perVmaLocks, WP);
    const { world } = made;
    for (const page of [0, 1]) world.store(world.owner, page, 1);
    world.protect(0, 2);
    const [first, second] = made.threads as [TaskStruct, TaskStruct];
    race(made, seed, [
      store(made, first, 0),
      store(made, second, 1),
      load(made, world.owner, 0),
      [world.manager, userfaultfdWriteprotect(world.manager, world.uffd, addressOf(0), bytesOf(2), 0n)],
    ]);
    expect(made.results.map(String).sort()).toEqual(['1', 'null', 'null']);
    made.world.expectConsistent();
  });
});

describe.each(CASES)('other changes with the %s, schedule %#', (_name, perVmaLocks, seed) => {
  it('closing the descriptor leaves nobody behind', () => {
    const made = raceWorld(perVmaLocks, MISSING);
    const { world } = made;
    const [first, second] = made.threads as [TaskStruct, TaskStruct];
    race(made, seed, [
      load(made, first, 0),
      store(made, second, 1),
      store(made, world.owner, 1),
      [world.manager, userfaultfdRelease(world.manager, world.uffd)],
    ]);
    expect(made.results.map(String).sort()).toEqual(['0', 'null', 'null']);
    expect(world.uffd.refcount).toBe(0);
    world.expectConsistent();
  });

  it('mprotect and a kill come between without harm', () => {
    const made = raceWorld(perVmaLocks, MISSING);
    const { world } = made;
    const [first, second] = made.threads as [TaskStruct, TaskStruct];
    function* kill(): Task<void> {
      yield second.signalWrite;
      second.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
      yield* fill(made, [0]);
    }
    race(made, seed, [
      load(made, first, 0),
      load(made, second, 1),
      [world.owner, sysMprotect(world.owner, addressOf(2), PAGE, 1)],
      [world.manager, kill()],
    ]);
    expect(made.results).toContain(5);
    expect(world.uffd.pending.length + world.uffd.faults.length).toBe(0);
    world.expectConsistent();
  });
});

describe('closing the descriptor', () => {
  it('while another process reads the memory comes to an end, on 100 schedules', () => {
    for (let seed = 0; seed < 100; seed++) {
      const { world } = raceWorld(true, MISSING);
      const { manager, owner, uffd } = world;
      const reader = world.process('reader', 3);
      const local = [{ base: new Uint8Array(4096), length: PAGE }];
      const remote = [{ base: addressOf(0), length: PAGE }];
      const call = { pid: owner.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
      const release = function* (): Task<void> {
        for (let i = 0; i < seed % 60; i++) yield manager.startPoint;
        yield* userfaultfdRelease(manager, uffd);
      };
      const { loop } = world.system;
      loop.policy = new RandomPolicy(seed);
      loop.start(reader, sysProcessVmReadv(reader, call));
      loop.start(manager, release());
      const result = loop.run({ maxSteps: 20_000 });
      expect(result.kind === 'finished' ? 'finished' : describeResult(result)).toBe('finished');
      expect(reader.result).toBe(4096);
      world.expectConsistent();
    }
  });
});

describe('a fault that looks whether it must wait', () => {
  it('keeps the table that it reads, though another thread empties it', () => {
    const director = new Director();
    const world = new UffdWorld({ cpus: 2, policy: director.policy, memoryBytes: 0x200_0000 });
    director.loop = world.system.loop;
    const { owner } = world;
    const other = world.thread(owner, 'other', 1);
    const start = 512 - (BASE_PAGE % 512);
    world.map(owner, start, 512, RW);
    world.store(owner, start, 1);
    world.register(start, 512, MISSING);
    director.start(owner, userStore(owner, addressOf(start + 1), Uint8Array.of(1)));
    const isRead = ({ operation }: SchedPoint): boolean =>
      operation === 'ptep_get' && world.uffd.pending.length > 0;
    const { object } = director.untilPoint(owner, isRead);
    if (!(object instanceof TablePage)) throw new Error(`${object.name} is not a table`);
    director.start(other, sysMadvise(other, addressOf(start), bytesOf(512), MADV_DONTNEED));
    director.finish(other);
    expect(object.freed).toBe(false);
    expect(director.block(owner)).toBe('handle_userfault');
    world.run(world.manager, userfaultfdRelease(world.manager, world.uffd));
    director.finishAll(owner);
    expect([object.freed, world.inconsistencies()]).toEqual([true, []]);
  });
});

describe('schedules that do lose a waiter', () => {
  it('are found when pages are filled in without a wake', () => {
    let lost = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const made = raceWorld(true, MISSING);
      const { loop } = made.world.system;
      loop.policy = new RandomPolicy(seed);
      const [first] = made.threads as [TaskStruct];
      for (const [task, path] of [load(made, first, 0)]) loop.start(task, path);
      loop.start(made.world.manager, fill(made, [0], 1n));
      if (loop.run().kind === 'deadlock') lost++;
    }
    // A fault that comes after the page, or queues before it and looks again, need not be woken.
    expect(lost).toBeGreaterThan(0);
    expect(lost).toBeLessThan(SEEDS);
  });
});

describe('unregistering while faults come in', () => {
  it.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
    'wakes all under mmap_lock, schedule %i',
    (seed) => {
      const made = raceWorld(false, MISSING);
      const { world } = made;
      const [first, second] = made.threads as [TaskStruct, TaskStruct];
      const unregister = userfaultfdUnregister(world.manager, world.uffd, addressOf(0), bytesOf(4));
      race(made, seed, [load(made, first, 0), store(made, second, 1), [world.manager, unregister]]);
      expect(made.results.map(String).sort()).toEqual(['0', 'null']);
      world.expectConsistent();
    },
  );

  it('under the VMA lock may miss a fault that queues after the wake; UFFDIO_WAKE ends it', () => {
    let missed = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const made = raceWorld(true, MISSING);
      const { world, threads } = made;
      const { loop } = world.system;
      const [first, second] = threads as [TaskStruct, TaskStruct];
      const unregister = userfaultfdUnregister(world.manager, world.uffd, addressOf(0), bytesOf(4));
      loop.policy = new RandomPolicy(seed);
      for (const [task, path] of [load(made, first, 0), store(made, second, 1)]) loop.start(task, path);
      loop.start(world.manager, unregister);
      if (loop.run().kind !== 'finished') {
        missed++;
        loop.start(world.manager, userfaultfdWake(world.manager, world.uffd, addressOf(0), bytesOf(4)));
        expect(loop.run().kind).toBe('finished');
      }
      expect(made.results.map(String).sort()).toEqual(['0', 'null']);
    }
    expect(missed).toBeGreaterThan(0);
    expect(missed).toBeLessThan(SEEDS);
  });
});
