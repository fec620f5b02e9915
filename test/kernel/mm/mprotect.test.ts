/** @see Linux mm/mprotect.c, `do_mprotect_pkey`, `mprotect_fixup` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { attachNewAnonVma } from '../../../src/kernel/mm/anon-vma.ts';
import {
  MAP_GROWSDOWN,
  MAP_NORESERVE,
  PROT_EXEC,
  PROT_GROWSDOWN,
  PROT_GROWSUP,
  PROT_NONE,
  PROT_READ,
  PROT_SEM,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { VM_MAYWRITE, VMH_SEALED } from '../../../src/kernel/mm/vma-flags.ts';
import { pokeVma } from './poke-vma.ts';
import { FIXED, finish, map, RW, type VmaWorld, vmaWorld } from './support.ts';

const AT = 0x1000_0000_0000n;
const PAGE = 0x1_0000_0000;

function protect(world: VmaWorld, page: number, pages: number, prot: number): string {
  const error = finish(sysMprotect(world.task, BigInt(page) << 12n, BigInt(pages) << 12n, prot));
  return error === 0 ? 'ok' : errnoName(error);
}

/** `0-2 rw-p ac` for each VMA: pages, rights, accounted or not. */
function shown({ mm }: VmaWorld): string[] {
  return smapsEntries(mm).map(({ start, end, permissions, vmFlags }) => {
    const range = `${Number(start >> 12n) - PAGE}-${Number(end >> 12n) - PAGE}`;
    return `${range} ${permissions}${vmFlags.split(' ').includes('ac') ? ' ac' : ''}`;
  });
}

describe('mprotect refuses', () => {
  it.each([
    // address, length, prot, errno, why
    [AT, 0x1000n, PROT_GROWSDOWN | PROT_GROWSUP, 'EINVAL', 'both ways of growing'],
    [AT + 0x400n, 0n, PROT_READ, 'EINVAL', 'an address inside a page, looked at before the length'],
    [AT, 0xffff_ffff_ffff_ffffn, 0x80, 'ENOMEM', 'a length that wraps, looked at before the rights'],
    [AT, 0x1000n, 0x80, 'EINVAL', 'unknown rights'],
    [AT, 0x1000n, 2 ** 32 + PROT_READ, 'EINVAL', 'unknown rights above bit 31'],
    [AT + 0x8000n, 0x1000n, PROT_READ, 'ENOMEM', 'nothing mapped'],
    [AT + 0x8000n, 0x1000n, 0x80, 'EINVAL', 'unknown rights, looked at before the mapping'],
    [AT, 0x1000n, PROT_READ | PROT_GROWSDOWN, 'EINVAL', 'growing down what is no stack'],
    [AT, 0x1000n, PROT_READ | PROT_GROWSUP, 'EINVAL', 'growing up, which nothing here does'],
  ])('0x%x + 0x%x to 0x%x: %s, %s [d047, d048]', (address, length, prot, errno) => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    expect(errnoName(finish(sysMprotect(world.task, address, length, prot)))).toBe(errno);
    expect(shown(world)).toEqual(['0-2 rw-p ac']);
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });

  it('a range with a hole, after changing what lies before it', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    map(world, PAGE + 3, 2);
    expect(protect(world, PAGE, 5, PROT_READ)).toBe('ENOMEM');
    expect(shown(world)).toEqual(['0-2 r--p', '3-5 rw-p ac']);
    expect(protect(world, PAGE + 2, 3, PROT_NONE)).toBe('ENOMEM');
    expect(shown(world)).toEqual(['0-2 r--p', '3-5 rw-p ac']);
    expect(protect(world, PAGE + 3, 4, PROT_READ)).toBe('ENOMEM');
    expect(shown(world)).toEqual(['0-2 r--p', '3-5 r--p']);
  });

  it.each([
    ['may never be written', 'EACCES', (vma: VmArea) => (vma.flags &= ~VM_MAYWRITE)],
    ['is sealed', 'EPERM', (vma: VmArea) => (vma.flagsHigh |= VMH_SEALED)],
  ])('a VMA that %s (%s), after changing what lies before it', (_what, errno, spoil) => {
    const world = vmaWorld();
    map(world, PAGE, 2, PROT_READ);
    map(world, PAGE + 2, 2, PROT_EXEC);
    pokeVma(world.mm.vmas.lookup(PAGE + 2), spoil);
    expect(protect(world, PAGE, 4, RW)).toBe(errno);
    expect(shown(world)).toEqual(['0-2 rw-p ac', '2-4 --xp']);
  });

  it('to become writable beyond RLIMIT_DATA', () => {
    const world = vmaWorld();
    map(world, PAGE, 4, PROT_READ);
    world.task.rlimits = { ...world.task.rlimits, data: { soft: 0x2000, hard: Infinity } };
    expect(protect(world, PAGE, 4, RW)).toBe('ENOMEM');
    expect(protect(world, PAGE, 2, RW)).toBe('ok');
    expect([world.mm.dataVm, world.mm.totalVm]).toEqual([2, 4]);
  });

  it('to split at the map limit', () => {
    const world = vmaWorld({ maxMapCount: 1 });
    map(world, PAGE, 4);
    expect(protect(world, PAGE + 1, 1, PROT_READ)).toBe('ENOMEM');
    expect(protect(world, PAGE, 4, PROT_READ)).toBe('ok');
  });
});

