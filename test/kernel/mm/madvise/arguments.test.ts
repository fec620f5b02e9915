/** The checks of madvise's arguments, and the advices that set flags. @see Linux mm/madvise.c, `madvise_vma_behavior` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../../src/kernel/errno.ts';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { VMH_DROPPABLE } from '../../../../src/kernel/mm/vma-flags.ts';
import { pokeVma } from '../poke-vma.ts';
import { addressOf, BASE_PAGE, mmOf } from '../process-world.ts';
import { adviceNamed, advise, bytes, scene, vmas } from './support.ts';

const RW = PROT_READ | PROT_WRITE;

describe('madvise looks at its arguments', () => {
  const at = addressOf(0);
  it.each([
    [at, 0x1000n, 77, 'EINVAL', 'an unknown advice'],
    [at + bytes(64), 0n, 77, 'EINVAL', 'an unknown advice, before an empty range'],
    [at + 0x10n, 0n, 4, 'EINVAL', 'an address inside a page, before an empty range'],
    [at, 2n ** 64n - 1n, 4, 'EINVAL', 'a length that rounds up to 0'],
    [2n ** 64n - 0x1000n, 0x2000n, 4, 'EINVAL', 'a range that wraps'],
    [at + bytes(64), 0n, 4, 'ok', 'an empty range, mapped or not'],
    [at + bytes(64), 0x1000n, 4, 'ENOMEM', 'nothing mapped'],
    [at, 0x1001n, 4, 'ok', 'a length inside a page is rounded up'],
  ])('0x%x + 0x%x, advice %i: %s, %s', (address, length, advice, expected) => {
    const { world, task } = scene();
    world.map(task, 0, 4, RW);
    const result = world.run(task, sysMadvise(task, address, length, advice));
    expect(result === 0 ? 'ok' : errnoName(result)).toBe(expected);
    expect(mmOf(task).mmapLock.isLocked()).toBe(false);
  });

  it.each(['HWPOISON', 'SOFT_OFFLINE'])('knows no MADV_%s without CONFIG_MEMORY_FAILURE', (name) => {
    const { world, task } = scene({ memoryFailure: false });
    world.map(task, 0, 1, RW);
    expect(advise(world, task, 0, 1, adviceNamed(name))).toBe('EINVAL');
  });
});

describe('an advice that sets a flag', () => {
  it.each([
    ['RANDOM', 'rr', 'NORMAL'],
    ['SEQUENTIAL', 'sr', 'NORMAL'],
    ['DONTFORK', 'dc', 'DOFORK'],
    ['WIPEONFORK', 'wf', 'KEEPONFORK'],
    ['DONTDUMP', 'dd', 'DODUMP'],
    ['MERGEABLE', 'mg', 'UNMERGEABLE'],
    ['HUGEPAGE', 'hg', null],
    ['NOHUGEPAGE', 'nh', null],
  ])('MADV_%s splits off a VMA with %s, and its opposite merges it again', (name, flag, opposite) => {
    const { world, task } = scene();
    world.map(task, 0, 4, RW);
    expect(advise(world, task, 1, 2, adviceNamed(name))).toBe('ok');
    expect(vmas(task)).toEqual(['0-1 rw-p', `1-3 rw-p ${flag}`, '3-4 rw-p']);
    expect(advise(world, task, 0, 4, adviceNamed(name))).toBe('ok');
    expect(vmas(task)).toEqual([`0-4 rw-p ${flag}`]);
    if (opposite === null) return;
    expect(advise(world, task, 0, 4, adviceNamed(opposite))).toBe('ok');
    expect(vmas(task)).toEqual(['0-4 rw-p']);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['RANDOM', 'SEQUENTIAL', 'sr'],
    ['SEQUENTIAL', 'RANDOM', 'rr'],
    ['HUGEPAGE', 'NOHUGEPAGE', 'nh'],
    ['NOHUGEPAGE', 'HUGEPAGE', 'hg'],
  ])('MADV_%s and then MADV_%s leaves %s alone', (first, second, flag) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    for (const name of [first, second]) expect(advise(world, task, 0, 1, adviceNamed(name))).toBe('ok');
    expect(vmas(task)).toEqual([`0-1 rw-p ${flag}`]);
  });
});

describe('an advice for several VMAs or for the wrong ones', () => {
  it('goes over a hole and says so at the end', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.map(task, 2, 1, RW);
    expect(advise(world, task, 0, 4, advices.MADV_DONTFORK)).toBe('ENOMEM');
    expect(vmas(task)).toEqual(['0-1 rw-p dc', '2-3 rw-p dc']);
  });

  it('stops at a VMA that refuses: those before it are changed, those after it are not', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.map(task, 1, 1, RW, MAP_SHARED);
    world.map(task, 2, 1, RW);
    expect(advise(world, task, 0, 3, advices.MADV_WIPEONFORK)).toBe('EINVAL');
    expect(vmas(task)).toEqual(['0-1 rw-p wf', '1-2 rw-s', '2-3 rw-p']);
  });

  it('MADV_MERGEABLE succeeds on shared memory and sets nothing', () => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW, MAP_SHARED);
    expect(advise(world, task, 0, 1, advices.MADV_MERGEABLE)).toBe('ok');
    expect(vmas(task)).toEqual(['0-1 rw-s']);
  });

  it.each(['KEEPONFORK', 'DODUMP'])('MADV_%s is refused for droppable memory', (name) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    pokeVma(mmOf(task).vmas.lookup(BASE_PAGE), (vma) => {
      vma.flagsHigh |= VMH_DROPPABLE;
    });
    expect(advise(world, task, 0, 1, adviceNamed(name))).toBe('EINVAL');
  });

  it('says EAGAIN, not ENOMEM, at the limit of VMAs', () => {
    const { world, task } = scene({ maxMapCount: 1 });
    world.map(task, 0, 4, RW);
    expect(advise(world, task, 1, 1, advices.MADV_DONTFORK)).toBe('EAGAIN');
    expect(vmas(task)).toEqual(['0-4 rw-p']);
  });
});
