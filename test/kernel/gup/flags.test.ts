/** What each FOLL_ flag does to pages as they really are: locked, broken, huge, forced, hinted. mm/gup.c. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { Task } from '../../../src/base/task.ts';
import { EAGAIN, EFAULT, EHWPOISON, EINTR, EINVAL } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import {
  FOLL_FORCE,
  FOLL_HONOR_NUMA_FAULT,
  FOLL_HWPOISON,
  FOLL_INTERRUPTIBLE,
  FOLL_LONGTERM,
  FOLL_NOWAIT,
  FOLL_SPLIT_PMD,
  FOLL_WRITE,
} from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPageVmaRemote } from '../../../src/kernel/gup/get-user-page-vma-remote.ts';
import { pinUserPages } from '../../../src/kernel/gup/get-user-pages.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import {
  getUserPagesUnlocked,
  pinUserPagesUnlocked,
} from '../../../src/kernel/gup/get-user-pages-unlocked.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import {
  mmapReadLock,
  mmapReadUnlock,
  mmapWriteLock,
  mmapWriteUnlock,
} from '../../../src/kernel/lock/mmap-lock.ts';
import { MADV_HUGEPAGE, MADV_PAGEOUT } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { fileRead, fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import { memoryFailure } from '../../../src/kernel/mm/memory-failure.ts';
import { MAP_FIXED, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { PmdKind, pteIndex } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { SIGKILL, SIGTRAP } from '../../../src/kernel/signal.ts';
import { Director } from '../support/director.ts';
import { BASE, MAP_PRIVATE, MAP_SHARED, PAGE, World } from '../support/world.ts';
import { expectQuiet, FIRST, locked, mmOf, RW, setUp, slots } from './support.ts';

/** A page that went to swap before a fork, came back for one of the two, and that somebody has locked: the caller is the other. */
function lockedPage() {
  const director = new Director();
  const world = new World(2, director.policy, { swapPages: 16 });
  director.loop = world.system.loop;
  const owner = world.process('owner');
  world.map(owner, 0, 1, RW);
  world.store(owner, BASE, [1]);
  world.run(owner, sysMadvise(owner, BASE, PAGE, MADV_PAGEOUT));
  const caller = world.fork(owner, 'caller');
  world.load(owner, BASE, 1);
  const frame = world.frameAt(owner, BASE);
  const { frames } = world.kernel;
  frames.setFlags(frame, FrameFlag.Locked);
  const unlock = () => frames.clearFlags(frame, FrameFlag.Locked);
  return { director, world, caller, mm: mmOf(caller), frame, unlock };
}

describe('a page that the fault would have to wait for', () => {
  it.each([
    ['locked NULL', null],
    ['locked', { held: true }],
  ] as const)('FOLL_NOWAIT, %s: 0 pages, and the lock is kept', (_name, lock) => {
    const { world, caller, mm } = lockedPage();
    const path = getUserPagesRemote(caller, mm, FIRST, 1, FOLL_NOWAIT, slots(1), lock);
    expect(locked(world, caller, mm, path)).toBe(0);
    expect(lock?.held ?? true).toBe(true);
    expectQuiet(world, mm);
  });

  it('FOLL_NOWAIT is no flag of get_user_page_vma_remote', () => {
    const { world, caller, mm } = lockedPage();
    const path = getUserPageVmaRemote(caller, mm, FIRST, FOLL_NOWAIT, { pages: [-1], vma: null });
    expect(locked(world, caller, mm, path)).toBe(-EINVAL);
  });

  it.each<[string, number, number | null, number]>([
    ['and it comes', 0, null, 1],
    ['and a signal comes, which is nothing to it', 0, SIGTRAP, 1],
    ['and a signal comes, with FOLL_INTERRUPTIBLE', FOLL_INTERRUPTIBLE, SIGTRAP, -EINTR],
    ['and it is killed', 0, SIGKILL, -EINTR],
  ])('with locked it lets mmap_lock go, %s', (_name, flags, signal, result) => {
    const { director, world, caller, mm, frame, unlock } = lockedPage();
    const lock = { held: true };
    const pages = slots(1);
    function* path(): Task<number> {
      yield* mmapReadLock(caller, mm);
      return yield* getUserPagesRemote(caller, mm, FIRST, 1, flags, pages, lock);
    }
    director.start(caller, path());
    expect(director.block(caller)).toBe('folio_wait_locked');
    expect(mm.mmapLock.holders()).toEqual([]);
    if (signal !== null) caller.sendSignal({ signal, code: 0, address: 0n });
    if (signal !== SIGKILL) unlock();
    expect(director.finish(caller)).toBe(result);
    expect(pages).toEqual([result === 1 ? frame : -1]);
    // It was dropped once, so it is not held now, though it was taken again in between.
    expect(lock.held).toBe(false);
    expectQuiet(world, mm);
  });

  it('with locked NULL it waits with mmap_lock held', () => {
    const { director, caller, mm, unlock } = lockedPage();
    function* path(): Task<number> {
      yield* mmapReadLock(caller, mm);
      const result = yield* pinUserPagesRemote(caller, mm, FIRST, 1, 0, slots(1), null);
      yield* mmapReadUnlock(caller, mm);
      return result;
    }
    director.start(caller, path());
    expect(director.block(caller)).toBe('folio_wait_locked');
    expect(mm.mmapLock.holders()).toHaveLength(1);
    unlock();
    expect(director.finish(caller)).toBe(1);
  });
});

