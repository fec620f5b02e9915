/** mincore and msync. @see Linux mm/mincore.c, mm/msync.c */
import { describe, expect, it } from 'vitest';
import {
  MADV_DONTNEED,
  MADV_GUARD_INSTALL,
  MADV_PAGEOUT,
  MADV_WILLNEED,
} from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMincore } from '../../../src/kernel/mm/mincore.ts';
import { sysMlock } from '../../../src/kernel/mm/mlock.ts';
import {
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { MS_ASYNC, MS_INVALIDATE, MS_SYNC, sysMsync } from '../../../src/kernel/mm/msync.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { advise, answer, bytes, traced, vmas } from './madvise/support.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

/** The answer as a digit a page, or the errno. */
function incore(world: ProcessWorld, task: TaskStruct, page: number, count: number): string {
  const vector = new Uint8Array(count);
  const result = world.run(task, sysMincore(task, addressOf(page), bytes(count), vector));
  return result === 0 ? vector.join('') : answer(result);
}

describe('mincore', () => {
  it('tells untouched pages, the zero page and own pages apart', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 4, RW);
    world.store(task, 0, 1);
    world.load(task, 2);
    expect(incore(world, task, 0, 4)).toBe('1010');
    expect(task.minFlt).toBe(2);
  });

  it('asks the page cache where nothing is mapped, also behind a guard', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 4, RW, MAP_SHARED);
    world.store(task, 0, 1);
    world.store(task, 1, 1);
    advise(world, task, 0, 4, MADV_DONTNEED);
    advise(world, task, 1, 2, MADV_GUARD_INSTALL);
    expect(incore(world, task, 0, 4)).toBe('1100');
    world.map(task, 8, 2, RW);
    world.store(task, 8, 1);
    advise(world, task, 8, 1, MADV_GUARD_INSTALL);
    expect(incore(world, task, 8, 2)).toBe('00');
  });

  it('counts a page in swap only while memory has it too', () => {
    const world = new ProcessWorld({ kernel: { swapPages: 8 } });
    const task = world.process();
    world.map(task, 0, 2, RW);
    world.store(task, 0, 1);
    advise(world, task, 0, 1, MADV_PAGEOUT);
    expect(incore(world, task, 0, 2)).toBe('00');
    advise(world, task, 0, 2, MADV_WILLNEED);
    expect(incore(world, task, 0, 2)).toBe('10');
  });

  it.each([
    ['without a page table', false],
    ['with one', true],
  ])('counts shared memory in swap only while memory has it too, %s', (_name, table) => {
    const world = new ProcessWorld({ kernel: { swapPages: 8 } });
    const task = world.process();
    world.map(task, 0, 3, RW, MAP_SHARED);
    world.store(task, 0, 1);
    world.store(task, 1, 1);
    const child = world.fork(task);
    if (table) world.store(child, 2, 1);
    advise(world, task, 0, 1, MADV_PAGEOUT);
    expect(incore(world, child, 0, 2)).toBe('01');
    advise(world, child, 0, 1, MADV_WILLNEED);
    expect(incore(world, child, 0, 2)).toBe('11');
  });
});

describe('mincore answers', () => {
  it.each([
    ['an address inside a page', addressOf(0, 8), 0x1000n, 'EINVAL'],
    ['a hole', addressOf(2), 0x1000n, 'ENOMEM'],
    ['a hole behind the first pages', addressOf(0), 0x4000n, 'ENOMEM'],
    ['a range out of user space', addressOf(0), 2n ** 63n, 'ENOMEM'],
    ['no length', addressOf(9), 0n, 'ok'],
    ['a length inside a page', addressOf(0), 1n, 'ok'],
  ])('of %s', (_what, address, length, expected) => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 2, RW);
    expect(answer(world.run(task, sysMincore(task, address, length, new Uint8Array(8))))).toBe(expected);
    expect(mmOf(task).mmapLock.isLocked()).toBe(false);
  });

  it("puts its answer into the program's memory, which may fail", () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 2, RW);
    world.store(task, 1, 0xff);
    expect(world.run(task, sysMincore(task, addressOf(0), bytes(2), addressOf(1)))).toBe(0);
    expect([world.load(task, 1, 0), world.load(task, 1, 1)]).toEqual([0, 1]);
    world.map(task, 1, 1, PROT_NONE);
    expect(answer(world.run(task, sysMincore(task, addressOf(0), bytes(1), addressOf(1))))).toBe('EFAULT');
    // Not user memory at all: refused before the range is looked at.
    expect(answer(world.run(task, sysMincore(task, addressOf(50), bytes(1), 2n ** 63n)))).toBe('EFAULT');
  });

  it('does not grow a stack', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 4, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    expect(incore(world, task, 3, 2)).toBe('ENOMEM');
    expect(vmas(task)).toEqual(['4-5 rw-p gd']);
  });
});

