/** GUP with `vmas`, as it was up to Linux 6.4: what it fills in, when it refuses, and what a pointer is worth later. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EINVAL } from '../../../src/kernel/errno.ts';
import { FOLL_GET, FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPageVmaRemote } from '../../../src/kernel/gup/get-user-page-vma-remote.ts';
import {
  describeVmaUse,
  legacyGetUserPages,
  legacyGetUserPagesRemote,
  legacyPinUserPages,
  legacyPinUserPagesRemote,
  VmaArray,
} from '../../../src/kernel/gup/legacy-vmas.ts';
import { putUserPage, unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, PAGE, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const FIRST = Number(BASE / PAGE);

function setUp() {
  const world = new World();
  const target = world.process('target');
  const caller = world.process('caller');
  return { world, target, caller, mm: target.mm as MmStruct };
}

function locked<T>(world: World, caller: TaskStruct, mm: MmStruct, path: Task<T>): T {
  function* inside(): Task<T> {
    yield* mmapReadLock(caller, mm);
    const result = yield* path;
    yield* mmapReadUnlock(caller, mm);
    return result;
  }
  return world.run(caller, inside());
}

describe('vmas', () => {
  it('has the VMA of each page, over two VMAs', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    world.map(target, 2, 2, PROT_READ);
    const vmas = new VmaArray();
    const pages: number[] = [];
    const call = legacyPinUserPagesRemote(caller, mm, FIRST, 4, 0, pages, vmas, null);
    expect(locked(world, caller, mm, call)).toBe(4);
    const uses = [0, 1, 2, 3].map((slot) => world.run(caller, vmas.use(caller, slot)));
    expect(uses.map(({ read }) => [read.start - FIRST, read.end - FIRST])).toEqual([
      [0, 2],
      [0, 2],
      [2, 4],
      [2, 4],
    ]);
    expect(uses.map(({ fate, afterUnlock }) => `${fate} ${afterUnlock}`)).toEqual(
      Array(4).fill('unchanged false'),
    );
    world.run(caller, unpinUserPages(caller, pages, 4));
  });

  it('stops at a hole with the slots before it', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    const vmas = new VmaArray();
    const pages: number[] = [];
    const call = legacyGetUserPagesRemote(caller, mm, FIRST, 4, FOLL_WRITE, pages, vmas, null);
    expect([locked(world, caller, mm, call), vmas.filled]).toEqual([2, 2]);
    for (const page of pages) world.run(caller, putUserPage(caller, page));
    const none = legacyGetUserPagesRemote(caller, mm, FIRST + 2, 1, 0, [], vmas, null);
    expect(locked(world, caller, mm, none)).toBe(-EFAULT);
  });

  it('takes the pages of a huge page one by one: there is a slot for each', () => {
    const { world, target, caller, mm } = setUp();
    const start = world.map(target, 0, 1024, RW);
    expect(world.run(target, sysMadvise(target, start, 1024n * PAGE, MADV_HUGEPAGE))).toBe(0);
    world.store(target, start, [1]);
    const steps = (vmas: VmaArray | null): number => {
      const pages: number[] = [];
      const before = world.system.loop.steps;
      locked(world, caller, mm, legacyPinUserPagesRemote(caller, mm, FIRST, 8, 0, pages, vmas, null));
      const taken = world.system.loop.steps - before;
      expect(new Set(pages.map((frame) => world.kernel.frames.head(frame))).size).toBe(1);
      world.run(caller, unpinUserPages(caller, pages, 8));
      return taken;
    };
    const vmas = new VmaArray();
    expect(steps(vmas)).toBeGreaterThan(steps(null) + 7);
    expect(vmas.filled).toBe(8);
  });
});

describe('the check of arguments', () => {
  it('refuses vmas to a call that may drop the lock: -EINVAL, or no pin', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    const get = legacyGetUserPagesRemote(caller, mm, FIRST, 1, 0, [], new VmaArray(), { held: true });
    expect(locked(world, caller, mm, get)).toBe(-EINVAL);
    const pin = legacyPinUserPagesRemote(caller, mm, FIRST, 1, 0, [], new VmaArray(), { held: true });
    expect(locked(world, caller, mm, pin)).toBe(0);
    expect(world.kernel.warnings.list.map(({ place }) => place)).toEqual(['is_valid_gup_args']);
  });

  it('lets such a call pass without vmas', () => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 1, RW);
    const pages: number[] = [];
    const lock = { held: true };
    const call = legacyPinUserPagesRemote(caller, mm, FIRST, 1, 0, pages, null, lock);
    expect([locked(world, caller, mm, call), lock.held]).toEqual([1, true]);
    world.run(caller, unpinUserPages(caller, pages, 1));
  });

  it.each([
    ['get_user_pages', -EINVAL, FOLL_PIN],
    ['get_user_pages', -EINVAL, FOLL_LONGTERM],
    ['pin_user_pages', 0, FOLL_GET],
    ['pin_user_pages', 0, FOLL_PIN],
  ] as const)('%s gives %i for flags %i that are not for its callers', (which, result, flags) => {
    const { world, target } = setUp();
    world.map(target, 0, 1, RW);
    const entry = which === 'get_user_pages' ? legacyGetUserPages : legacyPinUserPages;
    const call = entry(target, FIRST, 1, flags, [], new VmaArray());
    expect(locked(world, target, target.mm as MmStruct, call)).toBe(result);
  });
});

describe('a pointer that is used later', () => {
  function pinnedThenUnmapped() {
    const { world, target, caller, mm } = setUp();
    const start = world.map(target, 0, 1, RW);
    world.store(target, start, [42]);
    const vmas = new VmaArray();
    const pages: number[] = [];
    locked(world, caller, mm, legacyPinUserPagesRemote(caller, mm, FIRST, 1, 0, pages, vmas, null));
    vmas.lockDropped();
    return { world, target, caller, mm, start, vmas, pages };
  }

  it('is told of even when nothing has changed', () => {
    const { world, caller, vmas, pages } = pinnedThenUnmapped();
    const use = world.run(caller, vmas.use(caller, 0));
    expect([use.fate, use.afterUnlock]).toEqual(['unchanged', true]);
    expect(world.kernel.warnings.list).toEqual([
      { place: 'vmas[]', text: describeVmaUse(use), task: 'caller' },
    ]);
    world.run(caller, unpinUserPages(caller, pages, 1));
  });

  it('reads nothing, then another range, then another address space, as the object is used again', () => {
    const { world, target, caller, mm, start, vmas, pages } = pinnedThenUnmapped();
    const look = () => world.run(caller, vmas.use(caller, 0));
    world.run(target, sysMunmap(target, start, PAGE));
    const freed = look();
    expect([freed.fate, freed.read.start, freed.read.end]).toEqual(['freed', Number.NaN, Number.NaN]);
    const again = world.map(target, 64, 2, PROT_READ);
    expect([look().fate, look().read.start]).toEqual(['another VMA', Number(again / PAGE)]);
    world.run(target, sysMunmap(target, again, 2n * PAGE));
    world.map(caller, 5, 1, RW);
    expect([look().fate, look().read.mm]).toEqual(['another mm', (caller.mm as MmStruct).name]);
    // The page is pinned, and is what it was.
    const byte = new Uint8Array(1);
    world.system.machine.memory.readBytes(pages[0] as number, 0, byte);
    expect([...byte]).toEqual([42]);
    // Today's call finds out under the lock.
    const out = { pages: [0] as [number], vma: null };
    expect(locked(world, caller, mm, getUserPageVmaRemote(caller, mm, FIRST, 0, out))).toBe(-EFAULT);
    world.run(caller, unpinUserPages(caller, pages, 1));
  });
});
