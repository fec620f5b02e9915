/** mremap as the list of VMAs shows it. @see Linux mm/mremap.c, `check_mremap_params`, `check_prep_vma`, `remap_move` */
import { describe, expect, it } from 'vitest';
import { atomically } from '../../../src/base/task.ts';
import { EINVAL, errnoName } from '../../../src/kernel/errno.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_GROWSDOWN,
  MAP_LOCKED,
  MAP_SHARED,
  PROT_READ,
} from '../../../src/kernel/mm/mman.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../src/kernel/mm/mremap-operation.ts';
import { sysMseal } from '../../../src/kernel/mm/mseal.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { CAP_IPC_LOCK } from '../../../src/kernel/process/credentials.ts';
import { pokeVma } from './poke-vma.ts';
import {
  FIXED,
  finish,
  MMAP_BASE_PAGE,
  map,
  RW,
  ranges,
  TASK_SIZE_PAGES,
  type VmaWorld,
  vmaWorld,
} from './support.ts';

const PAGE = 0x1_0000_0000;
const SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
const MOVE = MREMAP_MAYMOVE;
const TO = MREMAP_MAYMOVE | MREMAP_FIXED;
const KEEP = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;

const nothing = () => atomically(() => 0);
const populatesNothing = {
  mmPopulate: () => atomically(() => {}),
  mmPopulateRange: nothing,
  populateVmaPageRange: nothing,
  faultinPageRange: nothing,
  getUserPage: nothing,
};

/** Pages; page 0 is PAGE. The page it is at afterwards, counted from there, or the name of the error. */
function remap(
  world: VmaWorld,
  from: number,
  old: number,
  pages: number,
  flags = 0,
  to = 0,
): number | string {
  const bytes = (page: number): bigint => BigInt(page) << 12n;
  const target = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) === 0 || to === 0 ? 0n : bytes(PAGE + to);
  const result = finish(sysMremap(world.task, bytes(PAGE + from), bytes(old), bytes(pages), flags, target));
  expect(world.mm.mmapLock.isLocked()).toBe(false);
  return result < 0n ? errnoName(Number(result)) : Number(result >> 12n) - PAGE;
}

/** Letters for VMAs, from page 0: `AA.BBB`. */
function picture({ mm }: VmaWorld): string {
  let drawn = '';
  for (const [i, vma] of [...mm.vmas].entries()) {
    drawn = drawn.padEnd(vma.start - PAGE, '.');
    drawn += String.fromCharCode(65 + i).repeat(vma.pages);
  }
  return drawn;
}

/** Counts of pages must be those of the VMAs that are left. */
function expectCounted({ mm, kernel }: VmaWorld): void {
  const vmas = [...mm.vmas];
  expect([mm.mapCount, mm.totalVm]).toEqual([vmas.length, vmas.reduce((sum, vma) => sum + vma.pages, 0)]);
  const charged = vmas.filter((vma) => (vma.flags & 0x10_0000) !== 0);
  expect(kernel.committedPages).toBe(charged.reduce((sum, vma) => sum + vma.pages, 0));
}

