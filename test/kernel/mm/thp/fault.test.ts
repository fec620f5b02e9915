/** When a fault maps a huge page, and what a write to one does. @see Linux mm/huge_memory.c */
import { describe, expect, it } from 'vitest';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { MADV_DONTNEED, MADV_NOHUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { MAP_PRIVATE } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { PmdKind } from '../../../../src/kernel/mm/page-table.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { advise, bytes, pages } from '../madvise/support.ts';
import { addressOf, mmOf, ProcessWorld } from '../process-world.ts';
import {
  expectNothingLeft,
  expectSound,
  FIRST,
  HUGE,
  hugeFrame,
  hugeScene,
  pmdKindAt,
  RW,
} from './support.ts';

describe('the first touch', () => {
  it('by a write maps a huge page, dirty and exclusive, with one fault', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    const before = task.minFlt;
    expect(world.store(task, FIRST + 300, 7)).toBeNull();
    expect(task.minFlt - before).toBe(1);
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect(mmOf(task).residentPages).toBe(512);
    expect(world.load(task, FIRST + 300)).toBe(7);
    expect(world.load(task, FIRST + 511)).toBe(0);
    expectSound(scene);
    expectNothingLeft(scene);
  });

  it('by a read maps the huge zero page, which counts for nothing; a write then replaces it', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    expect(world.load(task, FIRST + 5)).toBe(0);
    expect(pages(task)).toEqual([`${FIRST}+512 PFZH`]);
    expect(mmOf(task).residentPages).toBe(0);
    expect(mmOf(task).vmas.find(0)?.anonVma).not.toBeNull();
    expect(world.store(task, FIRST + 6, 9)).toBeNull();
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expect(world.load(task, FIRST + 5)).toBe(0);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('the first touch, by policy and extent,', () => {
  it.each([
    ['the VMA does not cover the whole', FIRST + 1, 511, true, 'madvise'],
    ['nobody has asked for huge pages', FIRST, 512, false, 'madvise'],
    ['there are to be none', FIRST, 512, true, 'never'],
  ] as const)('maps a small page when %s', (_, start, count, advised, transparentHugepage) => {
    const world = new ProcessWorld({ memoryBytes: 0x200_0000, kernel: { transparentHugepage } });
    const task = world.process();
    world.map(task, start, count, RW, MAP_PRIVATE);
    if (advised) advise(world, task, start, count, 14);
    world.store(task, start + 5, 1);
    expect(pages(task)).toEqual([`${start + 5}+1 PX`]);
  });

  it('maps a huge page without being asked where the policy is always, but not where it was refused', () => {
    const scene = hugeScene({ count: 2, advised: false, kernel: { transparentHugepage: 'always' } });
    const { world, task } = scene;
    advise(world, task, FIRST + HUGE, HUGE, MADV_NOHUGEPAGE);
    world.store(task, FIRST, 1);
    world.store(task, FIRST + HUGE, 1);
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`, `${FIRST + HUGE}+1 PX`]);
  });

  it('maps a small page while an earlier one has left its table, and a huge one after DONTNEED of all of it', () => {
    const scene = hugeScene({ advised: false });
    const { world, task } = scene;
    world.store(task, FIRST + 1, 1);
    advise(world, task, FIRST, HUGE, 14);
    world.store(task, FIRST + 2, 1);
    expect(pages(task)).toEqual([`${FIRST + 1}+2 PX`]);
    advise(world, task, FIRST, HUGE, MADV_DONTNEED);
    world.store(task, FIRST + 2, 1);
    expect(pages(task)).toEqual([`${FIRST}+512 PXH`]);
    expectSound(scene);
  });

  it('maps small pages when memory is in pieces', () => {
    const scene = hugeScene({ memoryBytes: 0x20_0000 });
    const { world, task } = scene;
    world.store(task, FIRST + 2, 1);
    expect(pages(task)).toEqual([`${FIRST + 2}+1 PX`]);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});

describe('a huge page that fork shares', () => {
  it('is split by the first write, which copies one small page; the other side keeps the rest', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    world.store(task, FIRST, 1);
    const child = world.fork(task);
    expect(pages(task)).toEqual([`${FIRST}+512 PHm2`]);
    expect(world.store(task, FIRST + 7, 2)).toBeNull();
    expect(pages(task)).toEqual([`${FIRST}+7 PHm2`, `${FIRST + 7}+1 PX`, `${FIRST + 8}+504 PHm2`]);
    // The child's pmd still maps all of it, and the pages are asked one by one how often they are mapped.
    expect(pages(child)).toEqual([`${FIRST}+7 PHm2`, `${FIRST + 7}+1 PH`, `${FIRST + 8}+504 PHm2`]);
    expect([world.load(child, FIRST + 7), world.load(task, FIRST + 7)]).toEqual([0, 2]);
    expectSound(scene);
    expectNothingLeft(scene, child);
  });

  it('is written by whoever is left, without a copy', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    world.store(task, FIRST, 1);
    const head = hugeFrame(scene, FIRST);
    const child = world.fork(task);
    world.run(child, doExit(child, 0));
    expect(world.kernel.frames.hasFlag(head, FrameFlag.AnonExclusive)).toBe(false);
    expect(world.store(task, FIRST + 9, 3)).toBeNull();
    expect(hugeFrame(scene, FIRST)).toBe(head);
    expect(world.kernel.frames.hasFlag(head, FrameFlag.AnonExclusive)).toBe(true);
    expectSound(scene);
  });
});

describe('a folio that two processes had', () => {
  it('mapped by ptes is reused when all its mappings are this mm’s, copied when only one page is left', () => {
    const scene = hugeScene();
    const { world, task } = scene;
    world.store(task, FIRST, 1);
    const head = hugeFrame(scene, FIRST);
    const child = world.fork(task);
    world.store(child, FIRST + 1, 1);
    world.run(task, sysMprotect(task, addressOf(FIRST), bytes(1), 1));
    expect(pmdKindAt(scene, FIRST)).toBe(PmdKind.Table);
    world.run(child, doExit(child, 0));
    world.store(task, FIRST + 4, 1);
    expect(world.pte(task, FIRST + 4).frame).toBe(head + 4);
    const { frames } = world.kernel;
    expect(frames.deferredSplit.size).toBe(0);
    world.run(task, sysMunmap(task, addressOf(FIRST), bytes(4)));
    expect([...frames.deferredSplit]).toEqual([head]);
    expectSound(scene);
    const second = world.fork(task, 'second');
    world.run(second, doExit(second, 0));
    world.run(task, sysMunmap(task, addressOf(FIRST + 5), bytes(507)));
    world.store(task, FIRST + 4, 2);
    expect(world.pte(task, FIRST + 4).frame).not.toBe(head + 4);
    expectSound(scene);
    expectNothingLeft(scene);
  });
});