describe('msync', () => {
  it.each([
    [0, 1, 0, 'ok', 'no flags'],
    [0, 2, MS_SYNC, 'ok', 'all mapped'],
    [0, 2, MS_ASYNC, 'ok', 'all mapped'],
    [0, 1, 8, 'EINVAL', 'an unknown flag'],
    [0, 1, MS_SYNC | MS_ASYNC, 'EINVAL', 'both ways'],
    [0, 5, MS_SYNC, 'ENOMEM', 'a hole'],
    [0, 5, MS_ASYNC, 'ENOMEM', 'a hole'],
    [2, 3, MS_SYNC, 'ENOMEM', 'a hole first'],
    [2, 1, MS_SYNC | MS_INVALIDATE, 'ENOMEM', 'a hole, and locked memory behind the range'],
    [0, 4, MS_ASYNC | MS_INVALIDATE, 'EBUSY', 'MS_INVALIDATE looks at what lies behind the hole'],
    [2, 1, MS_SYNC, 'ENOMEM', 'nothing mapped'],
    [3, 0, MS_SYNC, 'ok', 'no length'],
    [0, 4, MS_INVALIDATE, 'EBUSY', 'locked memory behind a hole'],
    [0, 4, MS_ASYNC, 'ENOMEM', 'MS_ASYNC alone stops at the hole'],
    [0, 4, MS_SYNC | MS_INVALIDATE, 'EBUSY', 'locked memory'],
  ])('page %i + %i with flags %i: %s, %s', (page, count, flags, expected) => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 2, RW, MAP_SHARED);
    world.map(task, 3, 1, RW, MAP_SHARED);
    world.run(task, sysMlock(task, addressOf(3), bytes(1)));
    expect(answer(world.run(task, sysMsync(task, addressOf(page), bytes(count), flags)))).toBe(expected);
    expect(mmOf(task).mmapLock.isLocked()).toBe(false);
  });

  it('of an address inside a page: EINVAL; of a range that wraps: ENOMEM, unless its length rounds up to 0', () => {
    const world = new ProcessWorld();
    const task = world.process();
    expect(answer(world.run(task, sysMsync(task, addressOf(0, 8), bytes(1), MS_SYNC)))).toBe('EINVAL');
    expect(answer(world.run(task, sysMsync(task, 0x1000n, 2n ** 64n - 1n, MS_SYNC)))).toBe('ok');
    expect(answer(world.run(task, sysMsync(task, 0x2000n, 2n ** 64n - 0x2000n, MS_SYNC)))).toBe('ENOMEM');
  });

  it('lets mmap_lock go for each shared file that is synchronised, not for private ones', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 1, RW, MAP_SHARED);
    world.map(task, 1, 1, RW);
    const log: string[] = [];
    const call = sysMsync(task, addressOf(0), bytes(2), MS_SYNC);
    world.run(
      task,
      traced(call, log, (object) => object === mmOf(task).mmapLock),
    );
    expect(log).toEqual(['down_read', 'up_read', 'down_read', 'up_read']);
    expect(mmOf(task).vmas.lookup(Number(addressOf(0) >> 12n))?.file?.count).toBe(1);
  });
});
