/** remap_file_pages, emulated. @see Linux mm/mmap.c, `remap_file_pages` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { MAP_NONBLOCK, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysRemapFilePages } from '../../../src/kernel/mm/remap-file-pages.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

/** Eight pages of shared memory, each with its number in it. */
function worldWithObject() {
  const world = new ProcessWorld();
  const task = world.process();
  world.map(task, 0, 8, RW, MAP_SHARED);
  for (let page = 0; page < 8; page++) world.store(task, page, page);
  return { world, task };
}

function remap(world: ProcessWorld, task: TaskStruct, page: number, pages: number, pgoff: bigint, flags = 0) {
  const call = sysRemapFilePages(
    task,
    addressOf(page, 0x800),
    (BigInt(pages) << 12n) + 0x800n,
    0n,
    pgoff,
    flags,
  );
  const result = world.run(task, call);
  return result < 0 ? errnoName(result) : result;
}

const contents = (world: ProcessWorld, task: TaskStruct): unknown[] =>
  Array.from({ length: 8 }, (_, page) => world.load(task, page));

describe('remap_file_pages', () => {
  it('shows other pages of the object, faulted in; address and size are rounded down', () => {
    const { world, task } = worldWithObject();
    expect(remap(world, task, 2, 3, 5n)).toBe(0);
    const faults = task.minFlt;
    expect(contents(world, task)).toEqual([0, 1, 5, 6, 7, 5, 6, 7]);
    expect(task.minFlt).toBe(faults);
    expect([...mmOf(task).vmas].map(({ pages, pgoff }) => [pages, pgoff])).toEqual([
      [2, 0],
      [3, 5],
      [3, 5],
    ]);
    world.store(task, 2, 55);
    expect(world.load(task, 5)).toBe(55);
    expect(remap(world, task, 2, 3, 2n, MAP_NONBLOCK)).toBe(0);
    expect(mmOf(task).mapCount).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('goes over VMAs of the same object that differ in their offsets only', () => {
    const { world, task } = worldWithObject();
    expect([remap(world, task, 2, 3, 5n), remap(world, task, 1, 5, 0n)]).toEqual([0, 0]);
    expect(contents(world, task)).toEqual([0, 0, 1, 2, 3, 4, 6, 7]);
    world.run(task, sysMprotect(task, addressOf(3), 0x1000n, PROT_READ));
    expect(remap(world, task, 1, 5, 1n)).toBe('EINVAL');
    expect(remap(world, task, 6, 3, 0n)).toBe('EINVAL');
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['a protection', 0, 0x1000n, 1n, 0n],
    ['no size', 0, 0xfffn, 0n, 0n],
    ['a range that wraps', 0, 0xffff_ffff_ffff_f000n, 0n, 0n],
    ['an offset that wraps', 0, 0x1000n, 0n, 0xffff_ffff_ffff_ffffn],
    ['private memory', 9, 0x1000n, 0n, 0n],
    ['a hole', 20, 0x1000n, 0n, 0n],
  ] as const)('refuses %s', (_what, page, size, prot, pgoff) => {
    const { world, task } = worldWithObject();
    world.map(task, 9, 1, RW);
    const call = sysRemapFilePages(task, addressOf(page), size, prot, pgoff, 0);
    expect(errnoName(world.run(task, call))).toBe('EINVAL');
    expect(mmOf(task).mmapLock.isLocked()).toBe(false);
    expect(mmOf(task).vmas.first()?.file?.count).toBe(1);
  });
});
