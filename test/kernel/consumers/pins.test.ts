/** What all drivers that pin memory have in common, and the figures in which they differ. */
import { describe, expect, it } from 'vitest';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { MADV_DONTNEED, MADV_PAGEOUT } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import { PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { defaultResourceLimits } from '../../../src/kernel/mm/rlimit.ts';
import { credentials, rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { PAGE, World } from '../support/world.ts';
import { type Account, counted, DRIVERS, type Driver, install, PAGES } from './pins-world.ts';

const RW = PROT_READ | PROT_WRITE;
const BYTES = BigInt(PAGES) * PAGE;
const NONE: Record<Account, number> = { pinned: 0, locked: 0, user: 0 };

const sums = (accounts: readonly Account[]): Record<Account, number> => ({
  ...NONE,
  ...Object.fromEntries(accounts.map((account) => [account, PAGES])),
});

function setUp(driver: Driver, root = false, kernel: Partial<KernelConfig> = {}) {
  const world = new World(1, undefined, kernel);
  const task = world.process('owner', 0, root ? rootCredentials() : credentials(1000, 1000));
  const start = world.map(task, 0, PAGES, RW);
  for (let page = 0; page < PAGES; page++) world.store(task, start + BigInt(page) * PAGE, [page + 1]);
  const device = driver.open(world, task);
  const map = (): number => world.run(task, driver.map(task, device, start));
  const frames = Array.from({ length: PAGES }, (_, page) => world.frameAt(task, start + BigInt(page) * PAGE));
  const read = (page: number): number => {
    const byte = new Uint8Array(1);
    const at = driver.at(start) + BigInt(page) * PAGE;
    // A device that captures does not read: its pages are looked at as they are.
    const offset = Number(at & 0xfffn);
    world.system.machine.memory.readBytes(device.frameAt(at, true), offset, byte);
    return byte[0] as number;
  };
  const write = (page: number, value: number): number => {
    const at = driver.at(start) + BigInt(page) * PAGE;
    return world.run(task, device.dmaWrite(task, at, Uint8Array.of(value)));
  };
  return { world, task, start, device, map, frames, read, write };
}

const limited = (task: TaskStruct, pages: number): void => {
  task.rlimits = { ...defaultResourceLimits, memlock: { soft: pages * 4096, hard: pages * 4096 } };
};

const TABLE = DRIVERS.map((driver) => [driver.name, driver] as const);

describe.each(TABLE)('%s', (_, driver) => {
  it('pins each page once, counts them, and gives all back', () => {
    const { world, task, device, map, frames } = setUp(driver);
    const before = frames.map((frame) => world.kernel.frames.refcount(frame));
    expect(map()).toBeGreaterThanOrEqual(0);
    expect(frames.map((frame) => world.kernel.frames.refcount(frame))).toEqual(
      before.map((count) => count + GUP_PIN_COUNTING_BIAS),
    );
    expect(counted(task)).toEqual(sums(driver.counts));
    world.run(task, driver.unmap(task, device));
    expect(frames.map((frame) => world.kernel.frames.refcount(frame))).toEqual(before);
    expect(counted(task)).toEqual(NONE);
    expect(device.mutex.holders()).toEqual([]);
  });

  it('counts for a process with CAP_IPC_LOCK what the driver counts in any case', () => {
    const { world, task, device, map } = setUp(driver, true);
    expect(map()).toBeGreaterThanOrEqual(0);
    expect(counted(task)).toEqual(sums(driver.countsForRoot));
    world.run(task, driver.unmap(task, device));
    expect(counted(task)).toEqual(NONE);
  });

  it('takes memory as large as the limit', () => {
    const { task, map } = setUp(driver);
    limited(task, PAGES);
    expect(map()).toBeGreaterThanOrEqual(0);
  });

  it.each([false, true])('refuses more than the limit, and pins nothing (root: %s)', (root) => {
    const { world, task, map, frames } = setUp(driver, root);
    limited(task, PAGES - 1);
    const expected = root ? driver.overLimitForRoot : driver.overLimit;
    const result = map();
    if (expected === 0) expect(result).toBeGreaterThanOrEqual(0);
    else expect(result).toBe(expected);
    const pinned = frames.filter((frame) => world.kernel.frames.maybeDmaPinned(frame)).length;
    expect(pinned).toBe(expected === 0 ? PAGES : 0);
    if (expected !== 0) expect(counted(task)).toEqual(NONE);
  });
});

describe.each(TABLE)('%s refuses', (_, driver) => {
  it('a range with a page in the middle that is not there, and gives back what it had', () => {
    const { world, task, start, map, frames } = setUp(driver);
    world.run(task, sysMunmap(task, start + 2n * PAGE, PAGE));
    expect(map()).toBe(driver.hole);
    for (const frame of [frames[0], frames[1], frames[3]]) {
      expect(world.kernel.frames.refcount(frame as number)).toBe(1);
    }
  });

  it('with -EFAULT memory that is not there, or may not be written', () => {
    const { world, task, start, device, map } = setUp(driver);
    world.protect(task, start, PAGES, PROT_NONE);
    expect(map()).toBe(-14);
    world.protect(task, start, PAGES, PROT_READ);
    expect(map()).toBe(-14);
    world.run(task, sysMunmap(task, start, BYTES));
    expect(world.run(task, driver.map(task, device, start))).toBe(-14);
    expect(counted(task)).toEqual(NONE);
  });
});

describe.each(TABLE)('%s, once it has pinned:', (_, driver) => {
  it('a device writes what the process reads, and the other way round', () => {
    const { world, task, start, map, read, write } = setUp(driver);
    map();
    expect([0, 1, 2, 3].map(read)).toEqual([1, 2, 3, 4]);
    expect(write(1, 77)).toBe(1);
    expect(world.load(task, start + PAGE, 1)).toEqual([77]);
    world.store(task, start + 3n * PAGE, [88]);
    expect(read(3)).toBe(88);
  });

  it('after fork the pages stay with the parent, and the child has copies', () => {
    const { world, task, start, map, read, write } = setUp(driver);
    map();
    const child = world.fork(task, 'child');
    world.store(task, start, [50]);
    expect(read(0)).toBe(50);
    write(1, 51);
    expect(world.load(task, start + PAGE, 1)).toEqual([51]);
    expect(world.load(child, start, 1)).toEqual([1]);
    expect(world.load(child, start + PAGE, 1)).toEqual([2]);
    world.store(child, start + 2n * PAGE, [52]);
    expect(read(2)).toBe(3);
  });

  it('after MADV_DONTNEED the process has zeros, and the device what was there', () => {
    const { world, task, start, map, read, write } = setUp(driver);
    map();
    expect(world.run(task, sysMadvise(task, start, BYTES, MADV_DONTNEED))).toBe(0);
    expect(world.load(task, start, 1)).toEqual([0]);
    expect(read(0)).toBe(1);
    write(0, 9);
    expect(world.load(task, start, 1)).toEqual([0]);
  });

  it('after munmap the device still has the pages, which are free when it gives them back', () => {
    const { world, task, start, device, map, frames, read } = setUp(driver);
    map();
    world.run(task, sysMunmap(task, start, BYTES));
    expect([0, 1, 2, 3].map(read)).toEqual([1, 2, 3, 4]);
    expect(frames.map((frame) => world.kernel.frames.refcount(frame))).toEqual(
      Array(PAGES).fill(GUP_PIN_COUNTING_BIAS),
    );
    world.run(task, driver.unmap(task, device));
    expect(frames.map((frame) => world.kernel.frames.refcount(frame))).toEqual(Array(PAGES).fill(0));
  });

  it('reclaim leaves the pages where they are', () => {
    const { world, task, start, map, frames, read } = setUp(driver, false, { swapPages: 64 });
    map();
    world.run(task, sysMadvise(task, start, BYTES, MADV_PAGEOUT));
    expect(frames.map((_frame, page) => world.frameAt(task, start + BigInt(page) * PAGE))).toEqual(frames);
    world.store(task, start, [60]);
    expect(read(0)).toBe(60);
  });

  it('no page is in memory that must stay movable, and the process has the page that the device has', () => {
    const { world, task, start, map, frames, read, write } = setUp(driver, false, { movablePages: 1024 });
    expect(frames.map((frame) => world.kernel.frames.zoneOf(frame))).toEqual(Array(PAGES).fill('movable'));
    expect(map()).toBeGreaterThanOrEqual(0);
    const now = frames.map((_frame, page) => world.frameAt(task, start + BigInt(page) * PAGE));
    expect(now.map((frame) => world.kernel.frames.zoneOf(frame))).toEqual(Array(PAGES).fill('normal'));
    expect([0, 1, 2, 3].map(read)).toEqual([1, 2, 3, 4]);
    write(2, 70);
    expect(world.load(task, start + 2n * PAGE, 1)).toEqual([70]);
  });
});

describe.each(TABLE)('%s at the end', (_, driver) => {
  it('of the process gives every page and every count back', () => {
    const world = new World();
    const other = world.process('other', 0);
    const free = world.kernel.frames.freeFrames;
    const task = world.process('owner', 0, credentials(1000, 1000));
    const start = world.map(task, 0, PAGES, RW);
    const device = driver.open(world, task);
    install(task, device);
    expect(world.run(task, driver.map(task, device, start))).toBeGreaterThanOrEqual(0);
    const user = world.kernel.users.of(1000);
    const { mm } = task;
    world.run(task, doExit(task, 0));
    // The CPU lets go of the dead address space when it runs somebody else.
    world.load(other, world.map(other, 0, 1, RW), 1);
    world.run(other, doExit(other, 0));
    expect(user.lockedVm).toBe(0);
    expect(mm?.pinnedVm).toBe(0);
    expect(
      world.kernel.frames.foliosInUse().filter((frame) => world.kernel.frames.maybeDmaPinned(frame)),
    ).toEqual([]);
    expect(world.kernel.frames.freeFrames).toBeGreaterThanOrEqual(free);
  });
});