describe('mprotect', () => {
  it('does nothing, successfully, for no length, mapped or not', () => {
    const world = vmaWorld();
    expect(protect(world, PAGE + 9, 0, PROT_READ)).toBe('ok');
    expect(finish(sysMprotect(world.task, AT, 0n, 0x80))).toBe(0);
  });

  it('rounds the length up and ignores PROT_SEM', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    expect(finish(sysMprotect(world.task, AT, 0x800n, PROT_READ | PROT_SEM))).toBe(0);
    expect(shown(world)).toEqual(['0-1 r--p', '1-2 rw-p ac']);
  });

  it('splits, and joins again [d045]', () => {
    const world = vmaWorld();
    map(world, PAGE, 6);
    protect(world, PAGE + 2, 2, PROT_READ);
    expect(shown(world)).toEqual(['0-2 rw-p ac', '2-4 r--p', '4-6 rw-p ac']);
    protect(world, PAGE + 2, 1, RW);
    expect(shown(world)).toEqual(['0-3 rw-p ac', '3-4 r--p', '4-6 rw-p ac']);
    protect(world, PAGE + 3, 1, RW);
    expect(shown(world)).toEqual(['0-6 rw-p ac']);
  });

  it('joins across several VMAs in one call', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    map(world, PAGE + 2, 2, PROT_READ);
    map(world, PAGE + 4, 2, PROT_EXEC);
    expect(protect(world, PAGE, 6, PROT_NONE)).toBe('ok');
    expect(shown(world)).toEqual(['0-6 ---p']);
    expect(world.mm.mapCount).toBe(1);
  });

  it('begins at the start of a stack with PROT_GROWSDOWN [d048]', () => {
    const world = vmaWorld();
    map(world, PAGE, 4, RW, FIXED | MAP_GROWSDOWN);
    expect(protect(world, PAGE + 2, 1, PROT_READ | PROT_GROWSDOWN)).toBe('ok');
    expect(shown(world)).toEqual(['0-3 r--p', '3-4 rw-p ac']);
    expect(protect(world, PAGE - 4, 2, PROT_READ | PROT_GROWSDOWN)).toBe('ENOMEM');
  });
});

describe('VM_ACCOUNT over mprotect [d098]', () => {
  it('comes when private memory becomes writable and goes while nothing was written', () => {
    const world = vmaWorld();
    map(world, PAGE, 2, PROT_READ);
    protect(world, PAGE, 2, PROT_WRITE);
    expect([shown(world), world.kernel.committedPages]).toEqual([['0-2 -w-p ac'], 2]);
    protect(world, PAGE, 2, PROT_READ);
    expect([shown(world), world.kernel.committedPages]).toEqual([['0-2 r--p'], 0]);
  });

  it('stays on memory that was written, which then does not join a neighbour that was not', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    attachNewAnonVma(world.mm.vmas.lookup(PAGE) as VmArea, 1);
    protect(world, PAGE, 2, PROT_READ);
    map(world, PAGE + 2, 2, PROT_READ);
    expect(shown(world)).toEqual(['0-2 r--p ac', '2-4 r--p']);
  });

  it('does not come to memory mapped with MAP_NORESERVE', () => {
    const world = vmaWorld();
    map(world, PAGE, 2, PROT_READ, FIXED | MAP_NORESERVE);
    protect(world, PAGE, 2, RW);
    expect([shown(world), world.kernel.committedPages]).toEqual([['0-2 rw-p'], 0]);
  });
});

it('gives the charge back when the VMA cannot be split', () => {
  const world = vmaWorld({ maxMapCount: 2 });
  map(world, PAGE, 4, PROT_READ);
  map(world, PAGE + 8, 1, PROT_READ);
  expect(protect(world, PAGE + 1, 2, RW)).toBe('ENOMEM');
  expect(world.kernel.committedPages).toBe(0);
  expect(protect(world, PAGE, 4, RW)).toBe('ok');
  expect(world.kernel.committedPages).toBe(4);
});