describe('the arguments of mremap', () => {
  const at = BigInt(PAGE) << 12n;
  const taskSize = BigInt(TASK_SIZE_PAGES) << 12n;
  it.each([
    ['an unknown flag', at, 0x1000n, 0x1000n, 8, 0n, 'EINVAL'],
    ['an address inside a page', at + 8n, 0x1000n, 0x1000n, 0, 0n, 'EINVAL'],
    ['no new length', at, 0x1000n, 0n, 0, 0n, 'EINVAL'],
    ['a new length that wraps to nothing', at, 0x1000n, 0xffff_ffff_ffff_ffffn, MOVE, 0n, 'EINVAL'],
    ['a new length beyond user space', at, 0x1000n, taskSize + 0x1000n, MOVE, 0n, 'EINVAL'],
    ['FIXED that may not move', at, 0x1000n, 0x1000n, MREMAP_FIXED, at + 0x10_0000n, 'EINVAL'],
    ['DONTUNMAP that may not move', at, 0x1000n, 0x1000n, MREMAP_DONTUNMAP, 0n, 'EINVAL'],
    ['DONTUNMAP with another length', at, 0x1000n, 0x2000n, KEEP, 0n, 'EINVAL'],
    ['a target inside a page', at, 0x1000n, 0x1000n, TO, at + 0x10_0008n, 'EINVAL'],
    ['a target beyond user space', at, 0x1000n, 0x2000n, TO, taskSize - 0x1000n, 'EINVAL'],
    ['a target on the source', at, 0x4000n, 0x4000n, TO, at + 0x3000n, 'EINVAL'],
    ['a target whose end is on the source', at + 0x3000n, 0x1000n, 0x4000n, TO, at, 'EINVAL'],
    ['an old address where nothing is', at + 0x10_0000n, 0x1000n, 0x1000n, 0, 0n, 'EFAULT'],
    ['an old length beyond the VMA', at, 0x9000n, 0xa000n, MOVE, 0n, 'EFAULT'],
    ['a source that wraps, to shrink', at, 0xffff_ffff_ffff_f000n, 0x1000n, 0, 0n, 'EINVAL'],
    ['old length 0 of a private mapping', at, 0n, 0x1000n, MOVE, 0n, 'EINVAL'],
    ['old length 0 of a private mapping, in place', at, 0n, 0x1000n, 0, 0n, 'EINVAL'],
    ['a target below mmap_min_addr', at, 0x1000n, 0x1000n, TO, 0x1000n, 'EPERM'],
  ] as const)('refuse %s', (_what, address, old, length, flags, to, errno) => {
    const world = vmaWorld({}, [17]);
    map(world, PAGE, 8);
    const result = finish(sysMremap(world.task, address, old, length, flags, to));
    expect(errnoName(Number(result))).toBe(errno);
    expect(ranges(world.mm)).toEqual([[PAGE, PAGE + 8]]);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
    expectCounted(world);
  });
});

/** What, the VMAs before, from, old length, new length, flags, target, result, the VMAs after. */
const ONE_VMA = [
  ['shrinks at the end', 'AAAA', 0, 4, 2, 0, 0, 0, 'AA'],
  ['shrinks a part, leaving a hole', 'AAAAAA', 0, 3, 2, 0, 0, 0, 'AA.BBB'],
  ['shrinks over several VMAs', 'AA.BBCC', 0, 6, 1, 0, 0, 0, 'A.....B'],
  ['does nothing when nothing changes', 'AAAA', 1, 2, 2, MOVE, 0, 1, 'AAAA'],
  ['grows where it is', 'AA', 0, 2, 4, 0, 0, 0, 'AAAA'],
  ['grows from its middle to beyond its end', 'AAAA', 2, 2, 4, 0, 0, 2, 'AAAAAA'],
  ['does not grow over the next', 'AA.BB', 0, 2, 4, 0, 0, 'ENOMEM', 'AA.BB'],
  ['does not grow in its middle', 'AAAA', 0, 2, 3, 0, 0, 'ENOMEM', 'AAAA'],
  ['moves to a given place', 'AA', 0, 2, 2, TO, 4, 4, '....AA'],
  ['moves its middle', 'AAAA', 1, 2, 2, TO, 6, 6, 'A..B..CC'],
  ['moves and grows', 'AA', 0, 2, 3, TO, 4, 4, '....AAA'],
  ['moves and shrinks', 'AAAA', 0, 4, 2, TO, 6, 6, '......AA'],
  ['moves over what is there', 'AA..BBBB', 0, 2, 2, TO, 5, 5, '....ABBC'],
  ['leaves the old range with DONTUNMAP', 'AA', 0, 2, 2, KEEP | TO, 4, 4, 'AA..BB'],
  ['joins what it comes to when nothing was touched', 'AA..AA', 0, 2, 2, TO, 6, 6, '....AAAA'],
  ['joins itself when it moves to its own end', 'AAAA', 0, 2, 2, TO, 4, 4, '..AAAA'],
] as const;

