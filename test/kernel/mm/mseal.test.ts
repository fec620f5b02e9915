/** mseal. @see Linux mm/mseal.c */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMseal } from '../../../src/kernel/mm/mseal.ts';
import { VMH_SEALED } from '../../../src/kernel/mm/vma-flags.ts';
import { FIXED, finish, map, RW, type VmaWorld, vmaWorld } from './support.ts';

const PAGE = 0x1_0000_0000;
const AT = BigInt(PAGE) << 12n;

const seal = (world: VmaWorld, from: number, pages: number): number =>
  finish(sysMseal(world.task, AT + (BigInt(from) << 12n), BigInt(pages) << 12n, 0n));

/** Each page: `s` sealed, `-` not, `.` nothing; VMAs end at `|`. */
function picture({ mm }: VmaWorld): string {
  let drawn = '';
  for (const vma of mm.vmas) {
    drawn = drawn.padEnd(drawn.length + vma.start - PAGE - drawn.replaceAll('|', '').length, '.');
    drawn += `${((vma.flagsHigh & VMH_SEALED) !== 0 ? 's' : '-').repeat(vma.pages)}|`;
  }
  return drawn;
}

describe('mseal', () => {
  it.each([
    ['a flag', AT, 0x1000n, 1n, 'EINVAL'],
    ['an address inside a page', AT + 8n, 0x1000n, 0n, 'EINVAL'],
    ['a length that wraps', AT, 0xffff_ffff_ffff_ffffn, 0n, 'EINVAL'],
    ['a range that wraps', AT, 0xffff_ffff_ffff_f000n, 0n, 'EINVAL'],
    ['a hole at the end', AT, 0x9000n, 0n, 'ENOMEM'],
    ['a hole at the beginning', AT - 0x1000n, 0x2000n, 0n, 'ENOMEM'],
  ] as const)('refuses %s, and nothing is sealed', (_what, address, length, flags, errno) => {
    const world = vmaWorld();
    map(world, PAGE, 8);
    expect(errnoName(finish(sysMseal(world.task, address, length, flags)))).toBe(errno);
    expect(picture(world)).toBe('--------|');
    expect(world.mm.mmapLock.isLocked()).toBe(false);
  });

  it('does nothing to no length', () => {
    const world = vmaWorld();
    expect(finish(sysMseal(world.task, AT, 0n, 0n))).toBe(0);
  });

  it.each([
    ['the middle', 2, 3, '--|sss|---|'],
    ['the end, rounded up', 6, 2, '------|ss|'],
    ['all', 0, 8, 'ssssssss|'],
  ] as const)('splits for %s', (_what, from, pages, after) => {
    const world = vmaWorld();
    map(world, PAGE, 8);
    expect(seal(world, from, pages)).toBe(0);
    expect(picture(world)).toBe(after);
  });

  it('merges what is sealed piece by piece, and goes over VMAs that differ', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    map(world, PAGE + 4, 4, PROT_READ);
    expect([seal(world, 0, 2), seal(world, 2, 2), seal(world, 1, 5)]).toEqual([0, 0, 0]);
    expect(picture(world)).toBe('ssss|ss|--|');
  });

  it('stops at the limit of VMAs, with the part before it sealed', () => {
    const world = vmaWorld({ maxMapCount: 2 });
    map(world, PAGE, 4);
    map(world, PAGE + 4, 4, PROT_READ);
    expect(errnoName(seal(world, 0, 6))).toBe('ENOMEM');
    expect(picture(world)).toBe('ssss|----|');
  });

  it('makes mprotect and MAP_FIXED fail over it, mprotect after the part before it', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    seal(world, 2, 1);
    expect(errnoName(finish(sysMprotect(world.task, AT, 0x4000n, PROT_READ)))).toBe('EPERM');
    expect([...world.mm.vmas].map(({ flags }) => (flags & 2) !== 0)).toEqual([false, true, true]);
    expect(errnoName(Number(map(world, PAGE + 1, 2, RW, FIXED)))).toBe('EPERM');
    // What was cut before the sealed VMA was found stays cut.
    expect(picture(world)).toBe('-|-|s|-|');
  });
});
