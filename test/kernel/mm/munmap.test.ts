/** @see Linux mm/vma.c, `do_vmi_munmap`, `vms_gather_munmap_vmas` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { VMH_SEALED } from '../../../src/kernel/mm/vma-flags.ts';
import { pokeVma } from './poke-vma.ts';
import { finish, map, RW, ranges, type VmaWorld, vmaWorld } from './support.ts';

const PAGE = 0x1_0000_0000;

function unmap(world: VmaWorld, page: number, pages: number): number {
  return finish(sysMunmap(world.task, BigInt(page) << 12n, BigInt(pages) << 12n));
}

describe('munmap', () => {
  it.each([
    [0x1000_0000_0800n, 0x1000n, 'EINVAL', 'an address inside a page'],
    [0x1000_0000_0000n, 0n, 'EINVAL', 'no length'],
    [0x1000_0000_0000n, 0xffff_ffff_ffff_ffffn, 'EINVAL', 'a length beyond user space'],
    [0x7fff_ffff_f000n, 0x1_0000n, 'EINVAL', 'a range that leaves user space'],
    [0xffff_8000_0000_0000n, 0x1000n, 'EINVAL', 'a kernel address'],
  ])('refuses 0x%x + 0x%x: %s, %s [d049]', (address, length, errno) => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    expect(errnoName(finish(sysMunmap(world.task, address, length)))).toBe(errno);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 4]]);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });

  it('succeeds where nothing is mapped, and rounds the length up', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    expect(unmap(world, PAGE + 100, 5)).toBe(0);
    expect(finish(sysMunmap(world.task, BigInt(PAGE) << 12n, 1n))).toBe(0);
    expect(ranges(world.mm)).toEqual([[PAGE + 1, PAGE + 4]]);
  });

  it.each([
    ['the start', 0, 2, [[2, 8]]],
    ['the end', 6, 4, [[0, 6]]],
    [
      'the middle',
      2,
      3,
      [
        [0, 2],
        [5, 8],
      ],
    ],
    ['everything', -1, 20, []],
  ] as const)('takes %s', (_what, from, pages, left) => {
    const world = vmaWorld();
    map(world, PAGE, 8);
    expect(unmap(world, PAGE + from, pages)).toBe(0);
    expect(ranges(world.mm)).toEqual(left.map(([start, end]) => [PAGE + start, PAGE + end]));
    expect(world.mm.mapCount).toBe(left.length);
    expect(world.mm.totalVm).toBe(left.reduce((sum, [start, end]) => sum + end - start, 0));
    expect(world.kernel.committedPages).toBe(world.mm.totalVm);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });
});

describe('munmap of several VMAs', () => {
  it('goes over several VMAs and holes, and splits the outer two', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    map(world, PAGE + 4, 2, PROT_READ);
    map(world, PAGE + 8, 4);
    expect(unmap(world, PAGE + 2, 8)).toBe(0);
    expect(ranges(world.mm)).toEqual([
      [PAGE, PAGE + 2],
      [PAGE + 10, PAGE + 12],
    ]);
  });

  it('makes no hole at the map limit, but takes ends', () => {
    const world = vmaWorld({ maxMapCount: 1 });
    map(world, PAGE, 8);
    expect(errnoName(unmap(world, PAGE + 2, 2))).toBe('ENOMEM');
    expect(unmap(world, PAGE + 6, 2)).toBe(0);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 6]]);
  });

  it('removes nothing of a range with a sealed VMA in it [d091]', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    map(world, PAGE + 2, 2, PROT_READ);
    pokeVma(world.mm.vmas.lookup(PAGE + 2), (vma) => {
      vma.flagsHigh |= VMH_SEALED;
    });
    expect(errnoName(unmap(world, PAGE, 4))).toBe('EPERM');
    expect(errnoName(unmap(world, PAGE + 3, 1))).toBe('EPERM');
    expect(ranges(world.mm)).toEqual([
      [PAGE, PAGE + 2],
      [PAGE + 2, PAGE + 4],
    ]);
    expect([...world.mm.vmas].every((vma) => !vma.detached)).toBe(true);
  });

  it('closes the object of shared memory with its last part', () => {
    const world = vmaWorld();
    map(world, PAGE, 4, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED);
    const file = world.mm.vmas.lookup(PAGE)?.file;
    unmap(world, PAGE + 1, 1);
    expect(file?.count).toBe(2);
    unmap(world, PAGE, 4);
    expect(file?.count).toBe(0);
    expect(file?.mapping.openFiles).toBe(0);
  });

  it('lets readers in before the pages go: the write lock is downgraded, then released', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    const seen: string[] = [];
    const task = sysMunmap(world.task, BigInt(PAGE) << 12n, 0x1000n);
    for (let step = task.next(); step.done !== true; step = task.next()) {
      const { object, operation } = step.value;
      if (object === world.mm.mmapLock || operation === 'vma_iter_store') seen.push(operation);
    }
    expect(seen).toEqual([
      'down_write',
      'vma_iter_store',
      'vma_iter_store',
      'vma_end_write_all',
      'downgrade_write',
      'up_read',
    ]);
  });
});
