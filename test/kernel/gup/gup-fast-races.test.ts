/**
 * gup-fast beside everything that takes pages and tables away, moved on by hand. The walker looks into another process, so
 * that no TLB flush of that one waits for it: what keeps it safe is only what is meant to. In each of these a walker that did
 * not look again, or was not waited for, would be seen: it would keep a page that is not mapped any more, or read a table that
 * is freed, which throws.
 */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { FOLL_GET, FOLL_PIN, FOLL_REMOTE, FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import { gupFast } from '../../../src/kernel/gup/gup-fast.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { MADV_COLLAPSE, MADV_DONTNEED, MADV_HUGEPAGE } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { hugePages } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { folioIsolateLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { pageoutFolio } from '../../../src/kernel/mm/reclaim/pageout.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { advise, bytes } from '../mm/madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf, type ProcessWorld } from '../mm/process-world.ts';
import { swapWorld } from '../mm/swap-world.ts';
import { lockAndSplit } from '../mm/thp/split-support.ts';
import { Director } from '../support/director.ts';

const RW = PROT_READ | PROT_WRITE;
const GET = FOLL_GET | FOLL_REMOTE;
const PIN = FOLL_PIN | FOLL_REMOTE;
/** First page of the arena at a 2 MiB boundary. */
const FIRST = 8;

interface Scene {
  readonly world: ProcessWorld;
  readonly director: Director;
  readonly owner: TaskStruct;
  readonly walker: TaskStruct;
  /** Filled by the walk. */
  readonly pages: number[];
}

/** A page at `page` of the owner, and the walker of another process on another CPU. */
function scene(page = 0): Scene {
  const director = new Director();
  const world = swapWorld({ cpus: 2, policy: director.policy, memoryBytes: 0x200_0000 });
  director.loop = world.system.loop;
  const owner = world.process('owner', 0);
  const walker = world.process('walker', 1);
  world.map(owner, page, page === 0 ? 4 : 512, RW);
  world.store(owner, page, 7);
  return { world, director, owner, walker, pages: [] };
}

/** Starts a walk to `page`, and moves it to the point before the reference is taken. */
function toReference({ director, walker, owner, pages }: Scene, flags: number, page = 0): void {
  director.start(walker, gupFast(walker, mmOf(owner), BASE_PAGE + page, 1, flags, pages));
  director.until(walker, 'page_ref');
}

/** From there over the reference (and the pin) to the point where the entry of level `level` is read again. */
function toRecheck({ director, walker }: Scene, level: 'pmd' | 'pte'): void {
  director.untilPoint(
    walker,
    ({ operation, object }) => operation === 'ptep_get' && object.name.startsWith(level),
  );
}

const unmap = (task: TaskStruct, page: number, pages = 1) =>
  sysMunmap(task, addressOf(page), BigInt(pages) << 12n);

describe('munmap', () => {
  it('a page that is free when its reference is to be taken is not had, and its table stays for the walk', () => {
    const all = scene();
    const { world, director, owner, walker } = all;
    const { pageTables, rcu, frames } = world.kernel;
    const tables = pageTables.count;
    const { frame } = world.pte(owner, 0);
    toReference(all, GET);
    director.start(owner, unmap(owner, 0, 4));
    director.finish(owner);
    expect([frames.refcount(frame), pageTables.count, rcu.pendingCallbacks > 0]).toEqual([0, tables, true]);
    expect(director.finish(walker)).toBe(0);
    expect([pageTables.count < tables, rcu.pendingCallbacks]).toEqual([true, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['get', GET],
    ['pin', PIN],
  ])('a page that has become somebody else’s meanwhile is given back: %s', (_, flags) => {
    const all = scene();
    const { world, director, owner, walker } = all;
    const { frames } = world.kernel;
    const { frame } = world.pte(owner, 0);
    toReference(all, flags);
    director.start(owner, unmap(owner, 0));
    director.finish(owner);
    const others: number[] = [];
    do others.push(frames.allocate());
    while (others.at(-1) !== frame);
    toRecheck(all, 'pte');
    expect(frames.refcount(frame)).toBeGreaterThan(1);
    expect([director.finish(walker), frames.refcount(frame)]).toEqual([0, 1]);
    for (const other of others) frames.put(other);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each(['pmd', 'pte'] as const)('a page that goes before the %s is read again is given back', (level) => {
    const all = scene();
    const { world, director, owner, walker } = all;
    const { frames } = world.kernel;
    const { frame } = world.pte(owner, 0);
    toReference(all, GET);
    toRecheck(all, level);
    director.start(owner, sysMadvise(owner, addressOf(0), 4096n, MADV_DONTNEED));
    director.finish(owner);
    // Only the walker has it now.
    expect(frames.refcount(frame)).toBe(1);
    expect([director.finish(walker), frames.refcount(frame)]).toEqual([0, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a huge page is given back', () => {
  it.each([
    ['references', GET],
    ['pins', PIN | FOLL_WRITE],
  ])('before its pmd is read again: so are all %s on it', (_, flags) => {
    const all = scene(FIRST);
    const { world, director, owner, walker, pages } = all;
    const { frames } = world.kernel;
    advise(world, owner, FIRST, 512, MADV_HUGEPAGE);
    world.run(owner, sysMadvise(owner, addressOf(FIRST), bytes(512), MADV_COLLAPSE));
    const path = gupFast(walker, mmOf(owner), BASE_PAGE + FIRST + 3, 100, flags, pages);
    director.start(walker, path);
    director.until(walker, 'page_ref');
    toRecheck(all, 'pmd');
    const [head] = frames.foliosInUse().filter((frame) => frames.isLarge(frame)) as [number];
    expect(frames.refcount(head)).toBeGreaterThan(100);
    director.start(owner, sysMadvise(owner, addressOf(FIRST), bytes(512), MADV_DONTNEED));
    director.finish(owner);
    expect(director.finish(walker)).toBe(0);
    expect([frames.refcount(head), frames.pinsAcquired - frames.pinsReleased]).toEqual([0, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a huge page is made', () => {
  it('waits for the walk, which sees that the pmd has changed though the pte has not', () => {
    const all = scene(FIRST);
    const { world, director, owner, walker } = all;
    const { pageTables } = world.kernel;
    advise(world, owner, FIRST, 512, MADV_HUGEPAGE);
    const table = pageTables.lookup(rootTable(mmOf(owner)), BASE_PAGE + FIRST, pageTables.lastLevel);
    const { frame } = world.pte(owner, FIRST);
    director.start(owner, sysMadvise(owner, addressOf(FIRST), bytes(512), MADV_COLLAPSE));
    // All pages are counted, and the pmd is about to be cleared.
    director.untilPoint(
      owner,
      ({ operation, object }) => operation === 'set_pte_at' && object.name.startsWith('pmd'),
    );
    toReference(all, GET, FIRST);
    toRecheck(all, 'pmd');
    const wait = director.until(owner, 'csd_lock_wait');
    expect(wait.ready?.()).toBe(false);
    // The pte is as it was, so that only the pmd tells.
    pageTables.read(table as never, (BASE_PAGE + FIRST) % hugePages(pageTables));
    expect(pageTables.frame(pageTables.lastLevel)).toBe(frame);
    expect(director.finish(walker)).toBe(0);
    expect(world.kernel.frames.refcount(frame)).toBe(1);
    expect(director.finish(owner)).toBe(0);
    expect(world.load(owner, FIRST)).toBe(7);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a huge page is split', () => {
  it('a page that has become a folio of its own before its reference is taken is had as that', () => {
    const all = scene(FIRST);
    const { world, director, owner, walker, pages } = all;
    const { frames } = world.kernel;
    advise(world, owner, FIRST, 512, MADV_HUGEPAGE);
    // A page of zeros would be given back by the split.
    world.store(owner, FIRST + 3, 9);
    world.run(owner, sysMadvise(owner, addressOf(FIRST), bytes(512), MADV_COLLAPSE));
    // A part goes: the rest is mapped by ptes.
    world.run(owner, unmap(owner, FIRST + 500, 12));
    const { frame, flags } = world.pte(owner, FIRST + 3);
    const head = frames.head(frame);
    expect(frame).toBe(head + 3);
    toReference(all, GET, FIRST + 3);
    const before = frames.refcount(head);
    director.start(owner, lockAndSplit(owner, head));
    expect(director.finish(owner)).toBe(0);
    expect([before > 2, frames.head(frame)]).toEqual([true, frame]);
    // One of a run of ptes (arm64) is not the same pte afterwards.
    const kept = (flags & EntryFlag.Cont) === 0 ? 1 : 0;
    expect(director.finish(walker)).toBe(kept);
    expect([pages.length, frames.refcount(frame), frames.refcount(head)]).toEqual([kept, 1 + kept, 1]);
    for (const page of pages) frames.put(page);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('fork', () => {
  it('pins that were taken while it write-protects pages are given back', () => {
    const all = scene();
    const { world, director, owner, walker, pages } = all;
    const { frames } = world.kernel;
    const { frame } = world.pte(owner, 0);
    director.start(walker, gupFast(walker, mmOf(owner), BASE_PAGE, 1, PIN, pages));
    director.until(walker, 'read_seqcount');
    director.step(walker);
    director.until(walker, 'read_seqcount');
    expect(frames.maybeDmaPinned(frame)).toBe(true);
    // Had the pin been announced (MMF_HAS_PINNED), the child would have got a copy.
    director.start(owner, sysFork(owner, 'child'));
    director.finish(owner);
    expect(world.page(owner, 0)).toBe('Ad2');
    expect([director.finish(walker), frames.maybeDmaPinned(frame)]).toEqual([0, false]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a pin does not even begin while it is at work; a reference does', () => {
    const all = scene();
    const { world, director, owner, walker, pages } = all;
    director.start(owner, sysFork(owner, 'child'));
    director.untilPoint(owner, () => mmOf(owner).writeProtectSeq.sequence % 2 === 1);
    director.start(walker, gupFast(walker, mmOf(owner), BASE_PAGE, 1, PIN, pages));
    expect(director.finish(walker)).toBe(0);
    director.start(walker, gupFast(walker, mmOf(owner), BASE_PAGE, 1, GET, pages));
    expect(director.finish(walker)).toBe(1);
    director.finish(owner);
    world.kernel.frames.put(pages[0] as number);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('reclaim', () => {
  function* pageout(task: TaskStruct, frame: number) {
    return folioIsolateLru(task.kernel.frames, frame) && (yield* pageoutFolio(task, frame));
  }

  it('a page whose pte is cleared between the look and the second look is not pinned', () => {
    const all = scene();
    const { world, director, owner, walker } = all;
    const { frame } = world.pte(owner, 0);
    toReference(all, PIN | FOLL_WRITE);
    director.start(owner, pageout(owner, frame));
    director.untilPoint(owner, () => world.page(owner, 0).startsWith('S') || world.page(owner, 0) === '-');
    expect(director.finish(walker)).toBe(0);
    director.finish(owner);
    expect(world.kernel.frames.maybeDmaPinned(frame)).toBe(false);
    expect(world.load(owner, 0)).toBe(7);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a page that is pinned in time stays', () => {
    const all = scene();
    const { world, director, owner, walker, pages } = all;
    const { frame } = world.pte(owner, 0);
    toReference(all, PIN | FOLL_WRITE);
    expect(director.finish(walker)).toBe(1);
    director.start(owner, pageout(owner, frame));
    expect(director.finish(owner)).toBe(false);
    expect(world.pte(owner, 0).frame).toBe(frame);
    world.run(walker, unpinUserPages(walker, pages, 1));
    expect(world.inconsistencies()).toEqual([]);
  });

  it('of a pin and the clearing of the pte one gives way, wherever they meet', () => {
    const seen = new Set<string>();
    for (let steps = 0; steps < 40; steps++) {
      const all = scene();
      const { world, director, owner, walker, pages } = all;
      const { frame } = world.pte(owner, 0);
      director.start(owner, pageout(owner, frame));
      for (let step = 0; step < steps && owner.state === 1; step++) director.step(owner);
      director.start(walker, gupFast(walker, mmOf(owner), BASE_PAGE, 1, PIN | FOLL_WRITE, pages));
      const got = director.finish(walker);
      if (owner.state === 1) director.finish(owner);
      seen.add(`${got}`);
      // What is pinned is what is mapped.
      if (got === 1) expect([pages[0], world.pte(owner, 0).frame]).toEqual([frame, frame]);
      if (got === 1) world.run(walker, unpinUserPages(walker, pages, 1));
      expect(world.load(owner, 0)).toBe(7);
    }
    expect([...seen].sort()).toEqual(['0', '1']);
  });
});