describe('mremap of one VMA', () => {
  it.each(ONE_VMA)('%s', (_what, before, from, old, pages, flags, to, result, after) => {
    const world = vmaWorld();
    for (const [letters] of before.matchAll(/([A-Z])\1*/g)) {
      const at = before.indexOf(letters);
      // B is read-only, so that it stays apart from its neighbours.
      map(world, PAGE + at, letters.length, letters.startsWith('B') ? PROT_READ : RW);
    }
    if (before === 'AA..AA') map(world, PAGE + 4, 2);
    expect(remap(world, from, old, pages, flags, to)).toBe(result);
    expect(picture(world)).toBe(after);
    expectCounted(world);
  });

  it('grows elsewhere, at the highest place that is free', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    map(world, PAGE + 2, 1, PROT_READ);
    expect(remap(world, 0, 2, 4, MOVE)).toBe(MMAP_BASE_PAGE - 4 - PAGE);
    expect(ranges(world.mm)).toEqual([
      [PAGE + 2, PAGE + 3],
      [MMAP_BASE_PAGE - 4, MMAP_BASE_PAGE],
    ]);
    expectCounted(world);
  });

  it.each([
    ['keeps its place among huge pages', 512, 1024, 5],
    ['does not where no whole one is in it', 256, 512, MMAP_BASE_PAGE % 512],
    ['does not where it is no multiple of one', 512, 1000, (MMAP_BASE_PAGE - 1000) % 512],
  ])('growing elsewhere, %s', (_what, old, pages, beyond) => {
    const world = vmaWorld();
    map(world, PAGE + 5, old);
    map(world, PAGE + 5 + old, 1, PROT_READ);
    const found = remap(world, 5, old, pages, MOVE);
    expect((Number(found) + PAGE) % 512).toBe(beyond);
  });

  it('with DONTUNMAP alone takes the address as a hint', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    expect(remap(world, 0, 2, 2, KEEP, 9)).toBe(9);
    map(world, PAGE + 20, 2);
    expect(remap(world, 0, 2, 2, KEEP, 20)).toBe(MMAP_BASE_PAGE - 2 - PAGE);
    expectCounted(world);
  });
});

describe('the offsets of what mremap moves', () => {
  it('stay those of the object for shared memory, which is mapped twice for old length 0', () => {
    const world = vmaWorld();
    map(world, PAGE, 4, RW, SHARED);
    const file = world.mm.vmas.lookup(PAGE)?.file;
    expect(remap(world, 1, 0, 2, 0)).toBe('ENOMEM');
    expect(remap(world, 1, 0, 2, TO, 8)).toBe(8);
    const copy = world.mm.vmas.lookup(PAGE + 8);
    expect([copy?.file === file, copy?.pgoff, file?.count]).toEqual([true, 1, 2]);
    expect(remap(world, 8, 2, 2, TO, 12)).toBe(12);
    expect([world.mm.vmas.lookup(PAGE + 12)?.pgoff, file?.count]).toEqual([1, 2]);
    expectCounted(world);
  });

  it('are those of the new place for an untouched private mapping', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    remap(world, 0, 2, 2, TO, 4);
    expect(world.mm.vmas.lookup(PAGE + 4)?.pgoff).toBe(PAGE + 4);
  });

  it('moves a stack with its flag', () => {
    const world = vmaWorld();
    map(world, PAGE + 1000, 2, RW, FIXED | MAP_GROWSDOWN);
    expect(remap(world, 1000, 2, 2, TO, 4)).toBe(4);
    expect([world.mm.stackVm, world.mm.dataVm]).toEqual([2, 0]);
  });
});

describe('mremap of several VMAs', () => {
  it.each([
    ['moves them with their gaps', 'AA.BB', 0, 5, 5, 8, 8, '........AA.BB'],
    ['moves only the parts in the range', 'AAA.BBB', 1, 5, 5, 8, 8, 'A.....B.CC.DD'],
    ['does not begin in a hole', '.AA.BB', 0, 6, 6, 8, 'EFAULT', '.AA.BB'],
    ['may end in one', 'AA.BB', 0, 7, 7, 8, 8, '........AA.BB'],
    ['resizes none', 'AA.BB', 0, 5, 6, 8, 'EFAULT', 'AA.BB'],
    ['shrinks to a part in the first', 'AA.BB', 0, 5, 2, 8, 8, '........AA'],
  ] as const)('%s', (_what, before, from, old, pages, to, result, after) => {
    const world = vmaWorld();
    for (const [letters] of before.matchAll(/([A-Z])\1*/g)) {
      map(world, PAGE + before.indexOf(letters), letters.length, letters.startsWith('B') ? PROT_READ : RW);
    }
    expect(remap(world, from, old, pages, TO, to)).toBe(result);
    expect(picture(world)).toBe(after);
    expectCounted(world);
  });

  it('leaves moved what comes before a sealed VMA', () => {
    const world = vmaWorld();
    map(world, PAGE, 1);
    map(world, PAGE + 2, 1, PROT_READ);
    expect(finish(sysMseal(world.task, BigInt(PAGE + 2) << 12n, 0x1000n, 0n))).toBe(0);
    expect(remap(world, 0, 3, 3, TO, 8)).toBe('EPERM');
    expect(picture(world)).toBe('..A.....B');
  });
});

