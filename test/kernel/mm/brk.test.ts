/** @see Linux mm/mmap.c, `brk`; mm/vma.c, `do_brk_flags`. Rows of the trace d063. */
import { describe, expect, it } from 'vitest';
import { sysBrk } from '../../../src/kernel/mm/brk.ts';
import { MAP_GROWSDOWN, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import { FIXED, finish, map, RW, ranges, type VmaWorld, vmaWorld } from './support.ts';

const START = 0x1000_0001_0000n;
const PAGE = Number(START >> 12n);

function heapWorld(): VmaWorld {
  const world = vmaWorld();
  world.mm.startBrk = START;
  world.mm.brk = START;
  return world;
}

const brk = (world: VmaWorld, offset: bigint): bigint => finish(sysBrk(world.task, START + offset)) - START;

describe('brk', () => {
  it('grows by whole pages and keeps the exact break', () => {
    const world = heapWorld();
    expect(brk(world, 0x200an)).toBe(0x200an);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 3]]);
    expect(brk(world, 0x2fffn)).toBe(0x2fffn);
    expect(brk(world, 0x4000n)).toBe(0x4000n);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 4]]);
    expect(smapsEntries(world.mm)).toMatchObject([{ kind: 'heap', vmFlags: 'rd wr mr mw me ac' }]);
    expect([world.mm.totalVm, world.mm.dataVm, world.kernel.committedPages]).toEqual([4, 4, 4]);
  });

  it('shrinks, letting readers in meanwhile', () => {
    const world = heapWorld();
    brk(world, 0x4000n);
    expect(brk(world, 0x1000n)).toBe(0x1000n);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 1]]);
    expect(world.kernel.committedPages).toBe(1);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });

  it.each([
    ['below the start of the heap', -0x1000n, []],
    ['over the next mapping', 0xa000n, [[8, 1, RW, FIXED]]],
    ['up to the next mapping: a page must stay free', 0x8000n, [[8, 1, PROT_READ, FIXED]]],
    ['into the guard gap of a stack', 0x8000n, [[100, 1, RW, FIXED | MAP_GROWSDOWN]]],
  ] as const)('stays where it is when it would go %s', (_what, to, others) => {
    const world = heapWorld();
    brk(world, 0x1000n);
    for (const [page, pages, prot, flags] of others) map(world, PAGE + page, pages, prot, flags);
    expect(brk(world, to)).toBe(0x1000n);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });

  it('may leave exactly one page to the next mapping', () => {
    const world = heapWorld();
    map(world, PAGE + 8, 1, PROT_READ);
    expect(brk(world, 0x7000n)).toBe(0x7000n);
  });

  it('counts against RLIMIT_DATA together with the data segment [d064]', () => {
    const world = heapWorld();
    world.mm.endData = 0x1000n;
    world.task.rlimits = { ...world.task.rlimits, data: { soft: 0x3000, hard: Infinity } };
    expect(brk(world, 0x2001n)).toBe(0n);
    expect(brk(world, 0x2000n)).toBe(0x2000n);
  });

  it('does not join the VMA above it, even when that is alike', () => {
    const world = heapWorld();
    brk(world, 0x1000n);
    finish(sysBrk(world.task, START));
    map(world, PAGE + 2, 1);
    expect(brk(world, 0x1000n)).toBe(0x1000n);
    expect(ranges(world.mm)).toEqual([
      [PAGE, PAGE + 1],
      [PAGE + 2, PAGE + 3],
    ]);
  });

  it('shrinks over a hole in the heap', () => {
    const world = heapWorld();
    brk(world, 0x6000n);
    map(world, PAGE + 3, 1, PROT_READ);
    expect(brk(world, 0x2000n)).toBe(0x2000n);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 2]]);
  });
});
