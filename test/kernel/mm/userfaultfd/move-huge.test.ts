/** UFFDIO_MOVE out of a huge page: it is split, and its pages move one by one. @see Linux mm/userfaultfd.c, `move_pages_ptes` */
import { describe, expect, it } from 'vitest';
import { EBUSY } from '../../../../src/kernel/errno.ts';
import { MADV_HUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { userfaultfdMove } from '../../../../src/kernel/mm/userfaultfd/move.ts';
import { advise, pages } from '../madvise/support.ts';
import { addressOf } from '../process-world.ts';
import { pin } from '../thp/split-support.ts';
import { FIRST, HUGE } from '../thp/support.ts';
import { bytesOf, MISSING, RW, UffdWorld } from './uffd-world.ts';

/** Pages 0…7 watched, above them a huge page of which pages 3 to 5 are written. */
function moving(): UffdWorld {
  const world = new UffdWorld({ memoryBytes: 0x200_0000, kernel: { perVmaLocks: true, lockdep: true } });
  const { owner } = world;
  world.map(owner, 0, 4, RW);
  world.register(0, 4, MISSING);
  world.map(owner, FIRST, HUGE, RW);
  advise(world, owner, FIRST, HUGE, MADV_HUGEPAGE);
  for (const page of [3, 4, 5]) world.store(owner, FIRST + page, page);
  expect(pages(owner)).toEqual([`${FIRST}+512 PXH`]);
  return world;
}

const move = (world: UffdWorld, source: number): number =>
  world.run(
    world.owner,
    userfaultfdMove(world.owner, world.uffd, addressOf(0), addressOf(source), bytesOf(2), 0n),
  ).error;

describe('moving pages of a huge page', () => {
  it('splits it; the moved pages keep their frames', () => {
    const world = moving();
    const { owner, kernel } = world;
    expect(move(world, FIRST + 3)).toBe(0);
    expect([0, 1].map((page) => world.load(owner, page))).toEqual([3, 4]);
    expect(world.load(owner, FIRST + 5)).toBe(5);
    expect(world.pte(owner, 1).frame - world.pte(owner, 0).frame).toBe(1);
    expect(kernel.frames.isLarge(world.pte(owner, FIRST + 5).frame)).toBe(false);
    world.expectConsistent();
  });

  it('is refused while a page of it is pinned, or while a child has it too', () => {
    const world = moving();
    pin({ world, task: world.owner, freeAtStart: 0 }, FIRST + 9);
    expect(move(world, FIRST + 3)).toBe(-EBUSY);
    const shared = moving();
    shared.fork(shared.owner);
    expect(move(shared, FIRST + 3)).toBe(-EBUSY);
    expect(shared.load(shared.owner, FIRST + 3)).toBe(3);
    shared.expectConsistent();
  });
});