it.each([
  ['start', 2, 2],
  ['end', 0, 2],
])('a mapping that may not be split at the %s of what moves stays where it is', (_name, from, pages) => {
  const world = vmaWorld();
  map(world, PAGE, 4, RW, SHARED);
  const vma = world.mm.vmas.lookup(PAGE);
  const maySplit = (_vma: VmArea, page: number): number => (page === PAGE + 2 ? -EINVAL : 0);
  pokeVma(vma, (each) => {
    if (each.ops !== null) each.ops = { ...each.ops, maySplit };
  });
  expect(remap(world, from, pages, pages, TO, 8)).toBe('EINVAL');
  expect([picture(world), world.mm.vmas.lookup(PAGE) === vma]).toEqual(['AAAA', true]);
});

describe('limits of mremap', () => {
  it('a sealed VMA neither moves nor changes its length, and none moves over one', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    map(world, PAGE + 8, 2);
    finish(sysMseal(world.task, BigInt(PAGE) << 12n, 0x2000n, 0n));
    expect(remap(world, 0, 2, 1)).toBe('EPERM');
    expect(remap(world, 0, 2, 2, MOVE)).toBe('EPERM');
    expect(remap(world, 8, 1, 1, TO, 1)).toBe('EPERM');
    expect(picture(world)).toBe('AA......BB');
  });

  it('needs room for five more VMAs to move to a given place, for four to be moved by growing', () => {
    const moved = (maxMapCount: number): number | string => {
      const world = vmaWorld({ maxMapCount });
      map(world, PAGE, 4);
      return remap(world, 1, 2, 2, TO, 8);
    };
    expect([moved(6), moved(7)]).toEqual(['ENOMEM', 8]);
    const grown = (maxMapCount: number): boolean => {
      const world = vmaWorld({ maxMapCount });
      map(world, PAGE, 4);
      return typeof remap(world, 1, 2, 3, MOVE) === 'number';
    };
    expect([grown(4), grown(5)]).toEqual([false, true]);
  });

  it('RLIMIT_AS counts what is added, with DONTUNMAP all of it', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    const { task } = world;
    task.rlimits = { ...task.rlimits, addressSpace: { soft: 6 * 4096, hard: 6 * 4096 } };
    expect(remap(world, 0, 4, 7)).toBe('ENOMEM');
    expect(remap(world, 0, 4, 6)).toBe(0);
    expect(remap(world, 0, 1, 1, KEEP | TO, 8)).toBe('ENOMEM');
    expect(remap(world, 0, 2, 2, TO, 8)).toBe(8);
    expectCounted(world);
  });

  it('RLIMIT_MEMLOCK stops a locked mapping from growing', () => {
    const world = vmaWorld({}, [CAP_IPC_LOCK]);
    world.kernel.populate = populatesNothing;
    const { task, mm } = world;
    map(world, PAGE, 2, RW, FIXED | MAP_LOCKED);
    task.rlimits = { ...task.rlimits, memlock: { soft: 3 * 4096, hard: 3 * 4096 } };
    expect(remap(world, 0, 2, 4)).toBe('EAGAIN');
    expect(remap(world, 0, 2, 3)).toBe(0);
    expect(mm.lockedVm).toBe(3);
    expect(remap(world, 0, 3, 3, TO, 8)).toBe(8);
    expect(mm.lockedVm).toBe(3);
  });

  it('with DONTUNMAP the pages left behind stay counted as locked, though they are not', () => {
    const world = vmaWorld();
    world.kernel.populate = populatesNothing;
    map(world, PAGE, 4, RW, FIXED | MAP_LOCKED);
    expect(remap(world, 0, 2, 2, KEEP | TO, 8)).toBe(8);
    expect([...world.mm.vmas].map(({ flags }) => (flags & 0x2000) !== 0)).toEqual([false, true]);
    expect(world.mm.lockedVm).toBe(6);
  });
});
