/** Huge pages when memory is short, and when their owner gives them up. @see Linux mm/vmscan.c, mm/madvise.c */
import { describe, expect, it } from 'vitest';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_PAGEOUT,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { deferredSplitScan } from '../../../../src/kernel/mm/thp/deferred-split.ts';
import { advise, bytes, pages } from '../madvise/support.ts';
import { addressOf, mmOf } from '../process-world.ts';
import { expectFilled, filled, pin } from './split-support.ts';
import { expectNothingLeft, expectSound, FIRST, HUGE, type HugeScene, hugeScene } from './support.ts';

const SWAP = { swapPages: 2048 };

/** A VMA of huge pages with a byte in every page, on a machine that is to make do with `limit` frames. */
function crowded(count: number, limit: number, swapPages: number): HugeScene {
  return hugeScene({ count, memoryBytes: 0x800_0000, kernel: { swapPages, frameLimit: limit } });
}

describe('MADV_PAGEOUT of a huge page', () => {
  it('as a whole splits it and swaps every page out', () => {
    const scene = filled({ kernel: SWAP });
    const { world, task } = scene;
    const free = world.kernel.frames.freeFrames;
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 S`]);
    expect(world.kernel.frames.freeFrames - free).toBe(HUGE);
    expect(mmOf(task).residentPages).toBe(0);
    expectFilled(scene, task);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('of a part swaps only that', () => {
    const scene = filled({ kernel: SWAP });
    const { world, task } = scene;
    expect(advise(world, task, FIRST + 4, 4, MADV_PAGEOUT)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+4 PX`, `${FIRST + 4}+4 S`, `${FIRST + 8}+504 PX`]);
    expectFilled(scene, task);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('does nothing without swap, while it is pinned, or while a child has it too', () => {
    const bare = filled();
    expect(advise(bare.world, bare.task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect(pages(bare.task)).toEqual([`${FIRST}+512 PXH`]);
    const scene = filled({ kernel: SWAP });
    const { world, task } = scene;
    const pinned = pin(scene, FIRST + 5);
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect(advise(world, task, FIRST + 4, 4, MADV_PAGEOUT)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    world.run(task, unpinUserPages(task, pinned, 1));
    const child = world.fork(task);
    expect(advise(world, task, FIRST, HUGE, MADV_PAGEOUT)).toBe('ok');
    expect(pages(task)[0]).toMatch(/H/);
    expectSound(scene);
    expectNothingLeft(scene, child);
  });
});

describe('advice about a part', () => {
  it.each([
    ['MADV_FREE', MADV_FREE],
    ['MADV_COLD', MADV_COLD],
  ])('%s splits first, and the rest stays as it was', (_, advice) => {
    const scene = filled({ kernel: SWAP });
    const { world, task } = scene;
    expect(advise(world, task, FIRST + 16, 16, advice)).toBe('ok');
    expect(pages(task)).toEqual([`${FIRST}+512 PX`]);
    const { frames } = world.kernel;
    const young = [15, 16, 31, 32].map((page) => world.pte(task, FIRST + page).frame);
    expect(young.map((frame) => frames.isLarge(frame))).toEqual([false, false, false, false]);
    expect([15, 16, 31, 32].map((page) => world.page(task, FIRST + page))).toEqual(
      advice === MADV_FREE ? ['Xwd', 'Xw', 'Xw', 'Xwd'] : ['Xwd', 'Xwd', 'Xwd', 'Xwd'],
    );
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it.each([
    ['MADV_FREE', MADV_FREE, false],
    ['MADV_COLD', MADV_COLD, false],
    ['MADV_PAGEOUT', MADV_PAGEOUT, false],
    ['MADV_PAGEOUT', MADV_PAGEOUT, true],
  ])(
    '%s of a huge page in ptes takes all of it together if it covers all (of a part: %s)',
    (_, advice, part) => {
      const scene = filled({ kernel: SWAP });
      const { world, task } = scene;
      // Two VMAs, then one again: ptes of one large folio.
      world.run(task, sysMprotect(task, addressOf(FIRST + 16), bytes(16), PROT_READ));
      world.run(task, sysMprotect(task, addressOf(FIRST + 16), bytes(16), 3));
      expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
      expect(advise(world, task, FIRST, part ? 100 : HUGE, advice)).toBe('ok');
      const left = part ? [`${FIRST}+100 S`, `${FIRST + 100}+412 PX`] : [`${FIRST}+512 S`];
      expect(pages(task)).toEqual(advice === MADV_PAGEOUT ? left : [`${FIRST}+512 PXH`]);
      expectSound(scene);
      expectNothingLeft(scene);
    },
  );
});

describe('memory that is short', () => {
  it('is found in huge pages of which most is gone: DONTNEED of 511 of 512 gives them back', () => {
    const scene = crowded(8, 6 * HUGE + 200, 0);
    const { world, task } = scene;
    for (let huge = 0; huge < 5; huge++) {
      world.store(task, FIRST + huge * HUGE, 1 + huge);
      advise(world, task, FIRST + huge * HUGE + 1, HUGE - 1, MADV_DONTNEED);
    }
    const { frames } = world.kernel;
    expect(frames.deferredSplit.size).toBe(5);
    const before = frames.freeFrames;
    for (let page = 0; page < 2 * HUGE; page++) {
      expect(world.store(task, FIRST + 5 * HUGE + page, 7)).toBeNull();
    }
    expect(frames.deferredSplit.size).toBe(0);
    expect(frames.freeFrames).toBeGreaterThan(before - 2 * HUGE);
    for (let huge = 0; huge < 5; huge++) expect(world.load(task, FIRST + huge * HUGE)).toBe(1 + huge);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('is found by swapping huge pages, split', () => {
    const scene = crowded(6, 3 * HUGE, 4096);
    const { world, task } = scene;
    const at = [0, 1, 100, 511];
    for (let huge = 0; huge < 6; huge++) {
      for (const page of at) expect(world.store(task, FIRST + huge * HUGE + page, 1 + huge)).toBeNull();
    }
    for (let huge = 0; huge < 6; huge++) {
      for (const page of at) expect(world.load(task, FIRST + huge * HUGE + page)).toBe(1 + huge);
    }
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('leaves a huge page alone whose rest is pinned, and keeps it in mind', () => {
    const scene = filled();
    const { world, task } = scene;
    const pinned = pin(scene, FIRST);
    advise(world, task, FIRST + 1, HUGE - 1, MADV_DONTNEED);
    expect(world.run(task, deferredSplitScan(task))).toBe(0);
    expect(world.kernel.frames.deferredSplit.size).toBe(1);
    world.run(task, unpinUserPages(task, pinned, 1));
    expect(world.run(task, deferredSplitScan(task))).toBe(HUGE - 1);
    expect(pages(task)).toEqual([`${FIRST}+1 PX`]);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});
