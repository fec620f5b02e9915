/** MADV_DONTNEED and what it leaves alone. @see Linux mm/madvise.c, `madvise_dontneed_free` */
import { describe, expect, it } from 'vitest';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { VMH_SEALED } from '../../../../src/kernel/mm/vma-flags.ts';
import { pokeVma } from '../poke-vma.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { adviceNamed, advise, bytes, lock, pages, scene } from './support.ts';

const RW = PROT_READ | PROT_WRITE;

describe('MADV_DONTNEED', () => {
  it('throws private pages away, keeps the VMA, and gives the frames back', () => {
    const { world, task } = scene();
    const before = world.kernel.frames.freeFrames;
    world.map(task, 0, 4, RW);
    for (const page of [0, 1, 2]) world.store(task, page, 7);
    expect(advise(world, task, 1, 3, advices.MADV_DONTNEED)).toBe('ok');
    expect(pages(task)).toEqual(['0+1 PX']);
    expect([world.load(task, 0), world.load(task, 1)]).toEqual([7, 0]);
    world.run(task, sysMunmap(task, addressOf(0), bytes(4)));
    expect(world.kernel.frames.freeFrames).toBe(before);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('only unmaps shared memory', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW, MAP_SHARED);
    world.store(task, 0, 7);
    expect(advise(world, task, 0, 2, advices.MADV_DONTNEED)).toBe('ok');
    expect(pages(task)).toEqual([]);
    expect(world.load(task, 0)).toBe(7);
  });

  it.each([
    ['DONTNEED', 'EINVAL'],
    ['FREE', 'EINVAL'],
    ['COLD', 'EINVAL'],
    ['PAGEOUT', 'EINVAL'],
    ['GUARD_INSTALL', 'EINVAL'],
    ['DONTNEED_LOCKED', 'ok'],
    ['GUARD_REMOVE', 'ok'],
    ['WILLNEED', 'ok'],
  ])('MADV_%s of locked memory: %s; what lies before it is done', (name, expected) => {
    const all = scene();
    const { world, task } = all;
    world.map(task, 0, 4, RW);
    for (const page of [0, 1, 2, 3]) world.store(task, page, 7);
    lock(all, 2, 1);
    expect(advise(world, task, 0, 4, adviceNamed(name))).toBe(expected);
    const kept = expected === 'EINVAL' || name !== 'DONTNEED_LOCKED';
    expect(world.page(task, 3) === '-').toBe(!kept);
    if (name === 'DONTNEED') expect([world.page(task, 1), world.page(task, 2)]).toEqual(['-', 'Xwd']);
  });
});

describe('MADV_DONTNEED of unusual memory', () => {
  it.each([
    [PROT_READ, 'EPERM', 'Xd'],
    [RW, 'ok', '-'],
  ])('of sealed memory with rights %i: %s', (prot, expected, left) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    world.run(task, sysMprotect(task, addressOf(0), bytes(1), prot));
    pokeVma(mmOf(task).vmas.lookup(BASE_PAGE), (vma) => {
      vma.flagsHigh |= VMH_SEALED;
    });
    expect(advise(world, task, 0, 1, advices.MADV_DONTNEED)).toBe(expected);
    expect(world.page(task, 0)).toBe(left);
    expect(advise(world, task, 0, 1, advices.MADV_RANDOM)).toBe('ok');
  });

  it.each([true, false])('of a whole table frees the table only with PT_RECLAIM: %s', (ptReclaim) => {
    const { world, task } = scene({ ptReclaim });
    const mm = mmOf(task);
    // Page 8 of the arena begins a table.
    world.map(task, 8, 512, RW);
    world.store(task, 9, 7);
    const tables = mm.pgtablesBytes;
    expect(advise(world, task, 9, 511, advices.MADV_DONTNEED)).toBe('ok');
    expect(mm.pgtablesBytes).toBe(tables);
    world.store(task, 9, 7);
    expect(advise(world, task, 8, 512, advices.MADV_DONTNEED)).toBe('ok');
    expect(mm.pgtablesBytes).toBe(ptReclaim ? tables - 4096 : tables);
    expect(world.store(task, 9, 8)).toBe(null);
    expect(mm.pgtablesBytes).toBe(tables);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('keeps a table that still holds a guard', () => {
    const { world, task } = scene();
    world.map(task, 8, 512, RW);
    world.store(task, 9, 7);
    expect(advise(world, task, 20, 1, advices.MADV_GUARD_INSTALL)).toBe('ok');
    expect(advise(world, task, 8, 512, advices.MADV_DONTNEED)).toBe('ok');
    expect(pages(task)).toEqual(['20+1 SG']);
  });
});