describe('mmap_lock that somebody has for writing', () => {
  it.each([
    ['get_user_pages_unlocked', getUserPagesUnlocked],
    ['pin_user_pages_unlocked', pinUserPagesUnlocked],
  ] as const)('%s, killed while it waits: -EAGAIN', (_name, call) => {
    const director = new Director();
    const world = new World(2, director.policy);
    director.loop = world.system.loop;
    const [caller, writer] = [world.process('caller'), world.process('writer')];
    const mm = mmOf(caller);
    world.run(writer, mmapWriteLock(writer, mm));
    director.start(caller, call(caller, FIRST, 1, slots(1), 0));
    director.block(caller);
    caller.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect(director.finish(caller)).toBe(-EAGAIN);
    world.run(writer, mmapWriteUnlock(writer, mm));
    expectQuiet(world, mm);
  });
});

describe('broken memory', () => {
  it.each([
    ['with FOLL_HWPOISON', FOLL_HWPOISON, -EHWPOISON],
    ['without', 0, -EFAULT],
  ])('%s', (_name, flags, result) => {
    const { world, target, caller, mm } = setUp();
    world.map(target, 0, 2, RW);
    world.store(target, BASE, [1]);
    world.store(target, BASE + PAGE, [1]);
    const frame = world.frameAt(target, BASE + PAGE);
    world.kernel.frames.get(frame);
    world.run(target, memoryFailure(target, frame));
    const get = (page: number, count: number) =>
      locked(
        world,
        caller,
        mm,
        getUserPagesRemote(caller, mm, FIRST + page, count, flags, slots(count), null),
      );
    // The page before hides it.
    expect([get(0, 2), get(1, 1)]).toEqual([1, result]);
  });
});

/** A huge page at `at`, and the page number there. */
function hugePage() {
  const world = new World();
  const task = world.process('target');
  world.map(task, 0, 1024, RW);
  world.run(task, sysMadvise(task, BASE, 1024n * PAGE, MADV_HUGEPAGE));
  const page = Math.ceil(FIRST / 512) * 512;
  world.store(task, BigInt(page) * PAGE, [1]);
  const { pageTables, frames } = world.kernel;
  const kind = () => pageTables.pmdKind(rootTable(mmOf(task)), page);
  expect(kind()).toBe(PmdKind.Huge);
  const head = pageTables.frame(pageTables.lastLevel - 1);
  return { world, task, mm: mmOf(task), page, kind, head, frames };
}

