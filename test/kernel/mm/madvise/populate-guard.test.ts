/** MADV_POPULATE_* and guards. @see Linux mm/madvise.c, `madvise_populate`, `madvise_guard_install` */
import { describe, expect, it } from 'vitest';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import {
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { SEGV_MAPERR, SIGSEGV } from '../../../../src/kernel/signal.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { adviceNamed, advise, bytes, pages, scene, vmas } from './support.ts';

const RW = PROT_READ | PROT_WRITE;

describe('MADV_POPULATE_', () => {
  it.each([
    ['READ', RW, '0+3 PZ'],
    ['WRITE', RW, '0+3 PX'],
  ])('%s fills the range', (name, prot, expected) => {
    const { world, task } = scene();
    world.map(task, 0, 4, prot);
    expect(advise(world, task, 0, 3, adviceNamed(`POPULATE_${name}`))).toBe('ok');
    expect(pages(task)).toEqual([expected]);
    expect(task.minFlt).toBe(3);
  });

  it.each([
    ['READ', PROT_NONE, 'EINVAL'],
    ['READ', PROT_WRITE, 'EINVAL'],
    ['READ', PROT_EXEC, 'EINVAL'],
    ['WRITE', PROT_READ, 'EINVAL'],
    ['WRITE', PROT_NONE, 'EINVAL'],
  ])('%s of memory with rights %i: %s, and what lies before it is filled', (name, prot, expected) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.map(task, 1, 1, prot);
    expect(advise(world, task, 0, 2, adviceNamed(`POPULATE_${name}`))).toBe(expected);
    expect(pages(task)).toHaveLength(1);
  });

  it('READ stops at a hole, unlike the other advices', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.map(task, 2, 1, RW);
    expect(advise(world, task, 0, 3, advices.MADV_POPULATE_READ)).toBe('ENOMEM');
    expect(pages(task)).toEqual(['0+1 PZ']);
  });

  it('READ does not grow a stack', () => {
    const { world, task } = scene();
    world.map(task, 4, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    expect(advise(world, task, 3, 2, advices.MADV_POPULATE_READ)).toBe('ENOMEM');
    expect(vmas(task)).toEqual(['4-5 rw-p gd']);
  });

  it.each(['READ', 'WRITE'])('%s of a guard or behind the end of a file: EFAULT', (name) => {
    const { world, task } = scene();
    world.map(task, 0, 2, RW);
    advise(world, task, 1, 1, advices.MADV_GUARD_INSTALL);
    expect(advise(world, task, 0, 2, adviceNamed(`POPULATE_${name}`))).toBe('EFAULT');
  });
});

describe('guards', () => {
  const fault = { signal: SIGSEGV, code: SEGV_MAPERR };

  it.each([MAP_PRIVATE, MAP_SHARED])('replace pages, and every access faults (mapping %i)', (flags) => {
    const { world, task } = scene();
    world.map(task, 0, 4, RW, flags);
    for (const page of [0, 1, 2]) world.store(task, page, 7);
    expect(advise(world, task, 1, 2, advices.MADV_GUARD_INSTALL)).toBe('ok');
    expect(pages(task).slice(1)).toEqual(['1+2 SG']);
    expect(world.load(task, 1)).toMatchObject(fault);
    expect(world.store(task, 2, 1)).toMatchObject(fault);
    expect(world.load(task, 0)).toBe(7);
    // MADV_DONTNEED and mprotect leave them.
    expect(advise(world, task, 0, 4, advices.MADV_DONTNEED)).toBe('ok');
    world.run(task, sysMprotect(task, addressOf(0), bytes(4), PROT_READ));
    expect(world.load(task, 1)).toMatchObject(fault);
    expect(advise(world, task, 0, 4, advices.MADV_GUARD_REMOVE)).toBe('ok');
    expect(world.load(task, 1)).toBe(flags === MAP_SHARED ? 7 : 0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    [true, '0-2 rw-p gu'],
    [false, '0-2 rw-p'],
  ])('mark their VMA where the kernel has a flag for it: %s', (maybeGuardFlag, expected) => {
    const { world, task } = scene({ maybeGuardFlag });
    world.map(task, 0, 2, RW);
    advise(world, task, 1, 1, advices.MADV_GUARD_INSTALL);
    advise(world, task, 1, 1, advices.MADV_GUARD_REMOVE);
    expect(vmas(task)).toEqual([expected]);
    expect(mmOf(task).vmas.lookup(BASE_PAGE)?.anonVma).not.toBe(null);
  });

  it.each([
    [true, false],
    [false, true],
  ])('of a file give its VMA an anon_vma only without that flag (%s)', (maybeGuardFlag, has) => {
    const { world, task } = scene({ maybeGuardFlag });
    world.map(task, 0, 2, RW, MAP_SHARED);
    advise(world, task, 1, 1, advices.MADV_GUARD_INSTALL);
    expect(mmOf(task).vmas.lookup(BASE_PAGE)?.anonVma !== null).toBe(has);
    const child = world.fork(task);
    expect(world.load(child, 1)).toMatchObject(fault);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('are installed over holes as far as something is mapped', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.map(task, 2, 1, RW);
    expect(advise(world, task, 0, 4, advices.MADV_GUARD_INSTALL)).toBe('ENOMEM');
    expect(pages(task)).toEqual(['0+1 SG', '2+1 SG']);
  });
});
