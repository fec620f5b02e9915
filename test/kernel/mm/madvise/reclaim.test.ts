/** MADV_FREE, MADV_PAGEOUT, MADV_WILLNEED and MADV_REMOVE. @see Linux mm/madvise.c */
import { describe, expect, it } from 'vitest';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { LruList } from '../../../../src/kernel/frame/lru-lists.ts';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { mlockFolio } from '../../../../src/kernel/mm/reclaim/lru.ts';
import { BASE_PAGE, mmOf } from '../process-world.ts';
import { adviceNamed, advise, lock, pages, scene } from './support.ts';

const RW = PROT_READ | PROT_WRITE;

describe('MADV_FREE', () => {
  it('makes the pages clean, old and reclaimable; they keep their data until then', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW);
    world.store(task, 0, 7);
    expect(advise(world, task, 0, 2, advices.MADV_FREE)).toBe('ok');
    expect(world.page(task, 0)).toBe('Xw');
    const { frame } = world.pte(task, 0);
    expect(world.kernel.frames.hasFlag(frame, FrameFlag.SwapBacked)).toBe(false);
    expect(world.load(task, 0)).toBe(7);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['is dropped by MADV_PAGEOUT', false, '-', 0],
    ['stays when it was written to again', true, 'Xwd', 9],
  ])('memory %s', (_what, writes, left, value) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    advise(world, task, 0, 1, advices.MADV_FREE);
    if (writes) world.store(task, 0, 9);
    expect(advise(world, task, 0, 1, advices.MADV_PAGEOUT)).toBe('ok');
    expect(world.page(task, 0)).toBe(left);
    expect(world.load(task, 0)).toBe(value);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is for anonymous memory only', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW, MAP_SHARED);
    expect(advise(world, task, 0, 1, advices.MADV_FREE)).toBe('EINVAL');
  });
});

describe('MADV_PAGEOUT', () => {
  it('leaves anonymous pages where there is no swap, and puts them into swap where there is', () => {
    for (const [swapPages, left] of [
      [0, 'Xwd'],
      [16, 'Sx'],
    ] as const) {
      const { world, task } = scene({ swapPages });
      world.map(task, 0, 1, RW);
      world.store(task, 0, 7);
      expect(advise(world, task, 0, 1, advices.MADV_PAGEOUT)).toBe('ok');
      expect(world.page(task, 0)).toBe(left);
      expect(world.load(task, 0)).toBe(7);
      expect(world.inconsistencies()).toEqual([]);
    }
  });

  it('unmaps a shared page that was written and drops one that was only read', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW, MAP_SHARED);
    world.store(task, 0, 7);
    world.load(task, 1);
    const mapping = mmOf(task).vmas.lookup(BASE_PAGE)?.file?.mapping;
    expect(advise(world, task, 0, 2, advices.MADV_PAGEOUT)).toBe('ok');
    expect(pages(task)).toEqual([]);
    expect(mapping?.indexes()).toEqual([0]);
    expect(world.load(task, 0)).toBe(7);
  });

  it.each(['COLD', 'PAGEOUT'])('MADV_%s forgets that a page was used', (name) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    const { frames } = world.kernel;
    const { frame } = world.pte(task, 0);
    frames.setFlags(frame, FrameFlag.Referenced);
    expect(advise(world, task, 0, 1, adviceNamed(name))).toBe('ok');
    expect(frames.hasFlag(frame, FrameFlag.Referenced)).toBe(false);
    expect(world.load(task, 0)).toBe(7);
  });

  it('leaves a page alone that is locked elsewhere', () => {
    const { world, task } = scene({ swapPages: 16 });
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    const { frames } = world.kernel;
    const { frame } = world.pte(task, 0);
    mlockFolio(frames, frame);
    const [before, references] = [world.page(task, 0), frames.refcount(frame)];
    expect(advise(world, task, 0, 1, advices.MADV_PAGEOUT)).toBe('ok');
    expect([world.page(task, 0), frames.refcount(frame)]).toEqual([before, references]);
    expect(frames.lru.listOf(frame)).toBe(LruList.Unevictable);
  });

  it('leaves pages alone that another process maps too', () => {
    const { world, task } = scene({ swapPages: 16 });
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    world.fork(task);
    expect(advise(world, task, 0, 1, advices.MADV_PAGEOUT)).toBe('ok');
    expect(pages(task)).toEqual(['0+1 Pm2']);
  });
});

it('MADV_WILLNEED brings pages back from swap without mapping them', () => {
  const { world, task } = scene({ swapPages: 16 });
  world.map(task, 0, 2, RW);
  world.store(task, 0, 7);
  advise(world, task, 0, 1, advices.MADV_PAGEOUT);
  const slot = world.swapSlot(task, 0);
  expect(world.kernel.swap?.frameOf(slot)).toBe(-1);
  expect(advise(world, task, 0, 2, advices.MADV_WILLNEED)).toBe('ok');
  expect(world.kernel.swap?.frameOf(slot)).not.toBe(-1);
  expect(world.page(task, 0)).toBe('Sx');
  const { majFlt } = task;
  expect(world.load(task, 0)).toBe(7);
  expect(task.majFlt).toBe(majFlt);
  expect(world.inconsistencies()).toEqual([]);
});

describe('MADV_REMOVE', () => {
  it.each([
    ['private anonymous memory', MAP_PRIVATE, false, 'EINVAL'],
    ['shared memory', MAP_SHARED, false, 'ok'],
    ['locked shared memory', MAP_SHARED, true, 'EINVAL'],
  ])('of %s', (_what, flags, locked, expected) => {
    const all = scene();
    const { world, task } = all;
    world.map(task, 0, 2, RW, flags);
    world.store(task, 0, 7);
    world.store(task, 1, 8);
    if (locked) lock(all, 0, 2);
    expect(advise(world, task, 0, 1, advices.MADV_REMOVE)).toBe(expected);
    expect([world.load(task, 0), world.load(task, 1)]).toEqual([expected === 'ok' ? 0 : 7, 8]);
    expect(mmOf(task).mmapLock.isLocked()).toBe(false);
    expect(world.inconsistencies()).toEqual([]);
  });
});
