/** UFFDIO_MOVE: pages go from one place to another without being copied. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT } from '../../../../src/kernel/errno.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import type { FilledRange } from '../../../../src/kernel/mm/userfaultfd/fill-ioctl.ts';
import { userfaultfdMove } from '../../../../src/kernel/mm/userfaultfd/move.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { addressOf, BASE_PAGE } from '../process-world.ts';
import { bytesOf, loadByte, MISSING, RW, UffdWorld } from './uffd-world.ts';

/** Pages 0…3 watched, pages 12…15 the source, of which 12 is written and 13 only read. */
function moving(perVmaLocks = true, cpus = 1): UffdWorld {
  const world = new UffdWorld({ cpus, kernel: { perVmaLocks, lockdep: true } });
  world.map(world.owner, 0, 4, RW);
  world.map(world.owner, 12, 4, RW);
  world.store(world.owner, 12, 7);
  world.load(world.owner, 13);
  world.register(0, 4, MISSING);
  return world;
}

function move(world: UffdWorld, target: number, source: number, pages = 1, mode = 0n): FilledRange {
  const { owner, uffd } = world;
  const call = userfaultfdMove(owner, uffd, addressOf(target), addressOf(source), bytesOf(pages), mode);
  return world.run(owner, call);
}

describe.each([
  ['VMA locks', true],
  ['mmap_lock', false],
])('under %s', (_name, perVmaLocks) => {
  it('a page keeps its frame, and the zero page is moved too', () => {
    const world = moving(perVmaLocks);
    const { owner } = world;
    const { frame } = world.pte(owner, 12);
    expect(move(world, 1, 12, 2)).toEqual({ error: 0, done: 8192 });
    expect(world.pte(owner, 1).frame).toBe(frame);
    expect([1, 2, 12, 13].map((page) => world.page(owner, page))).toEqual(['Xwd', 'Z', '-', '-']);
    expect([world.load(owner, 1), world.load(owner, 12)]).toEqual([7, 0]);
    world.expectConsistent();
  });

  it('wakes who waits for the target', () => {
    const world = moving(perVmaLocks);
    const other = world.thread(world.owner, 'other', 0);
    const load = world.beginLoad(other, 1);
    expect(load.ended).toBe(false);
    expect(move(world, 1, 12).error).toBe(0);
    world.settle();
    expect(load.result).toBe(7);
    world.expectConsistent();
  });

  it.each([
    ['a target that is there', 1, 12, 1, 0n, EEXIST, -EEXIST],
    ['a hole', 2, 14, 1, 0n, ENOENT, -ENOENT],
    ['a page and a hole', 2, 13, 2, 0n, EAGAIN, 4096],
    ['a hole, where that is allowed', 2, 14, 1, 2n, 0, 4096],
    ['more than the VMA has', 3, 12, 2, 0n, EINVAL, -EINVAL],
    ['what is not mapped', 2, 30, 1, 0n, ENOENT, -ENOENT],
    ['a target that is not watched', 14, 12, 1, 0n, EINVAL, -EINVAL],
  ])('%s', (_what, target, source, pages, mode, error, done) => {
    const world = moving(perVmaLocks);
    world.copy(1, 1);
    expect(move(world, target, source, pages, mode)).toEqual({ error: error === 0 ? 0 : -error, done });
    world.expectConsistent();
  });
});

describe('refused', () => {
  it('a page that a child shares', () => {
    const world = moving();
    world.fork(world.owner);
    expect(move(world, 1, 12).error).toBe(-EBUSY);
    expect(world.load(world.owner, 12)).toBe(7);
    world.expectConsistent();
  });

  it('shared memory, and memory with other rights', () => {
    const world = moving();
    const { owner } = world;
    world.map(owner, 20, 1, RW, MAP_SHARED);
    world.map(owner, 22, 1, 1);
    world.store(owner, 20, 1);
    expect([move(world, 2, 20).error, move(world, 2, 22).error]).toEqual([-EINVAL, -EINVAL]);
  });

  it("another process' memory, and an unknown mode", () => {
    const world = moving();
    const { manager, uffd } = world;
    const call = userfaultfdMove(manager, uffd, addressOf(1), addressOf(12), bytesOf(1), 0n);
    expect(world.run(manager, call)).toEqual({ error: -EINVAL, done: null });
    expect(move(world, 1, 12, 1, 4n)).toEqual({ error: -EINVAL, done: null });
  });
});

describe('while others read', () => {
  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'the page is in one place or the other, schedule %i',
    (seed) => {
      const world = moving(seed % 2 === 0, 4);
      const [first, second] = [2, 3].map((cpu) => world.thread(world.owner, `t${cpu}`, cpu)) as [
        TaskStruct,
        TaskStruct,
      ];
      const { loop } = world.system;
      loop.policy = new RandomPolicy(seed);
      loop.start(first, loadByte(first, 1, 0, new Uint8Array(1)));
      loop.start(second, loadByte(second, 12, 0, new Uint8Array(1)));
      const call = userfaultfdMove(world.owner, world.uffd, addressOf(1), addressOf(12), bytesOf(1), 0n);
      loop.start(world.owner, call);
      expect(loop.run().kind).toBe('finished');
      expect(world.owner.result).toEqual({ error: 0, done: 4096 });
      expect(first.result).toBe(7);
      expect([0, 7]).toContain(second.result);
      world.expectConsistent();
    },
  );
});

describe('while MADV_DONTNEED takes the table of the target or the source out', () => {
  const SPAN = 512;
  const TARGET = SPAN - (BASE_PAGE % SPAN);
  const SOURCE = TARGET + 2 * SPAN;

  function* lateDontneed(task: TaskStruct, page: number, delay: number): Task<number> {
    for (let step = 0; step < delay; step++) yield task.startPoint;
    return yield* sysMadvise(task, addressOf(page), bytesOf(SPAN), MADV_DONTNEED);
  }

  it.each([
    ['target', TARGET],
    ['source', SOURCE],
  ])('no page goes into or comes out of a table that nothing points to: %s', (_which, page) => {
    for (let seed = 0; seed < 120; seed++) {
      const world = new UffdWorld({ cpus: 3, memoryBytes: 0x200_0000, kernel: { lockdep: true } });
      const { owner, uffd } = world;
      const other = world.thread(owner, 'other', 2);
      for (const start of [TARGET, SOURCE]) world.map(owner, start, SPAN, RW);
      world.store(owner, TARGET + 3, 1);
      world.store(owner, SOURCE, 7);
      world.register(TARGET, SPAN, MISSING);
      const { loop } = world.system;
      loop.policy = new RandomPolicy(seed);
      loop.start(
        owner,
        userfaultfdMove(owner, uffd, addressOf(TARGET + 5), addressOf(SOURCE), bytesOf(1), 0n),
      );
      loop.start(other, lateDontneed(other, page, seed % 40));
      expect(loop.run({ maxSteps: 50_000 }).kind).toBe('finished');
      // Thrown away before, at its new place, or it is there; never anything else.
      const { error } = owner.result as FilledRange;
      expect(page === TARGET ? [0] : [0, -ENOENT]).toContain(error);
      world.expectConsistent();
    }
  });
});