describe('a huge page', () => {
  it('is taken in one step from where it is asked for to its end, counted as often as pages are given', () => {
    const { world, task, mm, page, kind, head, frames } = hugePage();
    const pages = slots(520);
    const path = pinUserPages(task, page + 100, 400, FOLL_WRITE, pages);
    expect(locked(world, task, mm, path)).toBe(400);
    expect(pages.slice(0, 3)).toEqual([head + 100, head + 101, head + 102]);
    expect([frames.refcount(head), frames.pinsAcquired, kind()]).toEqual([401, 400, PmdKind.Huge]);
    world.run(task, unpinUserPages(task, pages, 400));
    expect([frames.refcount(head), frames.pinsReleased, frames.maybeDmaPinned(head)]).toEqual([
      1,
      400,
      false,
    ]);
  });

  it('is split into ptes first with FOLL_SPLIT_PMD, and stays the same folio', () => {
    const { world, task, mm, page, kind, head, frames } = hugePage();
    const pages = slots(3);
    const path = pinUserPages(task, page + 4, 3, FOLL_SPLIT_PMD, pages);
    expect(locked(world, task, mm, path)).toBe(3);
    expect([kind(), pages, frames.isLarge(head)]).toEqual([
      PmdKind.Table,
      [head + 4, head + 5, head + 6],
      true,
    ]);
    world.run(task, unpinUserPages(task, pages, 3));
    expectQuiet(world, mm);
  });

  it('that is pinned stays with who forks, page by page, and the child gets copies', () => {
    const { world, task, mm, page, head } = hugePage();
    const pages = slots(1);
    locked(world, task, mm, pinUserPages(task, page, 1, FOLL_WRITE, pages));
    const child = world.fork(task, 'child');
    const at = BigInt(page) * PAGE;
    expect([world.frameAt(task, at), world.frameAt(child, at) === head]).toEqual([head, false]);
    expect(world.load(child, at, 1)).toEqual([1]);
    world.run(task, unpinUserPages(task, pages, 1));
    expectQuiet(world, mm);
  });
});

describe('FOLL_FORCE', () => {
  it.each([
    ['a short pin', FOLL_FORCE | FOLL_WRITE],
    ['a pin that lasts', FOLL_FORCE | FOLL_WRITE | FOLL_LONGTERM],
  ])('%s never gives a page of the page cache for writing', (_name, flags) => {
    const { world, target, mm } = setUp();
    const file = memfdCreate(world.kernel, 'f');
    world.run(target, fileWrite(target, file, 0, Uint8Array.of(1)));
    const map = sysMmap(target, BASE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0n);
    expect(world.run(target, map)).toBe(BASE);
    world.load(target, BASE, 1);
    const pages = slots(1);
    expect(locked(world, target, mm, pinUserPages(target, FIRST, 1, flags, pages))).toBe(1);
    const frame = pages[0] as number;
    expect(frame).not.toBe(file.mapping.frameAt(0));
    world.kernel.machine.memory.writeBytes(frame, 0, Uint8Array.of(9));
    const read = new Uint8Array(1);
    world.run(target, fileRead(target, file, 0, read));
    // The program sees the write, and still may not write itself.
    expect([read[0], world.load(target, BASE, 1)[0], world.state(target, BASE)]).toEqual([1, 9, 'X']);
    world.run(target, unpinUserPages(target, pages, 1));
  });

  it('does not write to shared memory that is mapped read-only', () => {
    const { world, target, mm } = setUp();
    world.map(target, 0, 1, PROT_READ, MAP_SHARED);
    const path = pinUserPages(target, FIRST, 1, FOLL_FORCE | FOLL_WRITE, slots(1));
    expect(locked(world, target, mm, path)).toBe(-EFAULT);
  });
});

describe('an entry without rights in a VMA that has some: a NUMA hint', () => {
  function hinted() {
    const scene = setUp();
    const { world, target } = scene;
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [1]);
    const { pageTables } = world.kernel;
    const table = pageTables.lookup(rootTable(scene.mm), FIRST, pageTables.lastLevel);
    if (table === null) throw new Error('no table');
    pageTables.change(table, pteIndex(pageTables, FIRST), EntryFlag.Protnone, EntryFlag.User);
    return scene;
  }

  it('is followed, unless FOLL_HONOR_NUMA_FAULT asks for the fault, which takes the hint away', () => {
    const { world, target, mm } = hinted();
    const entry = () => {
      const { pageTables } = world.kernel;
      pageTables.lookupPte(rootTable(mm), FIRST);
      return pageTables.flags(pageTables.lastLevel) & EntryFlag.Protnone;
    };
    const pages = slots(1);
    const pin = (flags: number) => world.counted(target, lockedPin(flags));
    const lockedPin = function* (flags: number): Task<number> {
      yield* mmapReadLock(target, mm);
      const got = yield* pinUserPages(target, FIRST, 1, flags, pages);
      yield* mmapReadUnlock(target, mm);
      return got;
    };
    expect([pin(0), entry()]).toEqual([{ result: 1, faults: 0 }, EntryFlag.Protnone]);
    expect([pin(FOLL_HONOR_NUMA_FAULT), entry()]).toEqual([{ result: 1, faults: 1 }, 0]);
    expectQuiet(world, mm);
  });
});
