/** Broken memory. @see Linux mm/memory-failure.c, mm/madvise.c `madvise_inject_error` */
import { describe, expect, it } from 'vitest';
import {
  MADV_DONTNEED,
  MADV_FREE,
  MADV_HWPOISON,
  MADV_POPULATE_READ,
} from '../../../src/kernel/mm/madvise/advice.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { pmdIndex, pmdTableOf } from '../../../src/kernel/mm/thp/huge-pmd.ts';
import { CAP_SYS_ADMIN, rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { BUS_MCEERR_AR, SIGBUS } from '../../../src/kernel/signal.ts';
import { advise, bytes, pages, scene } from './madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const BROKEN = { signal: SIGBUS, code: BUS_MCEERR_AR, addressLsb: 12 };

describe('MADV_HWPOISON', () => {
  it('of anonymous memory: SIGBUS for who used it, and for every access', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW);
    world.store(task, 0, 7);
    expect(advise(world, task, 0, 1, MADV_HWPOISON)).toBe('ok');
    expect(task.pendingSignals).toEqual([{ ...BROKEN, address: addressOf(0) }]);
    expect(pages(task)).toEqual(['0+1 S']);
    expect(world.load(task, 0)).toMatchObject({ ...BROKEN, address: addressOf(0) });
    expect(world.store(task, 0, 1)).toMatchObject(BROKEN);
    expect(world.store(task, 1, 1)).toBe(null);
    // Looked at again: the page cannot be got.
    expect(advise(world, task, 0, 1, MADV_HWPOISON)).toBe('EFAULT');
    expect(advise(world, task, 0, 2, MADV_POPULATE_READ)).toBe('EHWPOISON');
  });

  it.each([
    ['MADV_DONTNEED', MADV_DONTNEED],
    ['MADV_FREE', MADV_FREE],
  ])('is forgotten by %s, and the frame is never handed out again', (_name, advice) => {
    const { world, task } = scene();
    const free = world.kernel.frames.freeFrames;
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    const { frame } = world.pte(task, 0);
    advise(world, task, 0, 1, MADV_HWPOISON);
    expect(advise(world, task, 0, 1, advice)).toBe('ok');
    expect(world.load(task, 0)).toBe(0);
    world.run(task, sysMunmap(task, addressOf(0), bytes(1)));
    expect(world.kernel.frames.refcount(frame)).toBe(1);
    expect(world.kernel.frames.freeFrames).toBe(free - 1);
  });

  it('takes a shared page from everybody who maps it, and later from who maps its file', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW, MAP_SHARED);
    world.store(task, 0, 7);
    const child = world.fork(task);
    expect(world.load(child, 0)).toBe(7);
    expect(advise(world, task, 0, 1, MADV_HWPOISON)).toBe('ok');
    expect([pages(task), pages(child)]).toEqual([['0+1 S'], ['0+1 S']]);
    expect(child.pendingSignals).toEqual([]);
    advise(world, task, 0, 1, MADV_DONTNEED);
    expect(world.load(task, 0)).toMatchObject(BROKEN);
    expect(world.store(child, 0, 1)).toMatchObject(BROKEN);
  });
});

describe('broken memory', () => {
  it('goes through fork and mprotect', () => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW, MAP_PRIVATE);
    world.store(task, 0, 7);
    world.store(task, 1, 8);
    advise(world, task, 0, 1, MADV_HWPOISON);
    const child = world.fork(task);
    expect([world.load(child, 0), world.load(child, 1)]).toMatchObject([BROKEN, 8]);
    expect(world.run(task, sysMprotect(task, addressOf(0), bytes(2), PROT_READ))).toBe(0);
    expect(world.load(task, 0)).toMatchObject(BROKEN);
  });

  it.each([
    ['the zero page', 'EBUSY'],
    ['a hole', 'EFAULT'],
    ['memory, without CAP_SYS_ADMIN', 'EPERM'],
  ])('MADV_HWPOISON of %s: %s', (what, expected) => {
    const { world, task } = scene();
    if (what !== 'a hole') world.map(task, 0, 1, RW);
    if (expected === 'EPERM') task.credentials = rootCredentials([CAP_SYS_ADMIN]);
    expect(advise(world, task, 0, 1, MADV_HWPOISON)).toBe(expected);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a page that nobody wrote breaks without a signal', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW, MAP_SHARED);
    world.load(task, 0);
    expect(advise(world, task, 0, 1, MADV_HWPOISON)).toBe('ok');
    expect(task.pendingSignals).toEqual([]);
    expect(world.load(task, 0)).toMatchObject(BROKEN);
  });
});

describe('MADV_HWPOISON in a transparent huge page', () => {
  const huge = () => {
    const all = scene({ transparentHugepage: 'always', lockdep: true });
    all.world.map(all.task, 8, 512, RW);
    for (const page of [8, 9, 10]) all.world.store(all.task, page, page);
    return all;
  };

  it('splits it, and takes one page', () => {
    const { world, task } = huge();
    expect(advise(world, task, 9, 1, MADV_HWPOISON)).toBe('ok');
    expect(task.pendingSignals).toEqual([{ ...BROKEN, address: addressOf(9) }]);
    expect([world.load(task, 8), world.load(task, 9), world.load(task, 10)]).toMatchObject([8, BROKEN, 10]);
    expect(world.load(task, 300)).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
    expect(world.kernel.lockdep?.reports).toEqual([]);
  });

  it('names one page of it: the range goes on behind it, by its length', () => {
    const { world, task } = huge();
    expect(advise(world, task, 9, 512, MADV_HWPOISON)).toBe('ok');
    expect(pages(task).filter((run) => run.endsWith(' S'))).toEqual(['9+1 S']);
  });

  it('that somebody holds on to: EHWPOISON and a signal, and the page stays mapped', () => {
    const { world, task } = huge();
    const { frames, pageTables } = world.kernel;
    const table = pmdTableOf(mmOf(task), BASE_PAGE + 8);
    if (table === null) throw new Error('no table');
    pageTables.read(table, pmdIndex(pageTables, BASE_PAGE + 8));
    const head = pageTables.frame(table.level);
    frames.get(head);
    expect(advise(world, task, 9, 1, MADV_HWPOISON)).toBe('EHWPOISON');
    expect(task.pendingSignals).toEqual([{ ...BROKEN, addressLsb: 21, address: addressOf(9) }]);
    expect([world.load(task, 8), world.load(task, 9), world.load(task, 10)]).toEqual([8, 9, 10]);
    frames.put(head);
    expect(world.inconsistencies()).toEqual([]);
  });
});
