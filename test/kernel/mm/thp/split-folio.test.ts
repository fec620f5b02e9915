/** A large folio becomes folios of one page each. @see Linux mm/huge_memory.c, `__folio_split` */
import { describe, expect, it } from 'vitest';
import { EAGAIN, EBUSY, EINVAL } from '../../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { LruList } from '../../../../src/kernel/frame/lru-lists.ts';
import { unpinUserPages } from '../../../../src/kernel/gup/pin.ts';
import { folioLock, folioUnlock } from '../../../../src/kernel/mm/fault/folio-lock.ts';
import { MADV_DONTNEED, MADV_NOHUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import { splitFolio } from '../../../../src/kernel/mm/thp/split-folio.ts';
import { advise, bytes, pages } from '../madvise/support.ts';
import { addressOf, mmOf } from '../process-world.ts';
import { expectFilled, filled, pin, splitHuge } from './split-support.ts';
import { expectNothingLeft, expectSound, FIRST, HUGE, hugeFrame, hugeScene, RW } from './support.ts';

describe('a split', () => {
  it('leaves every page where it was, as a folio of its own, exclusive, writable and dirty', () => {
    const scene = filled();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    expect(splitHuge(scene)).toBe(0);
    expect(pages(task)).toEqual([`${FIRST}+512 PX`]);
    expect(mmOf(task).residentPages).toBe(HUGE);
    for (const page of [0, 1, 300, 511]) {
      expect(world.pte(task, FIRST + page).frame).toBe(head + page);
      expect(world.page(task, FIRST + page)).toBe('Xwd');
      expect(world.kernel.frames.order(head + page)).toBe(0);
    }
    expectFilled(scene, task);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('keeps the pages at their place on the lists of reclaim, the later ones before the first', () => {
    const scene = filled({ count: 2 });
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    world.store(task, FIRST + HUGE, 1);
    const next = hugeFrame(scene, FIRST + HUGE);
    expect(splitHuge(scene)).toBe(0);
    const { lru } = world.kernel.frames;
    const order = lru.folios(LruList.InactiveAnon);
    expect(order.slice(0, 2)).toEqual([head, head + HUGE - 1]);
    expect(order.slice(-2)).toEqual([head + 1, next]);
    expect(lru.pages(LruList.InactiveAnon)).toBe(2 * HUGE);
    expectSound(scene);
  });

  it('gives pages of zeros to the zero page, but not where pages have memory tags', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    world.store(task, FIRST + 7, 1);
    const free = world.kernel.frames.freeFrames;
    expect(splitHuge(scene)).toBe(0);
    const tagged = world.kernel.pageTags !== null;
    expect(pages(task)).toEqual(
      tagged ? [`${FIRST}+512 PX`] : [`${FIRST}+7 PZ`, `${FIRST + 7}+1 PX`, `${FIRST + 8}+504 PZ`],
    );
    expect(world.kernel.frames.freeFrames - free).toBe(tagged ? 0 : HUGE - 1);
    expect(mmOf(task).residentPages).toBe(tagged ? HUGE : 1);
    world.store(task, FIRST + 8, 2);
    expect([7, 8, 9].map((page) => world.load(task, FIRST + page))).toEqual([1, 2, 0]);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('what a split keeps', () => {
  it('of a page that parent and child share brings back the ptes of both, read-only', () => {
    const scene = filled();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const child = world.fork(task);
    expect(splitHuge(scene, head)).toBe(0);
    for (const each of [task, child]) {
      expect(pages(each)).toEqual([`${FIRST}+512 Pm2`]);
      expect(world.page(each, FIRST + 300)).toMatch(/^Ad?2$/);
      expectFilled(scene, each);
    }
    world.store(child, FIRST + 300, 99);
    expect(world.load(task, FIRST + 300)).toBe(1 + (300 % 251));
    expectSound(scene);
    expectNothingLeft(scene, child);
  });

  it.each([
    ['a page that is not the first', 300],
    ['the last page', 511],
  ])('asked for %s leaves that one locked and referenced', (_, page) => {
    const scene = filled();
    const { world, task } = scene;
    const { frames } = world.kernel;
    const frame = hugeFrame(scene, FIRST) + page;
    frames.get(frame);
    world.run(task, folioLock(task, frame));
    expect(world.run(task, splitFolio(task, frame))).toBe(0);
    expect(frames.hasFlag(frame, FrameFlag.Locked)).toBe(true);
    expect(frames.hasFlag(frame - 1, FrameFlag.Locked)).toBe(false);
    expect([frames.refcount(frame), frames.refcount(frame - 1)]).toEqual([2, 1]);
    world.run(task, folioUnlock(task, frame));
    frames.put(frame);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('keeps what each pte could do: read-only parts, write protection, and what is not there', () => {
    const scene = filled();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    world.run(task, sysMprotect(task, addressOf(FIRST + 16), bytes(16), PROT_READ));
    advise(world, task, FIRST + 100, 10, MADV_DONTNEED);
    expect(world.kernel.frames.deferredSplit.has(head)).toBe(true);
    const free = world.kernel.frames.freeFrames;
    expect(splitHuge(scene, head)).toBe(0);
    expect(world.kernel.frames.freeFrames - free).toBe(10);
    expect(world.kernel.frames.deferredSplit.size).toBe(0);
    expect(pages(task)).toEqual([`${FIRST}+100 PX`, `${FIRST + 110}+402 PX`]);
    expect([15, 16, 31, 32].map((page) => world.page(task, FIRST + page))).toEqual([
      'Xwd',
      'Xd',
      'Xd',
      'Xwd',
    ]);
    world.run(task, sysMprotect(task, addressOf(FIRST + 16), bytes(16), RW));
    expect(world.store(task, FIRST + 16, 5)).toBeNull();
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('a split of a page that is elsewhere', () => {
  it('finds a page wherever mremap has moved it', () => {
    const scene = filled();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const target = addressOf(FIRST + 3 * HUGE + 5);
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    world.run(task, sysMremap(task, addressOf(FIRST + 256), bytes(256), bytes(256), flags, target));
    expect(splitHuge(scene, head)).toBe(0);
    expect(pages(task)).toEqual([`${FIRST}+256 PX`, `${FIRST + 3 * HUGE + 5}+256 PX`]);
    expect(world.load(task, FIRST + 3 * HUGE + 5 + 44)).toBe(1 + (300 % 251));
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('a split that cannot be', () => {
  it('gives EAGAIN while a page is pinned, whole or in ptes, and everything stays as it was', () => {
    const scene = filled();
    const { world, task } = scene;
    const head = hugeFrame(scene, FIRST);
    const pinned = pin(scene, FIRST + 300);
    expect(splitHuge(scene, head)).toBe(-EAGAIN);
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect(hugeFrame(scene, FIRST)).toBe(head);
    expectFilled(scene, task);
    world.run(task, unpinUserPages(task, pinned, 1));
    expect(splitHuge(scene, head)).toBe(0);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('gives EINVAL for a small page, EBUSY for one that nobody maps', () => {
    const scene = filled();
    const { world, task } = scene;
    const { frames } = world.kernel;
    const head = hugeFrame(scene, FIRST);
    frames.get(head);
    advise(world, task, FIRST, HUGE, MADV_DONTNEED);
    expect(splitHuge(scene, head)).toBe(-EBUSY);
    frames.put(head);
    advise(world, task, FIRST, HUGE, MADV_NOHUGEPAGE);
    world.store(task, FIRST, 1);
    expect(splitHuge(scene, world.pte(task, FIRST).frame)).toBe(-EINVAL);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});
