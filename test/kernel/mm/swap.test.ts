/** Pages that lie in swap: how they get there, what their entries say, and how they come back. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { FOLL_GET, FOLL_PIN, FOLL_WRITE, type PageArray } from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import { putUserPage, unpinUserPage } from '../../../src/kernel/gup/pin.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import { MM_ANONPAGES, MM_SWAPENTS } from '../../../src/kernel/mm/mm.ts';
import { MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../src/kernel/mm/mremap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { pageRuns } from '../../../src/kernel/mm/pagemap.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, BASE_PAGE, mmOf, type ProcessWorld } from './process-world.ts';
import { SWAP_PAGES, swapOut, swapWorld } from './swap-world.ts';

const RW = PROT_READ | PROT_WRITE;

/** One process with `pages` pages that hold their number + 1. */
function filled(world: ProcessWorld, pages: number): TaskStruct {
  const task = world.process();
  world.map(task, 0, pages, RW);
  for (let page = 0; page < pages; page++) expect(world.store(task, page, (page + 1) % 251)).toBeNull();
  return task;
}

describe('a working set larger than memory', () => {
  it.each([1, 2, 3])('reads back as it was written, in round %i too', (rounds) => {
    const world = swapWorld({ frameLimit: 80 });
    const task = filled(world, 240);
    for (let round = 0; round < rounds; round++) {
      for (let page = 0; page < 240; page++) expect(world.load(task, page)).toBe((page + 1) % 251);
    }
    const { frames } = world.kernel;
    expect(frames.frameCount - frames.freeFrames).toBeLessThanOrEqual(80);
    expect(mmOf(task).rss[MM_SWAPENTS]).toBeGreaterThan(160);
    expect(task.majFlt).toBeGreaterThan(0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('may be as large as memory and swap together, page tables included', () => {
    const world = swapWorld({ memoryBytes: 0x40_0000, kernel: { swapPages: 1024 } });
    const task = world.process();
    // One page in every 16 MiB: a table for each.
    const pages = 600;
    world.map(task, 0, pages * 4096, RW, MAP_PRIVATE | MAP_NORESERVE);
    for (let i = 0; i < pages; i++) expect(world.store(task, i * 4096, i % 251)).toBeNull();
    for (let i = 0; i < pages; i++) expect(world.load(task, i * 4096)).toBe(i % 251);
    expect(mmOf(task).rss[MM_SWAPENTS]).toBeGreaterThan(100);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('keeps what is changed after it came back', () => {
    const world = swapWorld({ frameLimit: 60 });
    const task = filled(world, 120);
    for (let page = 0; page < 120; page += 3) world.store(task, page, 200, 1);
    for (let page = 0; page < 120; page++) {
      expect(world.load(task, page)).toBe((page + 1) % 251);
      expect(world.load(task, page, 1)).toBe(page % 3 === 0 ? 200 : 0);
    }
    expect(world.inconsistencies()).toEqual([]);
  });

  it('gives every slot and frame back when the process ends', () => {
    const world = swapWorld({ frameLimit: 80 });
    const before = world.kernel.frames.freeFrames;
    const task = filled(world, 200);
    world.run(task, sysMunmap(task, addressOf(0), 200n << 12n));
    world.run(task, doExit(task, 0));
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.kernel.swap?.cachedFrames).toBe(0);
    // The CPU still has the root table loaded.
    expect(world.kernel.frames.freeFrames).toBeGreaterThanOrEqual(before - 1);
  });
});

describe('a working set larger than memory and swap together', () => {
  it('ends in SIGKILL where there is no swap', () => {
    const world = swapWorld({ frameLimit: 40, kernel: { swapPages: 0 } });
    const task = world.process();
    world.map(task, 0, 100, RW);
    let page = 0;
    let signal = world.store(task, page, 1);
    while (signal === null) signal = world.store(task, ++page, 1);
    expect(signal.signal).toBe(SIGKILL);
    expect(page).toBeGreaterThan(20);
    expect(task.fatalSignalPending()).toBe(true);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('ends in SIGKILL when swap is full too', () => {
    const world = swapWorld({ frameLimit: 40, kernel: { swapPages: 50 } });
    const task = world.process();
    world.map(task, 0, 200, RW);
    let page = 0;
    let signal = world.store(task, page, 1);
    while (signal === null) signal = world.store(task, ++page, 1);
    expect(signal.signal).toBe(SIGKILL);
    expect(page).toBeGreaterThan(60);
    expect(world.kernel.swap?.freeSlots).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('one page in swap', () => {
  it('is a swap entry that was exclusive, and is seen as swapped', () => {
    const world = swapWorld();
    const task = filled(world, 3);
    expect(swapOut(world, task, 1)).toBe(true);
    expect([0, 1, 2].map((page) => world.page(task, page))).toEqual(['Xwd', 'Sx', 'Xwd']);
    expect([...mmOf(task).rss].slice(1, 3)).toEqual([2, 1]);
    expect(pageRuns(mmOf(task), BASE_PAGE, BASE_PAGE + 3).map(({ flags }) => flags)).toEqual([
      'PX',
      'S',
      'PX',
    ]);
    const [entry] = smapsEntries(mmOf(task), BASE_PAGE, BASE_PAGE + 3);
    expect(entry).toMatchObject({ rss: 8, anonymous: 8, swap: 4 });
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['a read', 'Xw', 1],
    ['a write', 'Xwd', 0],
  ] as const)(
    'comes back by %s with a major fault, exclusive and writable at once',
    (access, state, cached) => {
      const world = swapWorld();
      const task = filled(world, 1);
      swapOut(world, task, 0);
      const { minFlt } = task;
      if (access === 'a read') expect(world.load(task, 0)).toBe(1);
      else expect(world.store(task, 0, 9)).toBeNull();
      expect(task.majFlt).toBe(1);
      expect(task.minFlt).toBe(minFlt);
      expect(world.page(task, 0)).toBe(state);
      // Who only reads leaves the copy in swap where it is: the page need not be written again.
      expect(world.kernel.swap?.cachedFrames).toBe(cached);
      expect(world.inconsistencies()).toEqual([]);
    },
  );
});

describe('the copy of a page that stays in swap', () => {
  it('is not written again while nobody changes it', () => {
    const world = swapWorld();
    const task = filled(world, 1);
    swapOut(world, task, 0);
    const slot = world.swapSlot(task, 0);
    world.load(task, 0);
    expect(swapOut(world, task, 0)).toBe(true);
    expect(world.swapSlot(task, 0)).toBe(slot);
    expect(world.load(task, 0)).toBe(1);
    world.store(task, 0, 7);
    expect(swapOut(world, task, 0)).toBe(true);
    expect(world.load(task, 0)).toBe(7);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('takes no room while it is all zeros', () => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 1, RW);
    world.store(task, 0, 0);
    swapOut(world, task, 0);
    expect(world.kernel.swap?.contents(world.swapSlot(task, 0)).bytes).toBeNull();
    expect(world.load(task, 0)).toBe(0);
  });
});

describe('calls on a page in swap', () => {
  it('stays where it is through mprotect, which counts when it comes back', () => {
    const world = swapWorld();
    const task = filled(world, 2);
    swapOut(world, task, 0);
    expect(world.run(task, sysMprotect(task, addressOf(0), 0x1000n, PROT_READ))).toBe(0);
    expect(world.page(task, 0)).toBe('Sx');
    expect(world.load(task, 0)).toBe(1);
    expect(world.page(task, 0)).toBe('X');
    expect(world.store(task, 0, 3)).toMatchObject({ signal: 11, code: 2 });
    expect(world.run(task, sysMprotect(task, addressOf(0), 0x1000n, PROT_NONE))).toBe(0);
    expect(world.load(task, 0)).toMatchObject({ signal: 11, code: 2 });
    expect(world.inconsistencies()).toEqual([]);
  });

  it('goes along with mremap and away with munmap', () => {
    const world = swapWorld();
    const task = filled(world, 2);
    swapOut(world, task, 0);
    const to = addressOf(64);
    expect(world.run(task, sysMremap(task, addressOf(0), 0x1000n, 0x1000n, 3, to))).toBe(to);
    expect([world.page(task, 0), world.page(task, 64)]).toEqual(['-', 'Sx']);
    expect(world.load(task, 64)).toBe(1);
    swapOut(world, task, 64);
    expect(world.run(task, sysMunmap(task, to, 0x1000n))).toBe(0);
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(mmOf(task).rss[MM_SWAPENTS]).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a page in swap and fork', () => {
  it('is shared afterwards: each side reads it, and the first to write copies', () => {
    const world = swapWorld();
    const parent = filled(world, 1);
    swapOut(world, parent, 0);
    const slot = world.swapSlot(parent, 0);
    const child = world.fork(parent);
    expect([world.page(parent, 0), world.page(child, 0)]).toEqual(['S', 'S']);
    expect(world.kernel.swap?.count(slot)).toBe(2);
    expect(mmOf(child).rss[MM_SWAPENTS]).toBe(1);
    expect(world.store(child, 0, 50)).toBeNull();
    expect(world.page(child, 0)).toBe('Xwd');
    expect(world.load(parent, 0)).toBe(1);
    expect(world.load(child, 0)).toBe(50);
    expect(world.inconsistencies()).toEqual([]);
    expect(world.store(parent, 0, 60)).toBeNull();
    expect(world.load(child, 0)).toBe(50);
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is mapped read-only in both while both read it', () => {
    const world = swapWorld();
    const parent = filled(world, 1);
    swapOut(world, parent, 0);
    const child = world.fork(parent);
    expect([world.load(parent, 0), world.load(child, 0)]).toEqual([1, 1]);
    expect([world.page(parent, 0), world.page(child, 0)]).toEqual(['A2', 'A2']);
    expect([parent.majFlt, child.majFlt]).toEqual([1, 0]);
    expect(world.store(parent, 0, 8)).toBeNull();
    expect([world.load(parent, 0), world.load(child, 0)]).toEqual([8, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('goes out of both at once, and comes back to the last one as its own', () => {
    const world = swapWorld();
    const parent = filled(world, 1);
    const child = world.fork(parent);
    expect(world.page(child, 0)).toBe('Ad2');
    expect(swapOut(world, child, 0)).toBe(true);
    expect([world.page(parent, 0), world.page(child, 0)]).toEqual(['S', 'S']);
    world.run(child, doExit(child, 0));
    expect(world.store(parent, 0, 5)).toBeNull();
    expect(world.page(parent, 0)).toBe('Xwd');
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a read after the other has gone leaves a page that the next write takes over without a copy', () => {
    const world = swapWorld();
    const parent = filled(world, 1);
    const child = world.fork(parent);
    swapOut(world, child, 0);
    world.load(parent, 0);
    const { frame } = world.pte(parent, 0);
    expect(world.page(parent, 0)).toBe('A');
    world.run(child, sysMunmap(child, addressOf(0), 0x1000n));
    world.store(parent, 0, 5);
    expect(world.pte(parent, 0).frame).toBe(frame);
    expect(world.page(parent, 0)).toBe('Xwd');
    expect(world.inconsistencies()).toEqual([]);
  });
});

/** What `grab` got last. */
const grabbed: PageArray = [];
/** GUP of page 0: pages got. */
function grab(world: ProcessWorld, task: TaskStruct, flags: number): number {
  const mm = mmOf(task);
  const locked = { held: true };
  world.run(task, mmapReadLock(task, mm));
  const get = (flags & FOLL_PIN) !== 0 ? pinUserPagesRemote : getUserPagesRemote;
  const got = world.run(task, get(task, mm, BASE_PAGE, 1, flags & ~(FOLL_PIN | FOLL_GET), grabbed, locked));
  if (locked.held) world.run(task, mmapReadUnlock(task, mm));
  return got;
}

describe('GUP and swap', () => {
  it.each([
    ['a reference to read', FOLL_GET],
    ['a reference to write', FOLL_GET | FOLL_WRITE],
    ['a pin', FOLL_PIN | FOLL_WRITE],
    ['a pin to read', FOLL_PIN],
  ])('%s brings the page back and keeps it in memory', (_name, flags) => {
    const world = swapWorld();
    const task = filled(world, 1);
    swapOut(world, task, 0);
    expect(grab(world, task, flags)).toBe(1);
    const frame = grabbed[0] as number;
    expect(world.pte(task, 0).frame).toBe(frame);
    expect(swapOut(world, task, 0)).toBe(false);
    // A pinned page is not even unmapped; one with a reference comes back as the same frame.
    if ((flags & FOLL_PIN) !== 0) expect(world.pte(task, 0).frame).toBe(frame);
    expect(world.load(task, 0)).toBe(1);
    expect(world.pte(task, 0).frame).toBe(frame);
    world.run(task, (flags & FOLL_PIN) !== 0 ? unpinUserPage(task, frame) : putUserPage(task, frame));
    expect(swapOut(world, task, 0)).toBe(true);
    expect(world.load(task, 0)).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a page that came back and stayed in the swap cache', () => {
  it('gives its slot up with the last mapping', () => {
    const world = swapWorld();
    const task = filled(world, 1);
    swapOut(world, task, 0);
    world.load(task, 0);
    expect(world.kernel.swap?.cachedFrames).toBe(1);
    world.run(task, sysMunmap(task, addressOf(0), 0x1000n));
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('gives it up when it is copied because somebody has a reference', () => {
    const world = swapWorld();
    const parent = filled(world, 1);
    const child = world.fork(parent);
    swapOut(world, parent, 0);
    world.run(child, doExit(child, 0));
    expect(grab(world, parent, FOLL_GET)).toBe(1);
    const frame = grabbed[0] as number;
    expect(world.page(parent, 0)).toBe('A');
    world.store(parent, 0, 2);
    expect(world.pte(parent, 0).frame).not.toBe(frame);
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    world.run(parent, putUserPage(parent, frame));
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('the pte of a page that came back', () => {
  it('is young, and dirty only after a write', () => {
    const world = swapWorld();
    const task = filled(world, 1);
    swapOut(world, task, 0);
    world.load(task, 0);
    const { flags } = world.pte(task, 0);
    expect(flags & EntryFlag.Young).not.toBe(0);
    expect(flags & EntryFlag.Dirty).toBe(0);
    expect(mmOf(task).rss[MM_ANONPAGES]).toBe(1);
  });
});
