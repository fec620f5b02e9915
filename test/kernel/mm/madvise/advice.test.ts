/** What each advice does and refuses. @see Linux mm/madvise.c */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { sysMlock } from '../../../../src/kernel/mm/mlock.ts';
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
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { VMH_DROPPABLE, VMH_SEALED } from '../../../../src/kernel/mm/vma-flags.ts';
import { SEGV_MAPERR, SIGSEGV } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../process-world.ts';
import { advise, bytes, pages, vmas } from './support.ts';

const RW = PROT_READ | PROT_WRITE;
const kernel = { perVmaLocks: true };
const numberOf = (name: string): number =>
  (advices as unknown as Readonly<Record<string, number>>)[`MADV_${name}`] as number;

interface Scene {
  readonly world: ProcessWorld;
  readonly task: TaskStruct;
}

function scene(config = {}): Scene {
  const world = new ProcessWorld({ kernel: { ...kernel, ...config } });
  return { world, task: world.process() };
}

function lock({ world, task }: Scene, page: number, count: number): void {
  expect(world.run(task, sysMlock(task, addressOf(page), bytes(count)))).toBe(0);
}

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
    expect(advise(world, task, 0, 1, numberOf(name))).toBe('EINVAL');
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
    expect(advise(world, task, 1, 2, numberOf(name))).toBe('ok');
    expect(vmas(task)).toEqual(['0-1 rw-p', `1-3 rw-p ${flag}`, '3-4 rw-p']);
    expect(advise(world, task, 0, 4, numberOf(name))).toBe('ok');
    expect(vmas(task)).toEqual([`0-4 rw-p ${flag}`]);
    if (opposite === null) return;
    expect(advise(world, task, 0, 4, numberOf(opposite))).toBe('ok');
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
    for (const name of [first, second]) expect(advise(world, task, 0, 1, numberOf(name))).toBe('ok');
    expect(vmas(task)).toEqual([`0-1 rw-p ${flag}`]);
  });

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
    const vma = mmOf(task).vmas.lookup(BASE_PAGE);
    if (vma !== null) vma.flagsHigh |= VMH_DROPPABLE;
    expect(advise(world, task, 0, 1, numberOf(name))).toBe('EINVAL');
  });

  it('says EAGAIN, not ENOMEM, at the limit of VMAs', () => {
    const { world, task } = scene({ maxMapCount: 1 });
    world.map(task, 0, 4, RW);
    expect(advise(world, task, 1, 1, advices.MADV_DONTFORK)).toBe('EAGAIN');
    expect(vmas(task)).toEqual(['0-4 rw-p']);
  });
});

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
    expect(advise(world, task, 0, 4, numberOf(name))).toBe(expected);
    const kept = expected === 'EINVAL' || name !== 'DONTNEED_LOCKED';
    expect(world.page(task, 3) === '-').toBe(!kept);
    if (name === 'DONTNEED') expect([world.page(task, 1), world.page(task, 2)]).toEqual(['-', 'Xwd']);
  });

  it.each([
    [PROT_READ, 'EPERM', 'Xd'],
    [RW, 'ok', '-'],
  ])('of sealed memory with rights %i: %s', (prot, expected, left) => {
    const { world, task } = scene();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    world.run(task, sysMprotect(task, addressOf(0), bytes(1), prot));
    const vma = mmOf(task).vmas.lookup(BASE_PAGE);
    if (vma !== null) vma.flagsHigh |= VMH_SEALED;
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

describe('MADV_POPULATE_', () => {
  it.each([
    ['READ', RW, '0+3 PZ'],
    ['WRITE', RW, '0+3 PX'],
  ])('%s fills the range', (name, prot, expected) => {
    const { world, task } = scene();
    world.map(task, 0, 4, prot);
    expect(advise(world, task, 0, 3, numberOf(`POPULATE_${name}`))).toBe('ok');
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
    expect(advise(world, task, 0, 2, numberOf(`POPULATE_${name}`))).toBe(expected);
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
    expect(advise(world, task, 0, 2, numberOf(`POPULATE_${name}`))).toBe('EFAULT');
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
