/** Which pages go when memory is short, and which stay. */
import { describe, expect, it } from 'vitest';
import { PROT_MTE } from '../../../src/arch/user-abi.ts';
import { LruList } from '../../../src/kernel/frame/lru-lists.ts';
import { MADV_COLD, MADV_FREE, MADV_PAGEOUT, MADV_WILLNEED } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { sysMincore } from '../../../src/kernel/mm/mincore.ts';
import { sysMlock2, sysMunlock } from '../../../src/kernel/mm/mlock.ts';
import { MM_SWAPENTS } from '../../../src/kernel/mm/mm.ts';
import {
  MAP_DROPPABLE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { tryToFreePages } from '../../../src/kernel/mm/reclaim/direct.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userTagAccess } from '../../../src/userland/calls/tag-access.ts';
import { architectureName } from '../../support/architecture.ts';
import { addressOf, BASE_PAGE, mmOf, type ProcessWorld } from './process-world.ts';
import { SWAP_PAGES, swapOut, swapWorld } from './swap-world.ts';

const RW = PROT_READ | PROT_WRITE;

function fill(world: ProcessWorld, task: TaskStruct, first: number, pages: number): void {
  for (let page = first; page < first + pages; page++) world.store(task, page, (page + 1) % 251);
}

const inMemory = (world: ProcessWorld, task: TaskStruct, first: number, pages: number): number =>
  Array.from({ length: pages }, (_, i) => world.pte(task, first + i).frame).filter((frame) => frame >= 0)
    .length;

const advise = (world: ProcessWorld, task: TaskStruct, page: number, pages: number, advice: number): number =>
  world.run(task, sysMadvise(task, addressOf(page), BigInt(pages) << 12n, advice));

/** Other memory of the process, so much that something must go. */
function pressure(world: ProcessWorld, task: TaskStruct, pages = 200): void {
  world.map(task, 400, pages, RW);
  fill(world, task, 400, pages);
}

describe('second chance', () => {
  it('keeps the pages that are used again and again', () => {
    const world = swapWorld({ frameLimit: 120, retention: 'none' });
    const task = world.process();
    world.map(task, 0, 20, RW);
    fill(world, task, 0, 20);
    world.map(task, 100, 300, RW);
    for (let page = 100; page < 400; page++) {
      world.store(task, page, 1);
      for (let hot = 0; hot < 20; hot++) world.load(task, hot);
    }
    const { majFlt } = task;
    for (let hot = 0; hot < 20; hot++) expect(world.load(task, hot)).toBe(hot + 1);
    expect(task.majFlt).toBe(majFlt);
    expect(inMemory(world, task, 0, 20)).toBe(20);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('does not keep pages that were used long ago, however often', () => {
    const world = swapWorld({ frameLimit: 120, retention: 'none' });
    const task = world.process();
    world.map(task, 0, 20, RW);
    for (let round = 0; round < 5; round++) fill(world, task, 0, 20);
    pressure(world, task, 300);
    expect(inMemory(world, task, 0, 20)).toBe(0);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('takes what MADV_COLD names first', () => {
    const world = swapWorld({ frameLimit: 120 });
    const task = world.process();
    world.map(task, 0, 60, RW);
    fill(world, task, 0, 60);
    expect(advise(world, task, 30, 30, MADV_COLD)).toBe(0);
    world.run(task, tryToFreePages(task, 20));
    expect(inMemory(world, task, 0, 30)).toBeGreaterThan(inMemory(world, task, 30, 30));
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('locked memory', () => {
  it.each([
    ['when it is locked first', true],
    ['when its pages are there first', false],
  ])('stays in memory, %s', (_name, first) => {
    const world = swapWorld({ frameLimit: 120 });
    const task = world.process();
    world.map(task, 0, 30, RW);
    const lock = (): unknown => world.run(task, sysMlock2(task, addressOf(0), 30n << 12n, 0));
    if (first) expect(lock()).toBe(0);
    fill(world, task, 0, 30);
    if (!first) expect(lock()).toBe(0);
    pressure(world, task);
    expect(inMemory(world, task, 0, 30)).toBe(30);
    expect(world.kernel.frames.lru.pages(LruList.Unevictable)).toBe(30);
    expect(world.run(task, sysMunlock(task, addressOf(0), 30n << 12n))).toBe(0);
    expect(world.kernel.frames.lru.pages(LruList.Unevictable)).toBe(0);
    for (let page = 0; page < 30; page++) expect(swapOut(world, task, page)).toBe(true);
    for (let page = 0; page < 30; page++) expect(world.load(task, page)).toBe(page + 1);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('keeps a page that another process locks too', () => {
    const world = swapWorld();
    const parent = world.process();
    world.map(parent, 0, 1, RW);
    fill(world, parent, 0, 1);
    const child = world.fork(parent);
    expect(world.run(child, sysMlock2(child, addressOf(0), 0x1000n, 1))).toBe(0);
    expect(swapOut(world, parent, 0)).toBe(false);
    expect(world.load(parent, 0)).toBe(1);
    world.run(child, doExit(child, 0));
    // Nobody told the lists: reclaim finds out when it has nothing else.
    world.run(parent, tryToFreePages(parent, 1));
    expect(world.page(parent, 0)).toBe('S');
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('memory that may be dropped', () => {
  it('after MADV_FREE goes without swap, unless it was written to again', () => {
    const world = swapWorld({ kernel: { swapPages: 0 } });
    const task = world.process();
    world.map(task, 0, 4, RW);
    fill(world, task, 0, 4);
    expect(advise(world, task, 0, 3, MADV_FREE)).toBe(0);
    expect(world.kernel.frames.lru.pages(LruList.InactiveFile)).toBe(3);
    world.store(task, 1, 99);
    world.run(task, tryToFreePages(task, 10));
    expect([0, 1, 2, 3].map((page) => world.load(task, page))).toEqual([0, 99, 0, 4]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is dropped though it was written to, when it is mapped so', () => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 2, RW, MAP_DROPPABLE);
    fill(world, task, 0, 2);
    world.run(task, tryToFreePages(task, 10));
    expect([0, 1].map((page) => world.page(task, page))).toEqual(['-', '-']);
    expect(world.load(task, 0)).toBe(0);
    expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('MADV_PAGEOUT and MADV_WILLNEED', () => {
  it.each([
    ['private memory', MAP_PRIVATE],
    ['shared memory', MAP_SHARED],
  ])('of %s: out, into the swap cache, and mapped by a minor fault', (_name, flags) => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 4, RW, flags);
    fill(world, task, 0, 4);
    expect(advise(world, task, 0, 4, MADV_PAGEOUT)).toBe(0);
    expect(inMemory(world, task, 0, 4)).toBe(0);
    const [entry] = smapsEntries(mmOf(task), BASE_PAGE, BASE_PAGE + 4);
    expect(entry).toMatchObject({ rss: 0, swap: 16 });
    world.map(task, 50, 1, RW);
    const resident = (): string => {
      expect(world.run(task, sysMincore(task, addressOf(0), 4n << 12n, addressOf(50)))).toBe(0);
      return [0, 1, 2, 3].map((i) => world.load(task, 50, i)).join('');
    };
    expect(resident()).toBe('0000');
    expect(advise(world, task, 1, 2, MADV_WILLNEED)).toBe(0);
    expect(resident()).toBe('0110');
    expect([0, 1, 2, 3].map((page) => world.load(task, page))).toEqual([1, 2, 3, 4]);
    expect(task.majFlt).toBe(2);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('shared memory in swap', () => {
  it('comes back dirty, so that it goes to swap again and is not dropped', () => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 2, RW, MAP_SHARED);
    fill(world, task, 0, 2);
    for (let round = 0; round < 3; round++) {
      expect(swapOut(world, task, 0)).toBe(true);
      expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES - 1);
      expect(world.load(task, 0)).toBe(1);
      expect(world.kernel.swap?.freeSlots).toBe(SWAP_PAGES);
    }
    expect(task.majFlt).toBe(3);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is shared by whoever brings it back', () => {
    const world = swapWorld();
    const parent = world.process();
    world.map(parent, 0, 1, RW, MAP_SHARED);
    world.store(parent, 0, 1);
    const child = world.fork(parent);
    world.load(child, 0);
    expect(swapOut(world, parent, 0)).toBe(true);
    expect([world.page(parent, 0), world.page(child, 0)]).toEqual(['-', '-']);
    world.store(child, 0, 2);
    expect(world.load(parent, 0)).toBe(2);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is dropped without swap if nothing was ever written to it', () => {
    const world = swapWorld({ kernel: { swapPages: 0 } });
    const task = world.process();
    world.map(task, 0, 2, RW, MAP_SHARED);
    world.load(task, 0);
    world.store(task, 1, 3);
    expect(swapOut(world, task, 0)).toBe(true);
    expect(swapOut(world, task, 1)).toBe(false);
    expect([world.page(task, 0), world.page(task, 1)]).toEqual(['-', '-']);
    expect([world.load(task, 0), world.load(task, 1)]).toEqual([0, 3]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('TLBs when reclaim has run', () => {
  it('hold nothing of the pages that went, on any CPU', () => {
    const world = swapWorld({ cpus: 2 });
    const one = world.process('one', 0);
    const two = world.thread(one, 'two', 1);
    world.map(one, 0, 8, RW);
    fill(world, one, 0, 8);
    for (let page = 0; page < 8; page++) world.load(two, page);
    world.run(one, tryToFreePages(one, 8));
    expect(mmOf(one).rss[MM_SWAPENTS]).toBe(8);
    expect(world.inconsistencies()).toEqual([]);
    for (let page = 0; page < 8; page++) world.store(two, page, 100 + page);
    expect([...Array(8).keys()].map((page) => world.load(one, page))).toEqual([
      100, 101, 102, 103, 104, 105, 106, 107,
    ]);
  });
});

/** STG of the granule at `granule` of a page. */
function setTag(world: ProcessWorld, task: TaskStruct, page: number, granule: number, tag: number): void {
  const at = addressOf(page, granule * 16);
  const signal = world.run(
    task,
    userTagAccess(task, at, (tags, hi, lo, how) => tags.stg(hi, lo, how, tag)),
  );
  expect(signal).toBeNull();
}

/** LDG. */
function tagAt(world: ProcessWorld, task: TaskStruct, page: number, granule: number): number {
  const at = addressOf(page, granule * 16);
  world.run(
    task,
    userTagAccess(task, at, (tags, hi, lo, how) => tags.ldg(hi, lo, how)),
  );
  return task.kernel.arch.tagInstructions?.[task.cpu]?.tag ?? -1;
}

describe.runIf(architectureName === 'arm64')('memory tags', () => {
  it.each([
    ['private', MAP_PRIVATE],
    ['shared', MAP_SHARED],
  ])('of %s memory go to swap and come back with the page', (_name, flags) => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 3, RW | PROT_MTE, flags);
    fill(world, task, 0, 3);
    setTag(world, task, 0, 0, 5);
    setTag(world, task, 0, 255, 9);
    for (const page of [0, 1]) expect(swapOut(world, task, page)).toBe(true);
    // The frame of page 0 is used, and tagged, by somebody else meanwhile.
    world.map(task, 40, 8, RW | PROT_MTE);
    for (let page = 40; page < 48; page++) {
      world.store(task, page, 1);
      for (let granule = 0; granule < 256; granule += 5) setTag(world, task, page, granule, 3);
    }
    expect([0, 255, 7].map((granule) => tagAt(world, task, 0, granule))).toEqual([5, 9, 0]);
    expect([0, 5].map((granule) => tagAt(world, task, 1, granule))).toEqual([0, 0]);
    expect(world.load(task, 0)).toBe(1);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('of a working set larger than memory come back right, changed ones too', () => {
    const world = swapWorld({ frameLimit: 60 });
    const task = world.process();
    world.map(task, 0, 120, RW | PROT_MTE);
    fill(world, task, 0, 120);
    for (let page = 0; page < 120; page++) setTag(world, task, page, page % 256, (page % 15) + 1);
    for (let page = 0; page < 120; page += 7) setTag(world, task, page, page % 256, 0);
    for (let page = 0; page < 120; page++) {
      expect(tagAt(world, task, page, page % 256)).toBe(page % 7 === 0 ? 0 : (page % 15) + 1);
      expect(tagAt(world, task, page, (page + 1) % 256)).toBe(0);
    }
    expect(world.inconsistencies()).toEqual([]);
  });

  it('are copied when a fork child writes to a page that lay in swap', () => {
    const world = swapWorld();
    const parent = world.process();
    world.map(parent, 0, 1, RW | PROT_MTE);
    world.store(parent, 0, 1);
    setTag(world, parent, 0, 4, 6);
    swapOut(world, parent, 0);
    const child = world.fork(parent);
    world.store(child, 0, 2);
    expect([tagAt(world, child, 0, 4), tagAt(world, parent, 0, 4)]).toEqual([6, 6]);
    setTag(world, child, 0, 4, 7);
    expect(tagAt(world, parent, 0, 4)).toBe(6);
    expect(world.inconsistencies()).toEqual([]);
  });
});
